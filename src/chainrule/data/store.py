"""Decoded content, read back by place: arrays of any shape as they were decoded, and encoded rows of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from chainrule.data.samples import Samples, TensorSamples
from chainrule.data.threads import in_threads


def collect(arrays: Iterable[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    """The arrays in the order they come, each of its own shape."""
    return list(arrays)


def stack(count: int, shape: tuple[int, ...], dtype: DTypeLike, make: Callable[[int], NDArray[Any]]) -> Tensor:
    """Rows 0..count of one shape, each made once, in threads."""
    rows = np.empty((count, *shape), dtype=dtype)

    def fill(place: int) -> None:
        rows[place] = make(place)

    in_threads(fill, range(count))
    return torch.from_numpy(rows)


def stacked_samples(inputs: tuple[Tensor, ...], targets: Tensor | None, ids: Sequence[str]) -> Samples:
    """Samples over stacks."""
    return TensorSamples(inputs, targets, ids)
