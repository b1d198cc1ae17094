"""How strange single moments of a series are: the means over all windows that hold them.

A window's score cannot say where in it something is wrong, and each moment is seen at every place of a window: once as
its first step, once as its last. The mean over all of them leaves what is due to the place alone out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.tasks.costs import costs_of, seen_by

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of each moment and column; NaN where no window is."""

    misfits: Floats  # (T, C) in units of what is usual for the column; NaN where the value is not known, too
    built: Floats  # (T, C) what was expected, in standard units

    @property
    def scores(self) -> Floats:
        """(T,) the mean misfit of each moment's known columns, 1 is usual; NaN where none is known."""
        known = np.isfinite(self.misfits)
        means = np.where(known, self.misfits, 0.0).sum(1) / np.maximum(1, known.sum(1))
        return np.where(known.any(1), means, np.nan)

    @property
    def worst(self) -> NDArray[np.int64]:
        """(T,) the column that fits least; 0 where none is known."""
        found: NDArray[np.int64] = np.where(np.isfinite(self.misfits), self.misfits, -np.inf).argmax(1)
        return found


class MomentSums:
    """Adds windows up to moments.

    Args:
        usual: misfit of each column.
    """

    def __init__(self, steps: int, usual: Sequence[float]) -> None:
        self.usual = torch.tensor(usual, dtype=torch.float64)
        self.misfits, self.built, self.windows, self.known = (
            torch.zeros(steps, len(usual), dtype=torch.float64) for _ in range(4)
        )

    def add(self, network: nn.Module, batch: Batch, begins: Int[Tensor, " B"]) -> None:
        """Windows that begin at these steps, each built from its mean code."""
        seen, costs = seen_by(network, batch), costs_of(network)
        outputs, _ = costs.network.coded(seen)
        steps = (begins[:, None] + torch.arange(outputs.shape[1])).flatten()
        for total, values in (
            (self.misfits, costs.misfits(seen, outputs)), (self.built, outputs), (self.known, seen[1]),
            (self.windows, torch.ones_like(outputs)),
        ):  # fmt: skip
            total.index_add_(0, steps, values.double().cpu().flatten(0, 1))

    def means(self) -> Moments:
        """The means over the windows so far."""
        nan = torch.full_like(self.built, torch.nan)
        return Moments(
            torch.where(self.known > 0, self.misfits / self.known.clamp(min=1) / self.usual, nan).numpy(),
            torch.where(self.windows > 0, self.built / self.windows.clamp(min=1), nan).numpy(),
        )
