"""From a column to moments in time: dates in many formats, months, quarters, time zones, epoch numbers.

A moment is an int64 of microseconds since 1970-01-01, in UTC where the source has offsets, otherwise by its own clock;
or the number of a step where times are counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.table.columns import to_dates

Ints = NDArray[np.int64]
Clock = Literal["local", "utc", "count"]  # count: no times, but numbers of steps
MONTHS = ("%Y-%m", "%Y/%m", "%Y.%m", "%m/%Y", "%m-%Y", "%b %Y", "%b-%Y", "%B %Y", "%Y %b", "%Y-%b", "%b-%y")
DATE = re.compile(
    r"\d{1,4}[-/. ]\w{1,9}([-/., ]+\d{1,4})?.*|[A-Za-z]{3,9}[-. ]+\d{1,4}.*"
    r"|\d{4}[ -]?[Qq][1-4]|[Qq][1-4][ -]?\d{4}|\d{4}[ -]?[Ww]\d{1,2}"
)
QUARTER = r"^(?:(\d{4})[ -]?[Qq]([1-4])|[Qq]([1-4])[ -]?(\d{4}))$"
WEEK = r"^(\d{4})[ -]?[Ww](\d{1,2})$"
OFFSET = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s?([+-]\d{2}:?\d{2}|Z|UTC|GMT)$"
COMPACT = r"^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])?$"
TIME_NAME = re.compile(
    r"(?i)\b(date|time|datetime|timestamp|ts|ds|day|month|week|quarter|year|moment|period|epoch|unix"
    r"|zeit|zeitpunkt|zeitstempel|datum|tag|woche|monat|quartal|jahr)\b"
)
COUNT_NAME = re.compile(r"(?i)^(t|time|step|steps|tick|ticks|period|index|schritt|zeit)$")
FIRST_YEAR = 1000
EPOCHS = (("seconds", 1_000_000), ("milliseconds", 1_000), ("microseconds", 1))
EARLIEST, LATEST = (np.datetime64(text, "us").astype(np.int64) for text in ("1970-06-01", "2100-01-01"))


@dataclass(frozen=True)
class Moments:
    """A column read as time. ``values`` has the smallest int64 where a cell is missing or no time."""

    values: Ints
    how: str  # the format, in words
    clock: Clock = "local"  # utc: the source has offsets


MISSING = np.iinfo(np.int64).min


def to_moments(series: pl.Series, chosen: bool = False) -> Moments | None:
    """The column as moments; None where fewer than 95 % of its cells are times.

    Whole numbers are times where they look like years (by the column's name), days such as 20240131, or seconds, milli-
    or microseconds since 1970 between 1970 and 2100.

    Args:
        chosen: the user says that these are times: years need no name, and other whole numbers count steps.
    """
    if series.dtype.is_temporal() and series.dtype != pl.Time and not isinstance(series.dtype, pl.Duration):
        return _of_dates(series)
    if series.dtype == pl.String:
        return _of_text(series, chosen)
    if series.dtype.is_integer() or (series.dtype.is_float() and _is_whole(series)):
        return _of_numbers(series, chosen)
    return None


def counted(series: pl.Series) -> Moments | None:
    """A column of whole numbers as numbers of steps."""
    if not (series.dtype.is_integer() or (series.dtype.is_float() and _is_whole(series))):
        return None
    whole = series.cast(pl.Int64, strict=False).fill_null(MISSING)
    return Moments(whole.to_numpy().astype(np.int64), "counts", "count")


def _of_dates(series: pl.Series) -> Moments:
    zoned = bool(getattr(series.dtype, "time_zone", None))
    plain = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else series
    return Moments(_ints(plain.cast(pl.Datetime("us"))), "dates", "utc" if zoned else "local")


def _ints(dates: pl.Series) -> Ints:
    return dates.to_physical().cast(pl.Int64).fill_null(MISSING).to_numpy().astype(np.int64)


def _of_text(series: pl.Series, chosen: bool) -> Moments | None:
    text = series.str.strip_chars()
    text = text.set(text.is_in(["", "NA", "NaN", "nan", "null", "None", "?"]).fill_null(False), None)
    known = text.drop_nulls()
    if not len(known):
        return None
    if known.head(50).str.contains(r"^\d+$").all():
        numbers = text.cast(pl.Int64, strict=False)
        return _of_numbers(numbers.alias(series.name), chosen) if numbers.null_count() == text.null_count() else None
    if not begins_like_a_date(known):
        return None
    for read in (_offsets, _quarters, _weeks, _days, _months):
        found = read(text)
        if found is not None:
            return found
    return None


def begins_like_a_date(text: pl.Series) -> bool:
    """Whether the first cell of a column of text looks like a date."""
    known = text.drop_nulls()
    return bool(len(known)) and DATE.fullmatch(known[0].strip()) is not None


def _enough(found: pl.Series, text: pl.Series) -> bool:
    return found.null_count() - text.null_count() <= 0.05 * (len(text) - text.null_count())


def _offsets(text: pl.Series) -> Moments | None:
    """Times with an offset from UTC behind them, each row its own: summer and winter are told apart."""
    zone = text.str.extract(OFFSET)
    if not _enough(zone, text):
        return None
    plain, form = to_dates(text.str.replace(r"\s?([+-]\d{2}:?\d{2}|Z|UTC|GMT)$", ""))
    if plain is None:
        return None
    parts = zone.str.replace("^(Z|UTC|GMT)$", "+00:00").str.replace(":", "", literal=True)
    minutes = parts.str.slice(1, 2).cast(pl.Int64) * 60 + parts.str.slice(3, 2).cast(pl.Int64)
    minutes = minutes * parts.str.starts_with("-").cast(pl.Int64).replace({0: 1, 1: -1})
    values = _ints(plain)
    shift = minutes.fill_null(0).to_numpy().astype(np.int64) * 60_000_000
    moved = np.where(values == MISSING, MISSING, values - shift)
    return Moments(moved, f"{form} with offsets, read as UTC", "utc")


def _quarters(text: pl.Series) -> Moments | None:
    years = text.str.extract(QUARTER, 1).fill_null(text.str.extract(QUARTER, 4)).cast(pl.Int64)
    quarters = text.str.extract(QUARTER, 2).fill_null(text.str.extract(QUARTER, 3)).cast(pl.Int64)
    if not _enough(years, text):
        return None
    months = (years - 1970) * 12 + (quarters - 1) * 3
    missing = months.is_null().to_numpy()
    return Moments(np.where(missing, MISSING, month_starts(months.fill_null(0).to_numpy())), "quarters")


def _weeks(text: pl.Series) -> Moments | None:
    """Weeks such as 2020-W05, by their Mondays (ISO 8601)."""
    parts = text.str.extract_groups(WEEK)
    if not _enough(parts.struct.field("1"), text):
        return None
    days = parts.struct.field("1") + "-W" + parts.struct.field("2").str.zfill(2) + "-1"
    return Moments(_ints(days.str.to_datetime("%G-W%V-%u", strict=False, time_unit="us")), "weeks")


def _days(text: pl.Series) -> Moments | None:
    """Days, with or without a clock; where both orders of day and month are possible, the one with even steps."""
    dates, form = to_dates(text)
    if dates is None:
        return None
    swapped = form.replace("%m", "%_").replace("%d", "%m").replace("%_", "%d")
    if swapped != form and not form.startswith("%Y"):
        other, _ = to_dates(text, swapped)
        if other is not None and _enough(other, text) and _unevenness(other) < _unevenness(dates):
            dates, form = other, swapped
    return Moments(_ints(dates), form)


def _unevenness(dates: pl.Series) -> int:
    """How many different steps lie between neighbouring moments."""
    return len(np.unique(np.diff(np.unique(_ints(dates.drop_nulls())))))


def _months(text: pl.Series) -> Moments | None:
    for form in MONTHS:
        dates = ("01 " + text).str.to_datetime(f"%d {form}", strict=False, time_unit="us")
        if _enough(dates, text) and (dates.dt.year() >= FIRST_YEAR).all():  # %Y takes 98 for the year 98
            return Moments(_ints(dates), form)
    return None


def _is_whole(series: pl.Series) -> bool:
    known = series.drop_nulls().drop_nans()
    return bool(len(known)) and bool((known == known.round()).all())


def _of_numbers(series: pl.Series, chosen: bool) -> Moments | None:
    """Years, days such as 20240131, or an epoch."""
    whole = series.cast(pl.Int64, strict=False)
    known = whole.drop_nulls().to_numpy()
    if len(known) < 3:
        return None
    missing = whole.is_null().to_numpy()
    filled = whole.fill_null(int(known[0])).to_numpy().astype(np.int64)
    low, high = int(known.min()), int(known.max())
    named = chosen or TIME_NAME.search(series.name.replace("_", " ")) is not None
    if low >= 1000 and high <= 2500:
        if not named:
            return None
        return Moments(np.where(missing, MISSING, month_starts((filled - 1970) * 12)), "years")
    digits = whole.cast(pl.String)
    if digits.str.contains(COMPACT).fill_null(True).all() and (low > 19_000_000 or (named and high < 210_000)):
        text = digits if low > 19_000_000 else digits + "01"
        dates = text.str.to_datetime("%Y%m%d", strict=False, time_unit="us")
        if _enough(dates, digits):
            return Moments(_ints(dates), "days written as numbers" if low > 19_000_000 else "months written as numbers")
    for unit, factor in EPOCHS:
        if low * factor >= EARLIEST and high * factor <= LATEST:
            return Moments(np.where(missing, MISSING, filled * factor), f"{unit} since 1970, in UTC", "utc")
    return None


def month_starts(months: NDArray[np.integer]) -> Ints:
    """The first moment of months that are counted from 1970-01."""
    starts: Ints = months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
    return starts


def written(moments: Ints, clock: Clock = "local") -> list[str]:
    """Moments as a person writes them: no clock where all are at midnight, Z behind UTC; counts as numbers.

    Example:
        >>> written(np.array([0, 86_400_000_000]))
        ['1970-01-01', '1970-01-02']
    """
    moments = np.asarray(moments, dtype=np.int64)
    if clock == "count":
        return [str(moment) for moment in moments.tolist()]
    days = bool((moments % 86_400_000_000 == 0).all())
    fine = bool((moments % 1_000_000 != 0).any())
    unit: Literal["D", "us", "s"] = "D" if days else "us" if fine else "s"
    stamps: NDArray[np.datetime64] = moments.astype("datetime64[us]")
    texts = [str(text) for text in np.datetime_as_string(stamps, unit=unit)]
    if days:
        return texts
    return [text.replace("T", " ") + ("Z" if clock == "utc" else "") for text in texts]
