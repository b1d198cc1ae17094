"""Pairs of sentences as tokens, laid end to end; batches are filled up to their longest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Arrangement, Batch
from chainrule.data.tokens import BEGIN, PAD

CALLED = 3  # inputs of a batch that the network is called with


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


class ParallelSamples:
    """Pairs of one split. ``lengths`` counts the tokens of both sides: batches hold sentences of a similar length.

    A batch's inputs are the source tokens (B S) with their end, their numbers (B,), the target tokens (B T) from the
    beginning on, and in evaluation the translations as UTF-8 (B bytes); its targets are the target tokens (B T) with
    their end, which a sentence that was cut does not have.

    Args:
        references: the translations as bytes.
    """

    arrangement: Arrangement = "by_length"

    def __init__(
        self, sources: Sequence[NDArray[np.int32]], targets: Sequence[NDArray[np.int32]] | None,
        references: Sequence[bytes], ids: Sequence[str],
    ) -> None:  # fmt: skip
        self.ids = ids
        self.sources = Ragged.of(sources, torch.int32)
        self.targets = None if targets is None else Ragged.of(targets, torch.int32)
        self.references = Ragged.of([np.frombuffer(text, dtype=np.uint8) for text in references], torch.uint8)
        both = self.sources.lengths if self.targets is None else self.sources.lengths + self.targets.lengths
        self.lengths: NDArray[np.int64] = both.numpy()

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        source, lengths = self.sources.padded(rows)
        if self.targets is None:
            return Batch((source.long(), lengths), None, rows)
        target, wanted = self.targets.padded(rows)
        targets = target.long()
        begin = torch.full((len(rows), 1), BEGIN)
        given = torch.cat((begin, targets[:, :-1]), dim=1)
        mask = torch.arange(targets.shape[1]) < wanted[:, None]
        inputs = (source.long(), lengths, given.masked_fill(~mask, PAD))
        texts = (self.references.padded(rows)[0],) if generator is None else ()
        return Batch((*inputs, *texts), targets, rows, mask)


class PairFront(nn.Module):
    """What the network is called with: source, lengths and target tokens; not the translations as text."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The inputs without the translations."""
        return inputs[:CALLED]
