"""The step of a series: a fixed time, months of the calendar or business days; found from its moments, or asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.series.moments import Clock, Ints, month_starts, written
from chainrule.errors import InputError

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
WEEK = 7 * DAY
MOST_GAPS = 0.5  # of the grid; above it, the step that was found is no step
END_OF_MONTH = 31
WORDS = {MINUTE: "minute", HOUR: "hour", DAY: "day", WEEK: "week"}
UNITS = {
    "s": SECOND, "sec": SECOND, "second": SECOND, "min": MINUTE, "t": MINUTE, "minute": MINUTE, "h": HOUR,
    "hour": HOUR, "d": DAY, "day": DAY, "w": WEEK, "week": WEEK,
}  # fmt: skip
MONTHS = {"mo": 1, "month": 1, "m": 1, "q": 3, "quarter": 3, "y": 12, "year": 12}
NAMED = {"hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "1mo", "quarterly": "1q", "yearly": "1y"}
PERIODS = {MINUTE: "minute", HOUR: "hour", DAY: "day", WEEK: "week"}  # that fixed steps may repeat after


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """The step between two moments of a series."""

    unit: Literal["fixed", "months", "business", "count"]
    size: int  # microseconds, months, or counts; 1 of business days
    day: int = 1  # of the month; 31 is its last
    clock: int = 0  # microseconds after midnight, of months and business days

    def index(self, moments: Ints, start: int) -> Ints:
        """Steps from ``start`` to each moment, -1 where it is not on the grid."""
        if self.unit in ("fixed", "count"):
            steps, rest = np.divmod(moments - start, self.size)
            return np.where(rest == 0, steps, -1).astype(np.int64)
        steps = self._near(moments) - self._near(np.array([start]))[0]
        if self.unit == "months":
            steps, rest = np.divmod(steps, self.size)
            steps = np.where(rest == 0, steps, -1)
        fits = (steps >= 0) & (self.moments(start, np.maximum(steps, 0)) == moments)
        return np.where(fits, steps, -1).astype(np.int64)

    def _near(self, moments: Ints) -> Ints:
        """Months or business days since 1970."""
        if self.unit == "months":
            return moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        days = moments.astype("datetime64[us]").astype("datetime64[D]")
        return np.busday_count(np.datetime64("1970-01-01"), days).astype(np.int64)

    def moments(self, start: int, steps: Ints) -> Ints:
        """The moments that are so many steps after ``start``."""
        steps = np.asarray(steps, dtype=np.int64)
        if self.unit in ("fixed", "count"):
            fixed: Ints = start + steps * self.size
            return fixed
        place = self._near(np.array([start]))[0] + steps * (self.size if self.unit == "months" else 1)
        if self.unit == "business":
            days = np.busday_offset(np.datetime64("1970-01-01"), place, roll="forward")
            moved: Ints = days.astype("datetime64[us]").astype(np.int64) + self.clock
            return moved
        first, after = month_starts(place), month_starts(place + 1)
        found: Ints = np.minimum(first + (self.day - 1) * DAY, after - DAY) + self.clock
        return found

    def words(self) -> str:
        """The step as a person says it."""
        if self.unit == "business":
            return "every business day"
        if self.unit == "count":
            return "every step" if self.size == 1 else f"every {self.size} steps"
        if self.unit == "months":
            name = {1: "month", 3: "quarter", 12: "year"}.get(self.size, f"{self.size} months")
            where = {1: "", END_OF_MONTH: ", on its last day"}.get(self.day, f", on day {self.day}")
            return f"every {name}{where}"
        for size in sorted(WORDS, reverse=True):
            if self.size % size == 0:
                count = self.size // size
                return f"every {WORDS[size]}" if count == 1 else f"every {count} {WORDS[size]}s"
        return f"every {self.size / SECOND:g} seconds"

    def seasons(self) -> dict[int, str]:
        """The periods that a series with this step may repeat after, in steps, the usual one first."""
        if self.unit == "count":
            return {}
        if self.unit == "business":
            return {5: "week", 21: "month", 261: "year"}
        if self.unit == "months":
            return {12 // self.size: "year"} if self.size < 12 and 12 % self.size == 0 else {}
        found = {period // self.size: name for period, name in PERIODS.items()
                 if period > self.size and period % self.size == 0}  # fmt: skip
        if self.size >= DAY and self.size <= WEEK:
            found |= {round(365.25 * DAY / self.size): "year"}
        day = DAY // self.size  # a day's period is the usual one of anything finer, a minute's of seconds
        usual = sorted(found, key=lambda steps: (steps != day, steps))
        return {steps: found[steps] for steps in usual}


def parse_frequency(text: str) -> Frequency:
    """What data.frequency asks for: 30min, 1h, 1d, business, 1w, 1mo, 1q, 1y; "mo-end" means last days.

    Raises:
        InputError: it is none of these.
    """
    word = NAMED.get(text.strip().lower(), text.strip().lower())
    if word in ("b", "business", "bd"):
        return Frequency(unit="business", size=1)
    match = re.fullmatch(r"(\d*)\s*([a-z]+?)s?(-end)?", word)
    unit = match[2] if match else ""
    count = int(match[1] or 1) if match else 0
    if unit in MONTHS and match and count:
        return Frequency(unit="months", size=count * MONTHS[unit], day=END_OF_MONTH if match[3] else 1)
    if unit in UNITS and count and match and not match[3]:
        return Frequency(unit="fixed", size=count * UNITS[unit])
    raise InputError(f"data.frequency is {text!r}; expected a step such as 30min, 1h, 1d, business, 1w, 1mo, 1q or 1y")


def find_frequency(moments: Ints, where: str, clock: Clock = "local") -> Frequency:
    """The step of rising, distinct moments; gaps are whole steps.

    Raises:
        InputError: fewer than three moments, steps that are no multiples of one, or that change on the way.
    """
    if len(moments) < 3:
        raise InputError(f"{where} has {len(moments)} different times; a series needs at least 3")
    if clock != "count":
        for calendar in (_months(moments), _business(moments)):
            if calendar is not None:
                return calendar
    steps = np.diff(moments)
    found = Frequency(unit="count" if clock == "count" else "fixed", size=_usual(steps))
    off = np.flatnonzero(steps % found.size != 0)
    if clock != "count":
        _refuse_change(moments, steps, where)
    if len(off):
        row = int(off[0])
        before, after = written(moments[row : row + 2], clock)
        means = "ask for means over regular steps with --set data.frequency=1h (or 1d, 1w, 1mo), or "
        raise InputError(
            f"{where} has irregular steps: most are {found.words()}, but {len(off):,} of {len(steps):,} are not, the "
            f"first from {before} to {after}; {'' if clock == 'count' else means}mend the times"
        )
    refuse_gaps(len(moments), found.index(moments[-1:], int(moments[0])).item() + 1, found, where)
    return found


def refuse_gaps(count: int, span: int, frequency: Frequency, where: str) -> None:
    """Raise InputError where a step makes a grid of ``span`` times, most of them without any of the ``count`` rows."""
    if count < (1 - MOST_GAPS) * span:
        means = "ask for means over longer steps with --set data.frequency=1d (or 1h, 1w, 1mo)"
        raise InputError(
            f"{where} has {count:,} times where {frequency.words()} would give {span:,}: too many gaps; "
            f"{'mend the times' if frequency.unit == 'count' else means}"
        )


def _usual(steps: Ints) -> int:
    """The commonest step."""
    sizes, counts = np.unique(steps, return_counts=True)
    return int(sizes[counts.argmax()])


def _months(moments: Ints) -> Frequency | None:
    """Months, quarters or years, where all moments are the same day of a month, or its last."""
    stamps = moments.astype("datetime64[us]")
    months = stamps.astype("datetime64[M]").astype(np.int64)
    clock = moments - stamps.astype("datetime64[D]").astype("datetime64[us]").astype(np.int64)
    days = (stamps.astype("datetime64[D]") - months.astype("datetime64[M]").astype("datetime64[D]")).astype(
        np.int64
    ) + 1
    steps = np.diff(months)
    if (steps < 1).any() or len(np.unique(clock)) > 1:
        return None
    lasts = ((month_starts(months + 1) - month_starts(months)) // DAY).astype(np.int64)
    day = END_OF_MONTH if (days == lasts).all() else int(days.max())
    if not (days == np.minimum(day, lasts)).all():
        return None
    size = _usual(steps)
    span = int(months[-1] - months[0]) // size + 1
    if (steps % size).any() or len(moments) < (1 - MOST_GAPS) * span:
        return None
    return Frequency(unit="months", size=size, day=day, clock=int(clock[0]))


def _business(moments: Ints) -> Frequency | None:
    """Days without any Saturday and Sunday, over two weeks or more."""
    stamps = moments.astype("datetime64[us]")
    days = stamps.astype("datetime64[D]")
    clock = moments - days.astype("datetime64[us]").astype(np.int64)
    steps = np.diff(moments)
    if len(np.unique(clock)) > 1 or _usual(steps) != DAY or len(moments) < 10:
        return None
    if not np.is_busday(days).all() or (moments[-1] - moments[0]) // DAY < 13:
        return None
    return Frequency(unit="business", size=1, clock=int(clock[0]))


def _refuse_change(moments: Ints, steps: Ints, where: str) -> None:
    """Raise InputError where the first part of a series has another step than the rest."""
    if len(steps) < 8:
        return
    first, last = _usual(steps[: len(steps) // 4]), _usual(steps[-len(steps) // 4 :])
    for early, late in ((first, last),):
        if early == late:
            return
        row = int(np.flatnonzero(steps == late)[0])
        if (steps[:row] == early).mean() < 0.7 or (steps[row:] == late).mean() < 0.7:
            return
        words = [Frequency(unit="fixed", size=size).words() for size in (early, late)]
        longest = Frequency(unit="fixed", size=max(early, late))
        raise InputError(
            f"{where} changes its step at {written(moments[row : row + 1])[0]}: {words[0]} before, {words[1]} after. "
            f"Bring it to one step with --set data.frequency={short(longest)}, or cut it there"
        )


def short(frequency: Frequency) -> str:
    """A frequency as data.frequency writes it."""
    if frequency.unit == "business":
        return "business"
    if frequency.unit == "months":
        return f"{frequency.size}mo" + ("-end" if frequency.day == END_OF_MONTH else "")
    names = {WEEK: "w", DAY: "d", HOUR: "h", MINUTE: "min"}
    for size, name in names.items():
        if frequency.size % size == 0:
            return f"{frequency.size // size}{name}"
    return f"{max(1, frequency.size // SECOND)}s"


def bins(moments: Ints, frequency: Frequency) -> NDArray[np.int64]:
    """The moment at which each one's step begins; of months their first day, or their last where that is asked for."""
    if frequency.unit == "fixed":
        offset = -3 * DAY if frequency.size % WEEK == 0 else 0  # 1970-01-01 was a Thursday; weeks begin on Monday
        return (moments - offset) // frequency.size * frequency.size + offset
    if frequency.unit == "business":
        days = moments.astype("datetime64[us]").astype("datetime64[D]")
        return np.busday_offset(days, 0, roll="backward").astype("datetime64[us]").astype(np.int64)
    months = moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    first = months // frequency.size * frequency.size
    starts = month_starts(first)
    if frequency.day != END_OF_MONTH:
        return starts
    return month_starts(first + frequency.size) - DAY
