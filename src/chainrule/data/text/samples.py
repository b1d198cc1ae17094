"""Texts as ids: one row of numbers for all, cut up into padded batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.ragged import Ragged
from chainrule.data.samples import Arrangement, Batch


class TextSamples:
    """Encoded texts; ``batch`` gives (ids (B T), lengths (B,)), filled up to the longest of the batch."""

    arrangement: Arrangement = "by_length"

    def __init__(
        self, encoded: Sequence[NDArray[np.int32]], targets: Tensor | None, ids: Sequence[str], texts: Sequence[str]
    ) -> None:
        self.ids, self.texts, self.targets = ids, texts, targets
        self.tokens = Ragged.of(encoded, torch.int32)
        self.lengths: NDArray[np.int64] = self.tokens.lengths.numpy()

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        tokens, lengths = self.tokens.padded(rows)
        return Batch((tokens.long(), lengths), None if self.targets is None else self.targets[rows], rows)


class TokensFront(nn.Module):
    """What a network of tokens is given: the ids and the lengths, as they are."""

    def forward(
        self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]
    ) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
        """The same."""
        return ids, lengths
