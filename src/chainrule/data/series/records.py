"""Records of series: the moments from which a forecast can begin. Selecting copies step numbers only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import NEVER
from chainrule.data.series.moments import Ints
from chainrule.data.series.panel import MomentIds, Panel

LEAST_KNOWN = 0.5  # of a column's window, or its forecast is not learned from


@dataclass(frozen=True, eq=False, kw_only=True)
class SeriesRecords:
    """Moments of a panel: the forecast from step t sees the steps before it and answers for t, ..., t + horizon - 1.

    Straight after reading all steps are records, so that shares are shares of time; the division leaves out those
    without a whole window or anything known, and those whose answer reaches into the next part (``times``).
    """

    panel: Panel
    rows: Ints  # steps at which forecasts begin
    window: int  # steps that a forecast looks back
    horizon: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> MomentIds:
        """The first moment of each forecast."""
        return MomentIds(self.panel, self.rows)

    @property
    def groups(self) -> None:
        """None: time divides series."""

    @property
    def times(self) -> Ints:
        """(N, 2) the first and last step of what is forecast; the last is NEVER where nothing can be learned or scored.

        That is where no whole window fits, or of no column both the past and an answer are known.
        """
        last = self.rows + self.horizon - 1
        whole = (self.rows >= self.window) & (last < self.panel.end)
        rows = self.rows[whole]
        known = np.cumsum(np.isfinite(self.panel.values), axis=0)
        known = np.concatenate((np.zeros_like(known[:1]), known))  # before each step
        seen = known[rows] - known[rows - self.window] >= LEAST_KNOWN * self.window
        answered = known[rows + self.horizon] > known[rows]
        whole[whole] = (seen & answered).any(1)
        return np.stack((self.rows, np.where(whole, last, NEVER)), axis=1)

    @property
    def labels(self) -> NDArray[np.float64]:
        """The mean of what is known at each moment."""
        inside = self.panel.values[np.minimum(self.rows, len(self.panel) - 1)]
        known = np.isfinite(inside)
        total = np.where(known, inside, 0.0).sum(1)
        labels: NDArray[np.float64] = total / np.maximum(1, known.sum(1))
        return labels

    def select(self, rows: NDArray[np.int64]) -> SeriesRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def fingerprint(self) -> str:
        """SHA-256 over the panel and the choice of moments."""
        digest = hashlib.sha256(f"{self.panel.fingerprint()}{self.window} {self.horizon}".encode())
        digest.update(self.rows.tobytes())
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One per moment: the same moment in two files is the same record, equal values at two moments are not."""
        return self.panel.moments(self.rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    def near_hashes(self) -> None:
        """None: neighbouring windows overlap by nature."""

    def reach(self) -> tuple[int, int]:
        """The first and the last but one step that these records see or answer for."""
        first = max(0, int(self.rows.min()) - self.window)
        return first, min(len(self.panel), int(self.rows.max()) + self.horizon)

    def known_part(self, array: NDArray[Any]) -> NDArray[Any]:
        """The rows of a panel's array that these records see or answer for."""
        first, last = self.reach()
        return array[first:last]
