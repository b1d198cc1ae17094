"""Series on one grid of time: what is forecast, what is known beside it, and what was noticed on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from chainrule.data.kind import Finding
from chainrule.data.series.frequency import Frequency
from chainrule.data.series.moments import Clock, Ints, written

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """Columns on a grid; NaN where nothing is known. ``T`` moments, ``C`` columns of ``S`` series."""

    start: int  # the first moment
    frequency: Frequency
    clock: Clock
    time: str  # the column of times; "" where rows are counted
    hour: str  # the column of the time of day beside one of days, or ""
    series: str  # the columns that name the series, with commas between; "" where a row has all of them
    series_names: tuple[str, ...]  # (S,)
    columns: tuple[str, ...]  # of the source that are forecast
    names: tuple[str, ...]  # (C,) of what is forecast: a column, a series, or both
    owners: NDArray[np.int64]  # (C,) the series of each
    values: Floats  # (T, C)
    past_names: tuple[str, ...]
    past: Floats  # (T, S, P), known up to now
    known_names: tuple[str, ...]
    known: Floats  # (T, S, K), known ahead
    notes: tuple[Finding, ...] = ()
    labels: NDArray[np.str_] | None = None  # (T,) of the moments, "" where none is known; None: there are none

    def __len__(self) -> int:
        return len(self.values)

    @property
    def end(self) -> int:
        """The step after the last one at which something to forecast is known; known columns may go on."""
        some = np.flatnonzero(np.isfinite(self.values).any(1))
        return int(some[-1]) + 1 if len(some) else 0

    @property
    def ends(self) -> NDArray[np.int64]:
        """(C,) the step after the last known one: of each series in long form, of all together in wide form."""
        if not self.series:
            return np.full(len(self.names), self.end)
        known = np.isfinite(self.values)
        own = np.where(known.any(0), len(self) - known[::-1].argmax(0), 0)
        ends: NDArray[np.int64] = np.array([own[self.owners == owner].max() for owner in self.owners], dtype=np.int64)
        return ends

    def moments(self, steps: Ints) -> Ints:
        """The moments of these steps; beyond the end as well."""
        return self.frequency.moments(self.start, steps)

    def written(self, steps: Sequence[int] | Ints) -> list[str]:
        """The moments of these steps as a person writes them."""
        return written(self.moments(np.asarray(steps, dtype=np.int64)), self.clock)

    def fingerprint(self) -> str:
        """SHA-256 over names, times and values."""
        digest = hashlib.sha256(
            repr((self.start, self.frequency, self.names, self.past_names, self.known_names)).encode()
        )
        for array in (self.values, self.past, self.known):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"" if self.labels is None else "\0".join(self.labels.tolist()).encode())
        return digest.hexdigest()


class MomentIds(Sequence[str]):
    """The moments at which forecasts begin, written when asked for."""

    def __init__(self, panel: Panel, steps: Ints) -> None:
        self.panel = panel
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> MomentIds: ...
    def __getitem__(self, place: int | slice) -> str | MomentIds:
        if isinstance(place, slice):
            return MomentIds(self.panel, self.steps[place])
        return self.panel.written([int(self.steps[place])])[0]
