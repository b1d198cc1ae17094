"""Test-time augmentation: samples seen in several ways, and the mean of what is answered to them.

Source: Krizhevsky, Sutskever, Hinton 2012, section 4.1: the softmax outputs of several versions of an image, averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.kind import DataKind
from chainrule.data.order import seed_of
from chainrule.data.samples import Arrangement, Batch, Samples
from chainrule.tasks.task import Rows
from chainrule.train.arithmetic import Arithmetic

MIXING = ("mixup", "cutmix")  # settings that blend rows: a blend is no view of one row
AVERAGED = ("probabilities", "predictions", "embeddings")


@runtime_checkable
class Mirrors(Protocol):
    """Augmentation settings of a kind that can be mirrored."""

    def mirrored(self, batch: Batch) -> Batch | None:
        """The batch mirrored left and right, or None where the settings never mirror."""


class View:
    """Samples whose batches are augmented by draws from (seed, number of the view, first row of the batch).

    View 1 is the mirror image where the settings mirror, every other one is drawn as in training, without blends.
    """

    def __init__(
        self, samples: Samples, kind: DataKind, config: Any, number: int, seed: int, arithmetic: Arithmetic
    ) -> None:
        self.samples, self.kind, self.number, self.seed = samples, kind, number, seed
        self.arithmetic = arithmetic
        blends = {field.name: 0.0 for field in dataclasses.fields(config) if field.name in MIXING}
        self.config = dataclasses.replace(config, **blends)

    @property
    def ids(self) -> Sequence[str]:
        """As in the samples."""
        return self.samples.ids

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """As in the samples."""
        return self.samples.lengths

    @property
    def arrangement(self) -> Arrangement:
        """As in the samples."""
        return self.samples.arrangement

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The augmented batch of these rows, on the device; made in float32 whatever the network computes in."""
        device = self.arithmetic.device
        with torch.autocast(device.type, enabled=False):
            batch = self.arithmetic.place_batch(self.samples.batch(rows))
            mirror = self.config.mirrored(batch) if self.number == 1 and isinstance(self.config, Mirrors) else None
            if mirror is not None:
                return mirror
            seed = seed_of(self.seed, self.number, int(rows[0]))
            return self.kind.augment(batch, torch.Generator(device).manual_seed(seed), self.config)


def mean_of_views(views: Sequence[Rows]) -> Rows:
    """The measured rows with their probabilities, predictions or embeddings averaged over the views."""
    return {
        name: np.mean([rows[name] for rows in views], axis=0) if name in AVERAGED else values
        for name, values in views[0].items()
    }
