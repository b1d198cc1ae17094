"""Rows and groups dealt out to parts, as numbers alone: shares by class, whole groups, random orders of a seed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.order import generator_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Shares = tuple[float, ...]  # of train, valid and test; or one for each fold
PLACED_GROUPS = 20_000  # up to here every group is placed by itself; beyond, they are dealt out by class
PLACED_CELLS = 4_000_000  # groups x classes, the table that placing needs
TRIES = 20  # orders in which few groups are placed; the best is kept


class Impossible(Exception):
    """This way of dividing cannot be followed; the message says why."""


def one_row_in_train(classes: Ints, part: Ints) -> Ints:
    """The parts after the first row of each class that train lacks has moved there, unless that empties a part."""
    unseen = ~np.isin(classes, classes[part == 0])
    rows = np.flatnonzero(unseen)
    moved = part.copy()
    moved[rows[np.unique(classes[rows], return_index=True)[1]]] = 0
    return moved if len(np.unique(moved)) == len(np.unique(part)) else part


def shuffled_by(classes: Ints, seed: int) -> Ints:
    """Rows by class, in random order within each."""
    rows = torch.randperm(len(classes), generator=generator_of(seed, len(classes))).numpy()
    small = classes.astype(np.min_scalar_type(int(classes.max())))  # 8 and 16 bits are sorted by radix, 10 times faster
    ordered: Ints = rows[np.argsort(small[rows], kind="stable")]
    return ordered


def quotas_of(counts: Ints, shares: Shares) -> Ints:
    """Rows (classes, parts) for each part: shares by largest remainder, at least one where a class is large enough."""
    wanted = [number for number, share in enumerate(shares) if share > 0]
    enough = counts >= len(wanted)
    quotas = np.zeros((len(counts), len(shares)), np.int64)
    for left, number in enumerate(reversed(wanted[1:])):
        later = len(wanted) - 1 - left  # parts still to be served, one row each
        room = np.where(enough, counts - quotas.sum(1) - later, 0)
        ideal = counts * shares[number]
        quotas[:, number] = np.minimum(np.maximum(ideal.astype(np.int64), 1), room)
        missing = round(counts[enough].sum() * shares[number]) - quotas[:, number].sum()
        free = (quotas[:, number] < room) & (ideal > quotas[:, number])
        owed = counts * sum(shares[number:]) - quotas[:, number:].sum(1)  # a class that gave a row more waits
        most = np.argsort(np.where(free, -owed, np.inf), kind="stable")[: max(missing, 0)]
        quotas[most[free[most]], number] += 1
    quotas[:, 0] = counts - quotas.sum(1)
    return quotas


def placed(cells: Floats, shares: Floats, seed: int) -> Ints:
    """A part for each group of ``cells`` (groups, classes): the best of several orders of placing them one by one."""
    sizes = cells.sum(1, keepdims=True)
    table = np.concatenate((cells[:, cells.any(0)], sizes), axis=1)
    weights = np.ones(table.shape[1])
    weights[-1] = len(weights) - 1  # the size counts as much as all classes together
    targets = np.outer(shares, table.sum(0))
    generator = generator_of(seed, len(cells))
    best, least = np.zeros(len(cells), np.int64), np.inf
    for number in range(min(TRIES, max(1, PLACED_GROUPS // len(cells)))):
        order = torch.randperm(len(cells), generator=generator).numpy()
        if number == 0:
            order = order[np.argsort(-sizes[order, 0], kind="stable")]
        part, filled = _placed_in(order, table, targets, weights)
        distance = float(((filled - targets) ** 2 / targets @ weights).sum())
        if distance < least:
            best, least = part, distance
    return best


def _placed_in(order: Ints, table: Floats, targets: Floats, weights: Floats) -> tuple[Ints, Floats]:
    """Each group to the part where it adds least to the chi-square distance from the targets; no part stays empty."""
    part = np.empty(len(order), np.int64)
    filled = np.zeros_like(targets)
    empty = np.ones(len(targets), np.bool_)
    for left, group in zip(range(len(order), 0, -1), order.tolist(), strict=True):
        row = table[group]
        added = (row * (2 * (filled - targets) + row) / targets) @ weights
        if left <= empty.sum():
            added[~empty] = np.inf
        chosen = int(added.argmin())
        part[group] = chosen
        filled[chosen] += row
        empty[chosen] = False
    return part, filled


def dealt(groups: Ints, classes: Ints, shares: Floats, seed: int) -> Ints:
    """A part for each of many groups: by the class of their first row, in random order, cut where the rows say."""
    sizes = np.bincount(groups)
    first = np.empty(len(sizes), np.int64)
    first[groups[::-1]] = classes[::-1]
    large = sizes > shares.min() * len(groups) / 4  # a group this large would overfill a small part: last, in train
    for strata in (first, np.zeros_like(first)):
        order = shuffled_by(strata * 2 + large, seed)
        rows = np.bincount(strata, weights=sizes)
        before = (np.cumsum(rows) - rows)[strata[order]]
        middle = (np.cumsum(sizes[order]) - sizes[order] / 2 - before) / rows[strata[order]]
        part = np.empty(len(sizes), np.int64)
        part[order] = len(shares) - 1 - np.searchsorted(np.cumsum(shares[:0:-1]), middle)
        if len(np.unique(part)) == len(shares):
            return part
    raise Impossible(f"{len(sizes)} groups of these sizes leave a part empty")
