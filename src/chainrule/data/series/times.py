"""The times of a source's rows: from one column, from a day and an hour, or counted; and the rows before a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.series.frequency import DAY, HOUR
from chainrule.data.series.moments import (
    COUNT_NAME,
    MISSING,
    TIME_NAME,
    Clock,
    Ints,
    Moments,
    begins_like_a_date,
    counted,
    to_moments,
)
from chainrule.errors import InputError, nearest

HOUR_NAME = re.compile(r"(?i)^(h|hr|hour|hours|hour of day|stunde)$")
CLOCK = re.compile(r"(?i)\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( [ap]m)?")
SHOWN = 5


@dataclass(frozen=True)
class Times:
    """When each row was."""

    column: str  # "": rows are counted
    hour: str  # the column of the time of day beside one of days, or ""
    moments: Ints
    clock: Clock


def find_times(frame: pl.DataFrame, options: DataConfig, where: str, found: list[Finding]) -> Times:
    """The times of all rows; what is decided is added to ``found``.

    Raises:
        InputError: no column of times, several, or cells that are no time.
    """
    name, moments = _time_column(frame, options.time, where)
    if not name:
        found.append(Finding("note", "no column of times: the rows are taken as steps 1, 2, 3, ... in their order"))
    elif moments.clock == "count":
        found.append(Finding("note", f"the numbers of column {name!r} count steps: there is no calendar", (name,)))
    bad = np.flatnonzero(moments.values == MISSING)
    if len(bad):
        cells = ", ".join(f"{frame[name][int(row)]!r} in row {row + 1}" for row in bad[:SHOWN])
        raise InputError(
            f"column {name!r} of {where} has {len(bad)} cells that are no time as the others ({moments.how}): "
            f"{cells}; write all of them in one way, or remove these rows"
        )
    if options.series:
        return Times(name, "", moments.values, moments.clock)
    hour, after = _clock_column(frame, moments)
    if hour:
        found.append(Finding("note", f"column {hour!r} is the time of day of the days in {name!r}", (hour,)))
    return Times(name, hour, moments.values + after, moments.clock)


def _time_column(frame: pl.DataFrame, wanted: str, where: str) -> tuple[str, Moments]:
    """The column of times, or "" where rows are counted.

    Raises:
        InputError: none or several.
    """
    if wanted and wanted not in frame.columns:
        raise InputError(f"data.time: {where} has no column {wanted!r}; {nearest(wanted, frame.columns)}")
    names = [wanted] if wanted else [name for name in frame.columns if _may_be_time(frame[name])]
    found = {name: moments for name in names if (moments := to_moments(frame[name], bool(wanted))) is not None}
    found = found or _counts(frame, wanted)
    if not found:
        what = f"column {wanted!r} of {where} holds no times" if wanted else f"{where} has no column of times"
        mixed = [name for name in names if frame[name].dtype == pl.String and begins_like_a_date(frame[name])]
        if mixed:
            what += f" (fewer than 95 % of the cells of {mixed[0]!r} stand in one format, as its first, "
            what += f"{frame[mixed[0]].drop_nulls()[0]!r})"
        raise InputError(
            f"{what}; expected dates such as 2024-01-31 or 2024-01-31 13:00, months, weeks, quarters, seconds since "
            f"1970, or numbers of steps; --set data.time= names their column (columns: {', '.join(frame.columns[:10])})"
        )
    if len(found) > 1:
        raise InputError(
            f"{where} has several columns of times: {', '.join(map(repr, found))}; choose with --set data.time="
        )
    ((name, moments),) = found.items()
    return name, moments


def _may_be_time(series: pl.Series) -> bool:
    """Whether a column may hold times without being named: numbers only where its name says so."""
    return not series.dtype.is_numeric() or TIME_NAME.search(series.name.replace("_", " ")) is not None


def _counts(frame: pl.DataFrame, wanted: str) -> dict[str, Moments]:
    """Where nothing is of the calendar: whole numbers whose name says steps; or the rows, if all cells are amounts."""
    names = [wanted] if wanted else [name for name in frame.columns if COUNT_NAME.search(name.strip())]
    found = {name: moments for name in names if (moments := counted(frame[name])) is not None}
    if found or wanted or not all(series.dtype.is_numeric() and not _may_be_time(series) for series in frame):
        return found
    return {"": Moments(np.arange(1, len(frame) + 1), "rows", "count")}


def _clock_column(frame: pl.DataFrame, moments: Moments) -> tuple[str, Ints]:
    """The column of hours or clock times beside repeated days, or "", and the microseconds after midnight."""
    days = moments.values
    if moments.clock == "local" and (days % DAY == 0).all() and len(np.unique(days)) < len(days):
        for name in frame.columns:
            after = _after_midnight(frame[name])
            if after is not None:
                return name, after
    return "", np.zeros(len(frame), np.int64)


def _after_midnight(series: pl.Series) -> Ints | None:
    """Microseconds after midnight of clock times, or of hours 0 to 23 whose column is named so; None for others."""
    if series.null_count() or series.n_unique() < 2:
        return None
    if series.dtype.is_integer() and HOUR_NAME.search(series.name.strip()) and series.is_between(0, 23).all():
        return series.cast(pl.Int64).to_numpy().astype(np.int64) * HOUR
    if series.dtype == pl.String and CLOCK.fullmatch(series[0].strip()):
        text = series.str.strip_chars()
        forms = (text.str.to_time(form, strict=False) for form in ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p"))
        series = next((found for found in forms if not found.null_count()), series)
    return series.to_physical().to_numpy().astype(np.int64) // 1000 if series.dtype == pl.Time else None


def before(moments: Ints, end: str, clock: Clock) -> tuple[NDArray[np.int64], Ints]:
    """The rows before the moment ``end``, and their moments."""
    if not end:
        return np.arange(len(moments)), moments
    try:
        limit = int(end if clock == "count" else np.datetime64(end.strip().replace(" ", "T"), "us").astype(np.int64))
    except ValueError:
        usual = "a date such as 2018-02-21 or 2018-02-21 13:00"
        raise InputError(f"data.end is {end!r}; expected {'a step' if clock == 'count' else usual}") from None
    rows = np.flatnonzero(moments < limit)
    if not len(rows):
        raise InputError(f"data.end is {end!r}, and no row is older")
    return rows, moments[rows]
