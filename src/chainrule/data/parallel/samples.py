"""Pairs of sentences as tokens, laid end to end; batches are filled up to their longest one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.ragged import Ragged
from chainrule.data.samples import Arrangement, Batch
from chainrule.data.tokens import BEGIN, PAD

CALLED = 3  # inputs of a batch that the network is called with


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
