"""The recurrent cells as their equations, and a stack of them run step by step: the slow twin that explains.

A cell reads one step x_t and its state, and gives the next state. With s the sigmoid and * the product per element:

rnn     h_t = tanh(W x_t + b + U h_(t-1) + d)

gru     r = s(W_r x_t + b_r + U_r h_(t-1) + d_r)              reset
        z = s(W_z x_t + b_z + U_z h_(t-1) + d_z)              update
        n = tanh(W_n x_t + b_n + r * (U_n h_(t-1) + d_n))     new
        h_t = (1 - z) * n + z * h_(t-1)

lstm    i = s(W_i x_t + b_i + U_i h_(t-1) + d_i)              input
        f = s(W_f x_t + b_f + U_f h_(t-1) + d_f)              forget
        g = tanh(W_g x_t + b_g + U_g h_(t-1) + d_g)           cell
        o = s(W_o x_t + b_o + U_o h_(t-1) + d_o)              output
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t), or P (o * tanh(c_t)) with a projection

Source: rnn: Elman 1990, doi:10.1207/s15516709cog1402_1, with tanh. gru: Cho et al. 2014, arXiv:1406.1078, equations 5
    to 8. lstm: Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers,
    Schmidhuber, Cummins 2000, doi:10.1162/089976600300015015; projection: Sak, Senior, Beaufays 2014, arXiv:1402.1128.
Reference: torch.nn.RNN, GRU and LSTM, compared in tests/parity/test_recurrent.py.
Differs: the gru's reset gate acts on U_n h + d_n, as in torch (and cuDNN), where the paper has U_n (r * h): one matrix
    product less in a row. The lstm has no peepholes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

State = tuple[Tensor, ...]  # (h,), or (h, c) of an lstm


@dataclass(frozen=True, slots=True)
class Weights:
    """What one cell has learned; the rows of its gates stand one upon another in the order of ``Cell.gates``."""

    input: Tensor  # W (gates x hidden, F)
    hidden: Tensor  # U (gates x hidden, size of h)
    input_bias: Tensor  # b
    hidden_bias: Tensor  # d
    projection: Tensor | None = None  # P (size of h, hidden)

    @property
    def tensors(self) -> list[Tensor]:
        """In the order in which torch's kernels want them."""
        own = [self.input, self.hidden, self.input_bias, self.hidden_bias]
        return own if self.projection is None else [*own, self.projection]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step computed."""

    gates: dict[str, Tensor]  # by name, each (B, hidden)
    state: State  # the new one; its first tensor is what the cell hands on


def rnn_cell(x: Float[Tensor, "B F"], state: State, weights: Weights) -> Step:
    """One step of Elman's cell; its only gate is the new value itself.

    Example:
        >>> one = torch.ones(1, 1)
        >>> rnn_cell(one, (one,), Weights(one, -one, torch.zeros(1), torch.zeros(1))).state
        (tensor([[0.]]),)
    """
    (h,) = state
    from_input, from_hidden = _sums(x, h, weights)
    new = torch.tanh(from_input + from_hidden)
    return Step({"new": new}, (new,))


def gru_cell(x: Float[Tensor, "B F"], state: State, weights: Weights) -> Step:
    """One step of the gated recurrent unit: z says how much of the old state stays."""
    (h,) = state
    from_input, from_hidden = _sums(x, h, weights)
    x_r, x_z, x_n = from_input.chunk(3, -1)
    h_r, h_z, h_n = from_hidden.chunk(3, -1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return Step({"reset": r, "update": z, "new": n}, ((1 - z) * n + z * h,))


def lstm_cell(x: Float[Tensor, "B F"], state: State, weights: Weights) -> Step:
    """One step of long short-term memory: what f keeps of c goes on unchanged, so its gradient does too."""
    h, c = state
    from_input, from_hidden = _sums(x, h, weights)
    a_i, a_f, a_g, a_o = (from_input + from_hidden).chunk(4, -1)
    i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
    c = f * c + i * g
    h = o * torch.tanh(c)
    if weights.projection is not None:
        h = h @ weights.projection.T
    return Step({"input": i, "forget": f, "cell": g, "output": o}, (h, c))


def _sums(x: Tensor, h: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    return x @ weights.input.T + weights.input_bias, h @ weights.hidden.T + weights.hidden_bias


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with the names of its gates, in the order of their weights, and of its state."""

    step: Callable[[Tensor, State, Weights], Step]
    gates: tuple[str, ...]
    state: tuple[str, ...]


CELLS = {
    "rnn": Cell(rnn_cell, ("new",), ("h",)),
    "gru": Cell(gru_cell, ("reset", "update", "new"), ("h",)),
    "lstm": Cell(lstm_cell, ("input", "forget", "cell", "output"), ("h", "c")),
}


def start(cell: str, weights: Weights, rows: int) -> State:
    """The state before the first step: zeros."""
    h, c = weights.hidden.shape[1], weights.hidden.shape[0] // len(CELLS[cell].gates)
    return tuple(weights.hidden.new_zeros(rows, size) for size in (h, c)[: len(CELLS[cell].state)])


def layer_slowly(
    cell: str,
    weights: Weights,
    x: Float[Tensor, "B T F"],
    lengths: Int[Tensor, " B"] | None = None,
    state: State | None = None,
    backwards: bool = False,
    kept: list[Step] | None = None,
) -> tuple[Float[Tensor, "B T D"], State]:
    """One layer in one direction, a step at a time: outputs, 0 beyond a row's length, and each row's last state.

    A row rests while t is beyond its length; backwards it therefore begins at its own last step. ``kept`` is filled
    with the steps, in the order in which they are made.
    """
    B, T, _ = x.shape
    state = start(cell, weights, B) if state is None else state
    outputs: list[Tensor] = [x] * T
    for t in reversed(range(T)) if backwards else range(T):
        step = CELLS[cell].step(x[:, t], state, weights)
        if kept is not None:
            kept.append(step)
        runs = torch.ones(B, dtype=torch.bool) if lengths is None else t < lengths
        runs = runs[:, None].to(x.device)
        state = tuple(torch.where(runs, a, b) for a, b in zip(step.state, state, strict=True))
        outputs[t] = torch.where(runs, state[0], 0)
    return torch.stack(outputs, 1), state


def recurrent_slowly(
    cell: str,
    layers: Sequence[Sequence[Weights]],
    x: Float[Tensor, "B T F"],
    lengths: Int[Tensor, " B"] | None = None,
    state: State | None = None,
    kept: list[list[Step]] | None = None,
) -> tuple[Float[Tensor, "B T D"], State]:
    """A stack: each layer reads the outputs of the one below, of both directions side by side where it has two.

    ``layers`` has the weights by layer and direction; a state is stacked in that order, (layers x directions, B, size).
    ``kept`` is filled with a list of steps for each, see ``layer_slowly``.
    """
    ends: list[State] = []
    for directions in layers:
        outputs = []
        for backwards, weights in enumerate(directions):
            begin = None if state is None else tuple(tensor[len(ends)] for tensor in state)
            steps: list[Step] = []
            output, end = layer_slowly(cell, weights, x, lengths, begin, bool(backwards), steps)
            if kept is not None:
                kept.append(steps)
            outputs.append(output)
            ends.append(end)
        x = torch.cat(outputs, -1)
    return x, tuple(torch.stack(tensors) for tensors in zip(*ends, strict=True))
