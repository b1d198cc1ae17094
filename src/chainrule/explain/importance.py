"""Permutation importance: how much worse the answers get when one column's values are shuffled among the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from chainrule.data.order import generator_of
from chainrule.errors import InputError


@dataclass(frozen=True, slots=True)
class Importance:
    """Columns from the most important down; ``mean``, ``low`` and ``high`` are rises of the loss over the repeats."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]  # smallest of the repeats
    high: tuple[float, ...]  # largest of the repeats
    loss: float  # with every column in place
    repeats: int


@torch.no_grad()
def permutation_importance(
    loss: Callable[[tuple[Tensor, ...]], float],
    inputs: tuple[Tensor, ...],
    places: Mapping[str, tuple[tuple[int, int], ...]],
    seed: int,
    repeats: int = 5,
) -> Importance:
    """The rise of ``loss(inputs)`` when the rows of one column are shuffled, for every column of ``places``.

    ``places`` gives for a column each (input, index in axis 1) that is part of it; they are shuffled together, before
    one-hot coding, so that no impossible row arises inside a column. A score is explained by handing over its negative.
    Correlated columns share their importance, and each alone may look unimportant.

    Source: Breiman 2001, "Random forests", section 10; Fisher, Rudin, Dominici 2019, arXiv:1801.01489, eq. 4.

    Raises:
        InputError: fewer than two rows, or no repeat.
    """
    rows = len(inputs[0])
    if rows < 2 or repeats < 1:
        raise InputError(f"shuffling needs two rows and one repeat at least, got {rows} rows and {repeats} repeats")
    before = loss(inputs)
    shuffled = [values.clone() for values in inputs]
    found = []
    for number, (name, parts) in enumerate(places.items()):
        rises = []
        for repeat in range(repeats):
            order = torch.randperm(rows, generator=generator_of(seed, number, repeat)).to(inputs[0].device)
            for which, index in parts:
                shuffled[which][:, index] = inputs[which][order, index]
            rises.append(loss(tuple(shuffled)) - before)
        for which, index in parts:
            shuffled[which][:, index] = inputs[which][:, index]
        found.append((sum(rises) / repeats, min(rises), max(rises), name))
    found.sort(key=lambda row: -row[0])
    mean, low, high, names = zip(*found, strict=True) if found else ((), (), (), ())
    return Importance(names, mean, low, high, before, repeats)
