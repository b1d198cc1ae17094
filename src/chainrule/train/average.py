"""Averaged weights: an exponential moving average of what is trained, kept beside it.

    average <- d * average + (1 - d) * weights,    d = min(decay, (1 + t) / (10 + t)) at step t

The early, smaller d lets the average leave the random start behind (as in TensorFlow's ExponentialMovingAverage).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """The moving average of some tensors; ``decay`` 0 keeps none."""

    def __init__(self, tensors: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = list(tensors)
        self.averages = [t.detach().clone() for t in self.tensors] if decay else []

    def update(self, step: int) -> None:
        """Take in the weights after ``step`` updates."""
        if self.decay:
            weight = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.averages, [t.detach() for t in self.tensors], weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averages in the network's place, for evaluating and for saving the best weights."""
        if not self.decay:
            yield
            return
        kept = [t.detach().clone() for t in self.tensors]
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, self.averages)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.tensors, kept)

    def state(self) -> dict[str, Tensor]:
        """The averages by position."""
        return {str(i): average for i, average in enumerate(self.averages)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put saved averages back, in place."""
        for i, average in enumerate(self.averages):
            average.copy_(tensors[str(i)])
