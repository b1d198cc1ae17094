"""Integrated gradients of a network over its front's outputs, summed back to the columns a person knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chainrule.errors import InputError

TOLERANCE = 0.01  # of the typical difference of outputs, which the attributions may miss
_FIRST_STEPS = 32
MOST_STEPS = 256
_ROWS_AT_ONCE = 4096  # rows x steps in one call of the network


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each entry of the inputs adds to one output, compared with the baseline."""

    values: tuple[Tensor, ...]  # one per input, of its shape
    difference: Tensor  # (B,) output at the inputs minus output at the baseline
    gap: float  # sum of values minus difference, over difference: root mean squares over the rows
    steps: int

    @property
    def complete(self) -> bool:
        """Whether the attributions sum to the difference of outputs, as the method promises."""
        return self.gap <= TOLERANCE


@dataclass(frozen=True, slots=True)
class ColumnAttribution:
    """What each column adds to one output of each row."""

    names: tuple[str, ...]
    values: Tensor  # (B, columns)
    gap: float  # as in Attribution, over the floating-point tensors

    @property
    def complete(self) -> bool:
        """As in Attribution."""
        return self.gap <= TOLERANCE

    def mean_size(self) -> tuple[float, ...]:
        """The mean of |value| per column."""
        return tuple(self.values.abs().mean(0).tolist())

    def ranked(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Names and mean sizes, the largest first."""
        sizes = self.mean_size()
        order = sorted(range(len(sizes)), key=lambda column: -sizes[column])
        return tuple(self.names[column] for column in order), tuple(sizes[column] for column in order)


def integrated_gradients(
    network: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    baseline: tuple[Tensor, ...],
    target: Tensor | int,
    fixed: tuple[Tensor, ...] = (),
    most_steps: int = MOST_STEPS,
    rows_at_once: int = 0,
) -> Attribution:
    """Integrated gradients of output ``target`` of ``network(*inputs, *fixed)`` on the line from ``baseline``.

    ``inputs`` are floating point (B, ...); ``baseline`` has their shapes or one row; ``target`` is an output's index
    for all rows or for each. Steps are doubled, up to ``most_steps``, until the sum of the attributions meets the
    difference of outputs. ``rows_at_once`` (rows x steps) limits what goes through the network in one call; 0: 4096.

    Source: Sundararajan, Taly, Yan 2017, arXiv:1703.01365, eq. 1 (attribution) and proposition 1 (completeness).

    Raises:
        InputError: Captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise InputError(
            "integrated gradients need Captum; install it with: pip install 'chainrule[explain]'"
        ) from None
    start = tuple(base.expand_as(values) for base, values in zip(baseline, inputs, strict=True))
    with torch.no_grad():
        difference = _chosen(network(*inputs, *fixed), target) - _chosen(network(*start, *fixed), target)
    method = IntegratedGradients(lambda *tensors: _two_axes(network(*tensors)))
    steps = min(_FIRST_STEPS, most_steps)
    while True:
        values = _in_chunks(method, inputs, start, target, fixed, steps, rows_at_once or _ROWS_AT_ONCE)
        missed = sum(value.flatten(1).sum(1) for value in values) - difference
        scale = max(float(difference.square().mean().sqrt()), 1e-6)
        gap = float(missed.square().mean().sqrt()) / scale
        if gap <= TOLERANCE or steps * 2 > most_steps:
            return Attribution(values, difference, gap, steps)
        steps *= 2


def _in_chunks(
    method: Any,
    inputs: tuple[Tensor, ...],
    start: tuple[Tensor, ...],
    target: Tensor | int,
    fixed: tuple[Tensor, ...],
    steps: int,
    rows_at_once: int,
) -> tuple[Tensor, ...]:
    size = max(1, rows_at_once // steps)
    found = []
    for first in range(0, len(inputs[0]), size):
        part = slice(first, first + size)
        values = method.attribute(
            tuple(value[part].detach().clone().requires_grad_() for value in inputs),
            baselines=tuple(value[part] for value in start),
            target=target if isinstance(target, int) else target[part],
            additional_forward_args=tuple(value[part] for value in fixed) or None,
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=rows_at_once if steps > rows_at_once else None,
        )
        found.append(tuple(value.detach() for value in values))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _two_axes(outputs: Tensor) -> Tensor:
    return outputs.unsqueeze(1) if outputs.dim() == 1 else outputs


def _chosen(outputs: Tensor, target: Tensor | int) -> Tensor:
    outputs = _two_axes(outputs)
    if isinstance(target, int):
        return outputs[:, target]
    return outputs.gather(1, target[:, None])[:, 0]


def typical_row(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One row (1, ...) to compare with: the median of numbers (missing ones apart), the most frequent of codes."""
    return tuple(
        values.nanmedian(0, keepdim=True).values if values.is_floating_point() else values.mode(0, keepdim=True).values
        for values in inputs
    )


def attribute_columns(
    front: nn.Module,
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    typical: tuple[Tensor, ...],
    owners: Sequence[Sequence[str]],
    target: Tensor | int,
    most_steps: int = MOST_STEPS,
) -> ColumnAttribution:
    """What each column adds to output ``target``, compared with the ``typical`` row.

    ``owners`` names, for each tensor of ``front``, the column behind every index of axis 1. Floating-point tensors get
    integrated gradients, summed per column. Whole-number codes have no gradient: such a column gets the difference that
    its typical code makes in the row, all else kept; these differences need not sum to anything.

    Raises:
        InputError: Captum is not installed.
    """
    modes = front.training, network.training
    front.eval()
    network.eval()
    try:
        with torch.no_grad():
            tensors, bases = front(*inputs), front(*typical)
        return _by_column(network, tensors, bases, owners, target, most_steps)
    finally:
        front.train(modes[0])
        network.train(modes[1])


def _by_column(
    network: nn.Module,
    tensors: tuple[Tensor, ...],
    bases: tuple[Tensor, ...],
    owners: Sequence[Sequence[str]],
    target: Tensor | int,
    most_steps: int,
) -> ColumnAttribution:
    names = tuple(dict.fromkeys(name for owned in owners for name in owned))
    column = [torch.tensor([names.index(name) for name in owned], dtype=torch.long) for owned in owners]
    values = torch.zeros(len(tensors[0]), len(names))
    smooth = [number for number, tensor in enumerate(tensors) if tensor.is_floating_point()]
    codes = [number for number, tensor in enumerate(tensors) if not tensor.is_floating_point()]

    def reordered(*moved: Tensor) -> Any:
        """The network called with its smooth tensors first, as Captum hands them over."""
        by_number = dict(zip([*smooth, *codes], moved, strict=True))
        return network(*(by_number[number] for number in range(len(tensors))))

    gap = 0.0
    if any(tensors[number].numel() for number in smooth):
        ours, theirs, fixed = (
            tuple(chosen[number] for number in wanted)
            for chosen, wanted in ((tensors, smooth), (bases, smooth), (tensors, codes))
        )
        found = integrated_gradients(reordered, ours, theirs, target, fixed, most_steps)
        gap = found.gap
        for number, value in zip(smooth, found.values, strict=True):
            values.index_add_(1, column[number], value.flatten(2).sum(2).cpu() if value.dim() > 2 else value.cpu())
    for number in codes:
        values.index_add_(1, column[number], _substitutions(network, tensors, number, bases[number], target))
    return ColumnAttribution(names, values, gap)


@torch.no_grad()
def _substitutions(
    network: nn.Module, tensors: tuple[Tensor, ...], number: int, base: Tensor, target: Tensor | int
) -> Tensor:
    """For each code (B, codes) the difference of outputs that it makes against the base's code."""
    before = _chosen(network(*tensors), target)
    found = []
    for index in range(tensors[number].shape[1]):
        replaced = tensors[number].clone()
        replaced[:, index] = base[:, index]
        after = _chosen(network(*tensors[:number], replaced, *tensors[number + 1 :]), target)
        found.append((before - after).cpu())
    return torch.stack(found, 1) if found else torch.zeros(len(before), 0)
