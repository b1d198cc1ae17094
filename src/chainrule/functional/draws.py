"""Random numbers that depend on a row's place alone, so that a score is the same however rows are put together.

Source: SplitMix64 as in data/order.py; Box, Muller 1958, doi:10.1214/aoms/1177706645.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def normal_of(rows: Int[Tensor, " B"], size: int, seed: int = 0) -> Float[Tensor, "B size"]:
    """Standard normal numbers, ``size`` for each row, decided by (seed, row) alone.

    Example:
        >>> first, both = normal_of(torch.tensor([7]), 3), normal_of(torch.tensor([2, 7]), 3)
        >>> torch.equal(first[0], both[1])
        True
    """
    start: NDArray[np.uint64] = _mixed(np.array([seed], dtype=np.uint64))
    places = rows.cpu().numpy().astype(np.uint64)[:, None] * np.uint64(2 * size)
    numbers = np.add(places + np.arange(2 * size, dtype=np.uint64), start, dtype=np.uint64)
    shares = (_mixed(numbers) >> np.uint64(11)) * 2.0**-53  # from 0 to below 1
    radius = np.sqrt(-2 * np.log1p(-shares[:, :size]))
    return torch.from_numpy((radius * np.cos(2 * np.pi * shares[:, size:])).astype(np.float32))


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        word = word + GOLDEN
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
