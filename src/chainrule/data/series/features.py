"""Features of the calendar: where in the day, week and year a moment lies, as points on a circle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainrule.data.series.frequency import DAY, WEEK, Frequency
from chainrule.data.series.moments import Ints

YEAR = 365.2425 * DAY


def calendar_of(frequency: Frequency, span: int) -> tuple[str, ...]:
    """The features that make sense for this step and that ``span`` microseconds of training have seen come again.

    Example:
        >>> calendar_of(Frequency(unit="fixed", size=DAY // 24), 90 * DAY)
        ('hour', 'weekday')
    """
    found = []
    if frequency.unit == "count":
        return ()
    if frequency.unit == "months":
        return ("month",) if frequency.size < 12 and span >= 2 * YEAR - WEEK else ()
    if frequency.unit == "fixed" and frequency.size < DAY and span >= 2 * DAY:
        found.append("hour")
    if (frequency.unit == "business" or frequency.size <= DAY) and span >= 2 * WEEK:
        found.append("weekday")
    if (frequency.unit == "business" or frequency.size <= WEEK) and span >= 2 * YEAR - WEEK:
        found.append("day of year")
    return tuple(found)


def calendar_values(moments: Ints, features: Sequence[str]) -> NDArray[np.float64]:
    """(N, 2 x features) sine and cosine of each feature's share of its circle."""
    shares = [_share(moments, feature) for feature in features]
    columns = [wave(2 * np.pi * share) for share in shares for wave in (np.sin, np.cos)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(moments), 0))


def calendar_names(features: Sequence[str]) -> list[str]:
    """A name for each column of ``calendar_values``."""
    return [f"{feature} ({wave})" for feature in features for wave in ("sine", "cosine")]


def _share(moments: Ints, feature: str) -> NDArray[np.float64]:
    stamps = moments.astype("datetime64[us]")
    if feature == "hour":
        place, period = moments % DAY, float(DAY)
    elif feature == "weekday":
        place, period = (moments // DAY + 3) % 7, 7.0
    elif feature == "month":
        place, period = stamps.astype("datetime64[M]").astype(np.int64) % 12, 12.0
    else:
        assert feature == "day of year", feature
        days = stamps.astype("datetime64[D]") - stamps.astype("datetime64[Y]").astype("datetime64[D]")
        place, period = days.astype(np.int64), 365.2425
    share: NDArray[np.float64] = place / period
    return share
