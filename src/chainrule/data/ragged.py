"""Rows of unequal length laid end to end, and filled up to one length where a batch is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.tokens import PAD


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of unequal length, one behind the other."""

    values: Tensor  # (all,)
    starts: Tensor  # (N + 1,) int64

    @staticmethod
    def of(rows: Sequence[NDArray[np.generic]], dtype: torch.dtype) -> Ragged:
        """The rows, laid end to end."""
        starts = torch.zeros(len(rows) + 1, dtype=torch.int64)
        starts[1:] = torch.tensor([len(row) for row in rows], dtype=torch.int64).cumsum(0)
        values = torch.from_numpy(np.concatenate(rows)) if rows else torch.zeros(0)
        return Ragged(values.to(dtype), starts)

    @property
    def lengths(self) -> Tensor:
        """The length of each row."""
        return self.starts.diff()

    def padded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """These rows (B T), zeros after their ends, and their lengths (B,)."""
        first, lengths = self.starts[rows], self.lengths[rows]
        places = torch.arange(int(lengths.max()) if len(rows) else 0)
        inside = places < lengths[:, None]
        values = self.values[torch.where(inside, first[:, None] + places, 0)]
        return values.masked_fill(~inside, PAD), lengths
