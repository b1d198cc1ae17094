"""Texts as ids: one row of numbers for all, cut up into padded batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Arrangement, Batch
from chainrule.data.tokens import PAD


class TextSamples:
    """Encoded texts; ``batch`` gives (ids (B T), lengths (B,)), filled up to the longest of the batch."""

    arrangement: Arrangement = "by_length"

    def __init__(
        self, encoded: Sequence[NDArray[np.int32]], targets: Tensor | None, ids: Sequence[str], texts: Sequence[str]
    ) -> None:
        self.lengths = np.array([len(one) for one in encoded], dtype=np.int64)
        self.ids, self.texts, self.targets = ids, texts, targets
        self.tokens = torch.from_numpy(np.concatenate(encoded))
        self._lengths = torch.from_numpy(self.lengths)
        self._starts = self._lengths.cumsum(0) - self._lengths

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        lengths = self._lengths[rows]
        places = torch.arange(int(lengths.max()))
        there = places < lengths[:, None]
        tokens = self.tokens[(self._starts[rows, None] + places).clamp(max=len(self.tokens) - 1)].long()
        targets = None if self.targets is None else self.targets[rows]
        return Batch((torch.where(there, tokens, PAD), lengths), targets, rows)


class TokensFront(nn.Module):
    """What a network of tokens is given: the ids and the lengths, as they are."""

    def forward(
        self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]
    ) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
        """The same."""
        return ids, lengths
