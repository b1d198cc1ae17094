"""Batch order and random streams as pure functions of a seed: no iterator, no generator state, nothing to save.

Rows are shuffled; rows of many lengths then join those of a similar one, so that little is filled up; where rows are
compared with others of their class, a few of each stand together; a running text stays in its order, as so many streams
side by side as a batch has rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from chainrule.data.samples import ClassedSamples, Samples
from chainrule.errors import InputError

POOL = 50  # batches whose rows are sorted by length among themselves
TOGETHER = 4  # rows of a class that stand together; Hermans, Beyer, Leibe 2017, arXiv:1703.07737, section 4.4

_WORD = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64


def seed_of(seed: int, *numbers: int) -> int:
    """A stable 63-bit seed for the stream named by ``(seed, *numbers)``, e.g. ``(seed, step)``.

    Source: SplitMix64; Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", Fig. 16-17.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    word = _mixed(seed)
    for number in numbers:
        word = _mixed(word ^ number)
    return word >> 1


def _mixed(word: int) -> int:
    word = (word + _GOLDEN) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def generator_of(seed: int, *numbers: int) -> torch.Generator:
    """A fresh CPU generator at the start of the stream ``(seed, *numbers)``; the global one is not touched."""
    return torch.Generator().manual_seed(seed_of(seed, *numbers))


def iterations_per_epoch(num_samples: int, batch_size: int, min_tail: int = 1) -> int:
    """ceil(num_samples / batch_size); a last batch below ``min_tail`` rows joins the one before it.

    Raises:
        InputError: a batch size below one.

    Example:
        >>> [iterations_per_epoch(rows, batch_size=100) for rows in (1000, 1001)]
        [10, 11]
        >>> iterations_per_epoch(1001, batch_size=100, min_tail=2)
        10
    """
    if batch_size < 1:
        raise InputError(f"train.batch_size must be at least 1, got {batch_size}")
    full, tail = divmod(num_samples, batch_size)
    joins = full > 0 and tail < min_tail
    return full + (tail > 0 and not joins)


def order(num_samples: int, batch_size: int, seed: int, epoch: int, min_tail: int = 1) -> list[Tensor]:
    """The epoch's batches as rows (int64): views of one permutation that depends on (seed, epoch) alone.

    Raises:
        InputError: a batch size below one.

    Example:
        >>> [len(rows) for rows in order(10, 4, seed=0, epoch=0)]
        [4, 4, 2]
    """
    count = iterations_per_epoch(num_samples, batch_size, min_tail)
    rows = torch.randperm(num_samples, generator=generator_of(seed, epoch))
    ends = [*range(batch_size, batch_size * count, batch_size), num_samples][:count]
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def arranged(samples: Samples, batch_size: int, seed: int, epoch: int, min_tail: int = 1) -> list[Tensor]:
    """The epoch's batches as rows, as the samples ask for them; ``iterations_per_epoch`` says how many.

    Raises:
        InputError: a batch size below one.
    """
    if samples.arrangement == "streams":
        return streams(len(samples), batch_size)
    batches = order(len(samples), batch_size, seed, epoch, min_tail)
    if isinstance(samples, ClassedSamples):
        return by_class(batches, samples.classes, generator_of(seed, epoch, 2))
    if samples.arrangement == "shuffled" or samples.lengths is None:
        return batches
    return by_length(batches, torch.from_numpy(samples.lengths), generator_of(seed, epoch, 1))


def by_length(batches: list[Tensor], lengths: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The same rows in batches of the same sizes, sorted by length within every fifty batches, in a new order."""
    found: list[Tensor] = []
    for start in range(0, len(batches), POOL):
        pool = batches[start : start + POOL]
        rows = torch.cat(pool)
        rows = rows[lengths[rows].sort(stable=True).indices]
        found += torch.split(rows, [len(batch) for batch in pool])
    last = len(found) - 1  # the short one, where there is one, stays the last
    places = torch.randperm(last, generator=generator).tolist() if last > 0 else []
    return [found[place] for place in (*places, last)]


def by_class(batches: list[Tensor], classes: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The same rows in batches of the same sizes, four of a class side by side, fours and what is left in a new order.

    Example:
        >>> rows = by_class(order(8, 4, seed=0, epoch=0), torch.arange(8) % 2, generator_of(0))
        >>> [sorted(int(row) % 2 for row in batch) for batch in rows]
        [[0, 0, 0, 0], [1, 1, 1, 1]]
    """
    rows = torch.cat(batches)
    rows = rows[classes[rows].sort(stable=True).indices]
    found, counts = [], torch.unique_consecutive(classes[rows], return_counts=True)[1]
    for part in torch.split(rows, counts.tolist()):
        fours = list(torch.split(part, TOGETHER))
        if len(fours) > 1 and len(fours[-1]) == 1:  # a lone row joins the four before it
            fours[-2:] = [torch.cat(fours[-2:])]
        found += fours
    places = torch.randperm(len(found), generator=generator).tolist()
    return list(torch.split(torch.cat([found[place] for place in places]), [len(batch) for batch in batches]))


def streams(num_rows: int, batch_size: int) -> list[Tensor]:
    """Row b W + w is window w of stream b: batch w holds window w of every stream, in order.

    Example:
        >>> [rows.tolist() for rows in streams(7, 2)]
        [[0, 4], [1, 5], [2, 6], [3]]
    """
    windows = iterations_per_epoch(num_rows, batch_size)
    starts = torch.arange(0, num_rows, windows)
    batches = (starts + window for window in range(windows))
    return [rows[rows < num_rows] for rows in batches]
