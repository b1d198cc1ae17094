"""Windows of a series: records for what is to be built again, one from every step on. Selecting copies step numbers."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import NEVER
from chainrule.data.series.frequency import Frequency
from chainrule.data.series.moments import Ints
from chainrule.data.series.panel import MomentIds, Panel

LEAST_KNOWN = 0.5  # of a window's values, or it is not learned from
LEAST_WINDOW, MOST_WINDOW, USUAL_WINDOW = 12, 200, 32  # steps, where nothing is said


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowRecords:
    """Steps of a panel at which windows begin.

    Straight after reading all steps are records, so that shares are shares of time; the division leaves out those
    without a whole window or half of its values, and those that reach into the next part (``times``).
    """

    panel: Panel
    rows: Ints  # steps at which windows begin
    window: int
    label_name: str = ""
    normal: tuple[str, ...] = ()  # labels of moments that are no anomalies

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> MomentIds:
        """The first moment of each window."""
        return MomentIds(self.panel, self.rows)

    @property
    def groups(self) -> None:
        """None: time divides series."""

    @property
    def times(self) -> Ints:
        """(N, 2) the first and last step of each window; the last is NEVER where nothing can be learned or scored."""
        whole = self.rows + self.window <= len(self.panel)
        rows = self.rows[whole]
        known = np.cumsum(np.isfinite(self.panel.values).sum(1))
        known = np.concatenate(([0], known))  # before each step
        least = LEAST_KNOWN * self.window * len(self.panel.names)
        whole[whole] = known[rows + self.window] - known[rows] >= least
        return np.stack((self.rows, np.where(whole, self.rows + self.window - 1, NEVER)), axis=1)

    @cached_property
    def labels(self) -> NDArray[np.str_] | None:
        """The most telling label among each window's moments: the rarest, those that are not normal first.

        So a window is strange if any of its moments is. "" where nothing is known; None where there are no labels.
        """
        if self.panel.labels is None:
            return None
        names = ranked(self.panel.labels, self.normal)
        rank = {name: place for place, name in enumerate(names)}
        places = np.array([rank.get(label, len(names)) for label in self.panel.labels.tolist()], dtype=np.int32)
        places = np.concatenate((places, np.full(self.window, len(names), np.int32)))
        first = np.lib.stride_tricks.sliding_window_view(places, self.window).min(1)
        found: NDArray[np.str_] = np.array([*names, ""], dtype=np.str_)[first[self.rows]]
        return found

    def select(self, rows: NDArray[np.int64]) -> WindowRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def fingerprint(self) -> str:
        """SHA-256 over the panel and the choice of windows."""
        digest = hashlib.sha256(f"{self.panel.fingerprint()}{self.window} {self.normal}".encode())
        digest.update(self.rows.tobytes())
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One per first moment: the same window in two files is the same record."""
        return self.panel.moments(self.rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    def near_hashes(self) -> None:
        """None: neighbouring windows overlap by nature."""

    @property
    def held(self) -> NDArray[np.bool_]:
        """(T,) the steps that some window holds."""
        edges = np.zeros(len(self.panel) + 1, np.int64)
        np.add.at(edges, self.rows, 1)
        np.add.at(edges, np.minimum(self.rows + self.window, len(self.panel)), -1)
        return np.asarray(np.cumsum(edges)[:-1] > 0)


def ranked(labels: NDArray[np.str_], normal: tuple[str, ...]) -> list[str]:
    """The names of labels, the most telling first: those that are not normal before those that are, rare ones first.

    Example:
        >>> ranked(np.array(["ok", "ok", "ok", "leak", "leak", "stop", ""]), ("ok",))
        ['stop', 'leak', 'ok']
    """
    counts = Counter(name for name in labels.tolist() if name)
    return sorted(counts, key=lambda name: (name in normal, counts[name], name))


def whole_windows(panel: Panel, window: int) -> Ints:
    """The steps from which on a whole window stands in the panel."""
    return np.arange(max(0, len(panel) - window + 1), dtype=np.int64)


def usual_window(frequency: Frequency) -> int:
    """Steps of a window where nobody says it: a few usual seasons of the step, at least 12 steps.

    Example:
        >>> from chainrule.data.series.frequency import HOUR
        >>> usual_window(Frequency(unit="fixed", size=HOUR)), usual_window(Frequency(unit="fixed", size=24 * HOUR))
        (24, 14)
    """
    fitting = [season for season in frequency.seasons() if 1 < season <= MOST_WINDOW]
    season = next(iter(fitting), USUAL_WINDOW)
    return season * -(-LEAST_WINDOW // season)
