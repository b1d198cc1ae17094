"""A recurrent layer opened step by step: its gates, its state, and how much of the loss's gradient reaches each step.

The steps are computed by the equations of functional/recurrent.py in float64 and compared with torch's own kernel.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.functional.recurrent import CELLS, Step, recurrent_slowly
from chainrule.nn.recurrent import Recurrent, run_layer
from chainrule.trace.notation import FEW, number, shown
from chainrule.trace.tree import Check, Line, Section

TOLERANCE = 1e-6  # float64 on both sides; what is more than rounding is a mistake of ours
FORMULAS = {
    "rnn": {"new": "tanh(W x_t + b + U h_(t-1) + d)"},
    "gru": {
        "reset": "s(W_r x_t + b_r + U_r h_(t-1) + d_r)", "update": "s(W_z x_t + b_z + U_z h_(t-1) + d_z)",
        "new": "tanh(W_n x_t + b_n + reset * (U_n h_(t-1) + d_n))",
    },
    "lstm": {
        "input": "s(W_i x_t + b_i + U_i h_(t-1) + d_i)", "forget": "s(W_f x_t + b_f + U_f h_(t-1) + d_f)",
        "cell": "tanh(W_g x_t + b_g + U_g h_(t-1) + d_g)", "output": "s(W_o x_t + b_o + U_o h_(t-1) + d_o)",
    },
}  # fmt: skip
STATES = {
    "rnn": {"h_t": "new"}, "gru": {"h_t": "(1 - update) * new + update * h_(t-1)"},
    "lstm": {"h_t": "output * tanh(c_t)", "c_t": "forget * c_(t-1) + input * cell"},
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A network's first recurrent stack, run step by step in evaluation mode."""

    name: str
    stack: Recurrent
    x: Tensor  # (B, T, F), what it reads
    lengths: Tensor | None
    steps: list[list[Step]]  # by layer and direction, in the order in which they are made
    slopes: list[list[tuple[Tensor, ...]]]  # dL/dstate of each of them


def has_recurrent(network: nn.Module) -> bool:
    """Whether there is a recurrent stack to open."""
    return any(isinstance(module, Recurrent) for module in network.modules())


def open_recurrent(network: nn.Module, inputs: tuple[Tensor, ...], loss: Callable[[Any], Tensor]) -> Opened:
    """The steps of ``network``'s first stack and the gradient of ``loss(outputs)`` at each, on a copy in float64.

    Raises:
        InputError: the network has no recurrent stack, or calls it more than once.
    """
    twin = copy.deepcopy(network).double().eval()
    found = [(name, module) for name, module in twin.named_modules() if isinstance(module, Recurrent)]
    if not found:
        raise InputError(f"a {type(network).__name__} has no recurrent layer; trace an rnn, gru or lstm")
    name, stack = found[0]
    calls: list[tuple[Tensor, Tensor | None, list[list[Step]]]] = []
    setattr(stack, "forward", partial(_run_slowly, stack, calls))  # noqa: B010 - of this one module
    total = loss(twin(*(x.double() if x.is_floating_point() else x for x in inputs)))
    if len(calls) != 1:
        raise InputError(f"{name} is called {len(calls)} times in one pass; trace needs a network that calls it once")
    x, lengths, steps = calls[0]
    states = [tensor for cell in steps for step in cell for tensor in step.state]
    found_slopes = iter(torch.autograd.grad(total, states, allow_unused=True))
    slopes = [[tuple(_or_zero(next(found_slopes), tensor) for tensor in step.state) for step in cell] for cell in steps]
    return Opened(name or "network", stack, x.detach(), lengths, steps, slopes)


def _run_slowly(stack: Recurrent, calls: list[Any], x: Tensor, lengths: Any = None, state: Any = None) -> Any:
    steps: list[list[Step]] = []
    calls.append((x, lengths, steps))
    return recurrent_slowly(stack.cell, stack.all_weights(), x, lengths, state, steps)


def _or_zero(slope: Tensor | None, tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if slope is None else slope


def gradients_over_time(
    network: nn.Module, inputs: tuple[Tensor, ...], loss: Callable[[Any], Tensor]
) -> Float[Tensor, "cells T"]:
    """|dL/dstate_t| of each step, the mean over rows, by layer and direction of the network's first recurrent stack.

    A state is h, of an lstm h and c. Where the norm falls towards the first steps, the gradient vanishes: what was seen
    then cannot be learned from. Where it rises, it explodes.

    Args:
        loss: of the network's outputs, a sum over the rows.

    Raises:
        InputError: the network has no recurrent stack, or calls it more than once.

    Example:
        >>> network = Recurrent("lstm", 2, 8)
        >>> gradients_over_time(network, (torch.randn(3, 5, 2),), lambda out: out[0][:, -1].sum()).shape
        torch.Size([1, 5])
    """
    opened = open_recurrent(network, inputs, loss)
    return torch.stack([_norms(opened, cell) for cell in range(len(opened.steps))])


def _norms(opened: Opened, cell: int) -> Tensor:
    """(T,) of one layer in one direction, in the order of time."""
    norms = torch.stack([torch.cat(slope, 1).norm(dim=1) for slope in opened.slopes[cell]], 1)  # (B, T)
    backwards = cell % opened.stack.directions == 1
    mean = norms.sum(0) / (norms.shape[0] if opened.lengths is None else _rows(opened, norms, backwards))
    return mean.flip(0) if backwards else mean


def _rows(opened: Opened, norms: Tensor, backwards: bool) -> Tensor:
    """(T,) rows that have each step, in the order in which the steps are made."""
    assert opened.lengths is not None
    there = torch.arange(norms.shape[1], device=norms.device) < opened.lengths[:, None]
    counts = there.sum(0).clamp(min=1)
    return counts.flip(0) if backwards else counts


def check(opened: Opened) -> Check:
    """The first layer's outputs against those of torch's kernel.

    Raises:
        AssertionError: our own mistake: they differ.
    """
    with torch.no_grad():
        kernel, _ = run_layer(opened.stack.cell, opened.stack.weights(0), opened.x)
    slow = torch.stack([step.state[0] for step in opened.steps[0]], 1)
    T = slow.shape[1]
    lengths = torch.full((len(slow),), T) if opened.lengths is None else opened.lengths.cpu()
    there = torch.arange(T) < lengths[:, None]
    largest = float((kernel - slow).detach().cpu()[there].abs().max())
    assert largest <= TOLERANCE, f"the equations of a {opened.stack.cell} and torch's kernel differ by {largest}"
    return Check(f"h of {opened.name}, step by step, against torch's kernel, float64", largest)


def sections(opened: Opened) -> Iterator[Section]:
    """The first layer on the batch's first row: a section for each step, and one for the gradient over time."""
    cell = opened.stack.cell
    T = len(opened.steps[0]) if opened.lengths is None else int(opened.lengths[0])
    states = "dL/dh" if cell != "lstm" else "dL/d(h, c)"
    places = [*shown(T), *([T - 1] if T > FEW else [])]
    for t in places:
        step = opened.steps[0][t]
        lines = [_line("x_t", "", opened.x[0, t])]
        lines += [_line(gate, FORMULAS[cell][gate], value[0]) for gate, value in step.gates.items()]
        names = list(zip(CELLS[cell].state, step.state, strict=True))
        lines += [_line(f"{name}_t", STATES[cell][f"{name}_t"], value[0]) for name, value in reversed(names)]
        slope = torch.cat([part[0] for part in opened.slopes[0][t]])
        note = "how much of the loss's gradient reaches this step"
        lines.append(Line(f"|{states}|", note=note, value=float(slope.norm())))
        left_out = f"{T - len(places)} steps before it are left out" if t == T - 1 and len(places) < T else ""
        yield Section(f"{opened.name}, first layer, row 1, step {t + 1} of {T}: {cell}", "", tuple(lines), left_out)
    norms = _norms(opened, 0)[:T]
    chosen = sorted({round(place * (T - 1) / 11) for place in range(12)})
    yield Section(
        f"{opened.name}: the gradient over time",
        f"|{states}| of the first layer, mean over the rows, without dropout",
        tuple(Line(f"step {t + 1}", value=float(norms[t])) for t in chosen),
    )


def _line(symbol: str, formula: str, values: Tensor) -> Line:
    """The first units of a vector."""
    units = shown(len(values))
    text = ", ".join(number(value) for value in values.detach()[: len(units)].tolist())
    return Line(symbol, formula, text + (", ..." if len(units) < len(values) else ""), note=f"{len(values)} numbers")
