"""The contract of a task: how a batch becomes a loss, and outputs become answers and measured rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Batch

Headline = tuple[str, Literal["min", "max"]]  # a metric and its good direction
Rows = dict[str, NDArray[Any]]  # measured rows: arrays of one leading length, resampled together for the interval


@dataclass(frozen=True, slots=True)
class At:
    """Where in the run a loss is computed."""

    step: int
    steps: int
    generator: torch.Generator


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum over rows, pixels or tokens, never a mean. ``Task.counts`` has the divisor ``name``."""

    name: str
    total: Tensor  # scalar
    weight: float = 1.0


Loss = tuple[Term, ...]


class Task(Protocol):
    """Joins a network to its data. Knows nothing of devices, files and optimizers."""

    @property
    def name(self) -> str:
        """classify, regress, ..."""

    @property
    def unit(self) -> Literal["row", "group", "batch"]:
        """What may not be split into micro-batches."""

    @property
    def headline(self) -> Headline:
        """The metric that a person looks at first."""

    @property
    def monitor(self) -> Headline:
        """The validation metric that chooses the best weights."""

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The module that is trained; heads with weights of their own live in it."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """The divisors of loss terms by name for these rows; summed over micro-batches before the backward pass."""

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """The terms whose sum of weight x total / count is minimised."""

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the scores need to know of each row, in evaluation mode."""

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """What the final scores need to know: as ``measure``, or what is too slow for every evaluation, as decoding is.

        Args:
            views: of masks, mirrored versions to average over; otherwise 1.
        """

    def score(self, rows: Rows) -> dict[str, float]:
        """The metrics of measured rows, in original units; called again on resampled rows for the interval."""

    def scorer(self, rows: Rows) -> Callable[[Any], dict[str, Any]]:
        """The same metrics as a function of weights per row, so that bootstrap draws need no resampling."""

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Targets as the loss compares them: class indices, or numbers in standard units."""

    def outputs(self) -> list[str]:
        """A name for each output of the network."""

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """The answers, one per row and column name."""


@runtime_checkable
class Embeds(Protocol):
    """A task whose network gives each row a place among all others."""

    def embed(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, D) the places; what is near is alike. Of unit length where likeness is the cosine."""


def total_of(batch: Batch, loss: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """A batch's sum ``loss(targets, weights of the rows)``; of blended rows share x own + (1 - share) x partner's."""
    assert batch.targets is not None
    if batch.mixed is None:
        return loss(batch.targets, None)
    share = batch.mixed.share
    return loss(batch.targets, share) + loss(batch.mixed.targets, 1 - share)


def resampled(rows: Rows, chosen: NDArray[np.int64]) -> Rows:
    """The rows of a bootstrap draw."""
    return {name: values[chosen] for name, values in rows.items()}
