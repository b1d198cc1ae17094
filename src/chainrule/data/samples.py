"""Records (what was read), samples (tensors, randomly addressable) and batches (what one step sees)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrangement = Literal["shuffled", "by_length", "by_class", "streams"]  # how rows become batches, see data/order.py
NEVER = 2**63 - 1  # the last moment of a record that cannot be answered for


@dataclass(frozen=True, slots=True)
class Mixed:
    """What each row of a blended batch has of its partner: the loss is share x own + (1 - share) x partner's."""

    targets: Tensor  # (B,) the partners' targets
    share: Tensor  # (B,) of the row's own content, 0..1

    def to(self, device: torch.device) -> Mixed:
        """The same on ``device``."""
        return Mixed(self.targets.to(device, non_blocking=True), self.share.to(device, non_blocking=True))

    def part(self, rows: slice) -> Mixed:
        """Some rows."""
        return Mixed(self.targets[rows], self.share[rows])


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch; the network is called ``network(*inputs)``."""

    inputs: tuple[Tensor, ...]  # each (B, ...)
    targets: Tensor | None  # (B,) class indices or numbers, (B, H, W) uint8 classes of pixels; None: nothing is known
    ids: Tensor  # (B,) int64, the rows of the samples that the batch was made from
    mask: Tensor | None = None  # (B, ...) True = keep
    mixed: Mixed | None = None  # where each row was blended with another one (mixup, cutmix)

    def __len__(self) -> int:
        return self.ids.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return Batch(
            tuple(x.to(device, non_blocking=True) for x in self.inputs),
            None if self.targets is None else self.targets.to(device, non_blocking=True),
            self.ids,
            None if self.mask is None else self.mask.to(device, non_blocking=True),
            None if self.mixed is None else self.mixed.to(device),
        )

    def split(self, size: int) -> Iterator[Batch]:
        """The batch in micro-batches of at most ``size`` rows, in order."""
        if size >= len(self):
            yield self
            return
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Batch(
                tuple(x[part] for x in self.inputs),
                None if self.targets is None else self.targets[part],
                self.ids[part],
                None if self.mask is None else self.mask[part],
                None if self.mixed is None else self.mixed.part(part),
            )


def joined(first: Batch, second: Batch) -> Batch:
    """The rows of two batches whose inputs have one shape, the second ones behind the first.

    Example:
        >>> batch = Batch((torch.eye(2),), None, torch.arange(2))
        >>> joined(batch, batch).ids
        tensor([0, 1, 0, 1])
    """
    targets = None
    if first.targets is not None and second.targets is not None:
        targets = torch.cat((first.targets, second.targets))
    inputs = tuple(torch.cat(pair) for pair in zip(first.inputs, second.inputs, strict=True))
    return Batch(inputs, targets, torch.cat((first.ids, second.ids)))


class Records(Protocol):
    """What a data kind read from a source, before a schema is learned: no tensors yet, cheap to select from."""

    @property
    def ids(self) -> Sequence[str]:
        """A name a person can find again: ``row 17`` or a file's relative path."""

    @property
    def groups(self) -> NDArray[Any] | None:
        """What must not be divided between splits (a patient, a source video), one value per record."""

    @property
    def times(self) -> NDArray[Any] | None:
        """Sortable moments where the split has to respect time; or (N, 2) whole numbers.

        Those are the first and the last moment of what is to be answered, so that no answer reaches into another part;
        the last is NEVER where a record only counts as time that passes.
        """

    @property
    def labels(self) -> NDArray[Any] | None:
        """Raw target values (str or float), one per record; None where the source has no target."""

    def __len__(self) -> int: ...

    def select(self, rows: NDArray[np.int64]) -> Self:
        """The records of these rows, in this order, without copying the data."""

    def fingerprint(self) -> str:
        """SHA-256 over the content and order of all records: equal data, equal fingerprint."""

    def hashes(self) -> NDArray[np.uint64]:
        """One hash per record over its input without the target: equal inputs, equal hash."""

    def near_hashes(self) -> NDArray[np.uint64] | None:
        """One 64-bit perceptual hash per record, near records differ in few bits; None where there is none."""


class Samples(Protocol):
    """Records encoded by a schema: randomly addressable, never a stream."""

    @property
    def ids(self) -> Sequence[str]:
        """As in the records."""

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """How many values each row's input has; None where all rows are alike."""

    @property
    def arrangement(self) -> Arrangement:
        """How an epoch's batches are put together from the rows."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64), on the device the samples live on.

        In training there is a ``generator``: what is cut from a large sample is drawn from it. Without it rows are
        whole.
        """


class TensorSamples:
    """Samples of one size that fit in memory, decoded once, on one device.

    Example:
        >>> samples = TensorSamples((torch.eye(3),), torch.tensor([0, 1, 0]), ("a", "b", "c"))
        >>> samples.batch(torch.tensor([2, 0])).targets
        tensor([0, 0])
    """

    lengths = None
    arrangement: Arrangement = "shuffled"

    def __init__(self, inputs: tuple[Tensor, ...], targets: Tensor | None, ids: Sequence[str]) -> None:
        lengths = {len(ids), *(x.shape[0] for x in inputs), *(() if targets is None else (targets.shape[0],))}
        assert len(lengths) == 1, f"inputs, targets and ids differ in length: {sorted(lengths)}"
        self.inputs = inputs
        self.targets = targets
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> TensorSamples:
        """The samples moved to ``device``, where every batch is then cut."""
        targets = None if self.targets is None else self.targets.to(device)
        return TensorSamples(tuple(x.to(device) for x in self.inputs), targets, self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        place = rows.to(self.inputs[0].device)
        targets = None if self.targets is None else self.targets.index_select(0, place)
        return Batch(tuple(x.index_select(0, place) for x in self.inputs), targets, rows)


class ClassedSamples:
    """The same samples, of whose classes each batch is to hold several rows.

    Args:
        classes: (N,) class indices.
    """

    arrangement: Arrangement = "by_class"

    def __init__(self, samples: Samples, classes: Tensor) -> None:
        assert len(classes) == len(samples), f"{len(classes)} classes for {len(samples)} rows"
        self.samples, self.classes = samples, classes

    @property
    def ids(self) -> Sequence[str]:
        """As in the samples."""
        return self.samples.ids

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """As in the samples."""
        return self.samples.lengths

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        return self.samples.batch(rows, generator)
