"""Columns of a table: what type their cells are, what kind of feature they make, and what is learned about them.

Types are read from all rows (syntax only); kinds and statistics are learned on the train split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.kind import Finding
from chainrule.data.table.frames import without_missing_words
from chainrule.data.tails import SAMPLE_ROWS

MAX_BINS = 48
MAX_CATEGORIES = 2000
MAX_NUMBER = 1e30  # beyond it, squares leave float32; such cells count as not finite
MAX_MIXED_SHARE = 0.05  # up to this share of words in a number column is taken for mistakes

LEADING_ZERO = r"^[+-]?0\d+$"
GROUPED = r"^[+-]?[$€£]?\s?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s?[%$€£]?$"
GROUPED_COMMA = r"^[+-]?[$€£]?\s?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s?[%$€£]?$"
DATE_LIKE = re.compile(
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}(?!\d).*|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}.*|[A-Za-z]{3,9} \d{1,2},? \d{4}.*"
)
DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%y", "%d.%m.%Y",
    "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
)  # fmt: skip
TIMES = (
    "",
    " %H:%M:%S",
    " %H:%M",
    "T%H:%M:%S",
    "T%H:%M",
    "T%H:%M:%S%.f",
    " %H:%M:%S%.f",
    "T%H:%M:%SZ",
    " %I:%M:%S %p",
    " %I:%M %p",
)
ID_NAME = r"(?i:(^|[^a-z])(id|key|index|uuid)$)|[a-z](Id|ID)$"
DATE_PARTS = ("day", "month", "weekday", "hour")


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """A number in the network's input, with what the train split says about it, in the column's own units."""

    name: str
    source: str  # the column it is made from
    part: str = ""  # of a date: day (since 1970-01-01), month, weekday (Monday 1) or hour; "truth" of a boolean
    date_format: str = ""  # how the source's text is read
    mean: float
    std: float
    median: float
    low: float
    high: float
    lower_quartile: float
    upper_quartile: float
    edges: tuple[float, ...]  # increasing; the quantile bins of the piecewise-linear encoding
    offset: float = 0.0  # taken off in float64 before float32 would lose the digits that differ
    missing: bool  # seen missing in the train split


@dataclass(frozen=True, kw_only=True)
class CategoryColumn:
    """A column of words. Codes: 0 unseen or rare, 1 missing, then the categories from the most frequent down."""

    name: str
    categories: tuple[str, ...]
    missing: bool


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A column that the network does not see."""

    name: str
    reason: str


def tidy(series: pl.Series, decimal_comma: bool = False, date_format: str = "") -> tuple[pl.Series, list[Finding], str]:
    """The column with its natural type, what was noticed, and the format of dates that stood as text.

    Words stay words; text that is all numbers, truth values or dates becomes so. A few words in a column of many
    different numbers (up to 5 %) are missing cells, reported with their rows.
    """
    dtype = series.dtype
    if dtype.is_decimal() or isinstance(dtype, pl.Duration):
        return (series.dt.total_seconds() if isinstance(dtype, pl.Duration) else series).cast(pl.Float64), [], ""
    if dtype == pl.Time:
        return series.cast(pl.Int64).cast(pl.Float64) / 1e9, [], ""
    if dtype in (pl.Categorical, pl.Enum, pl.String):
        text = without_missing_words(series)
        return _typed(text, decimal_comma, date_format)
    return series, [], ""


def _typed(text: pl.Series, decimal_comma: bool, date_format: str) -> tuple[pl.Series, list[Finding], str]:
    known = len(text) - text.null_count()
    if not known:
        return text.cast(pl.Null), [], ""
    sample = text.drop_nulls().head(200)
    if DATE_LIKE.fullmatch(sample[0]):
        dates, found = to_dates(text, date_format)
        if dates is not None:
            return dates, _mixed(text, dates, "dates"), found
    if sample.str.to_lowercase().is_in(["true", "false"]).all():
        truth = text.str.to_lowercase().replace_strict(["true", "false"], [True, False], default=None)
        if truth.null_count() == text.null_count():
            return truth, [], ""
    numbers = to_numbers(text, decimal_comma)
    bad = numbers.null_count() - text.null_count()
    if bad and (bad > MAX_MIXED_SHARE * known or numbers.n_unique() <= 20):
        return text, [], ""
    return numbers, _mixed(text, numbers, "numbers"), ""


def to_numbers(text: pl.Series, decimal_comma: bool = False) -> pl.Series:
    """Numbers where the text is one, null elsewhere; a column with codes such as 02139 holds no numbers at all."""
    if text.str.contains(LEADING_ZERO).any():
        return _nulls(text)
    numbers = parse_numbers(text, decimal_comma)
    finite = numbers.filter(numbers.is_finite())
    small = len(finite) > 0 and len(finite) == numbers.count() and float(finite.abs().max()) < 2**53  # type: ignore[arg-type]
    return numbers.cast(pl.Int64) if small and (finite == finite.round()).all() else numbers


def parse_numbers(text: pl.Series, decimal_comma: bool = False) -> pl.Series:
    """Float64 where the text is a number, thousands marks, currency and per cent signs included; null elsewhere."""
    numbers = _nulls(text) if decimal_comma else text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    pure = text.str.replace_all(rf"[\s$€£%{'.' if decimal_comma else ','}]", "").str.replace_all(",", ".", literal=True)
    fits = text.str.contains(GROUPED_COMMA if decimal_comma else GROUPED).fill_null(False)
    grouped = pure.set(~fits, None).cast(pl.Float64, strict=False)
    return numbers.zip_with(numbers.is_not_null(), grouped)


def _nulls(series: pl.Series) -> pl.Series:
    return pl.Series(series.name, [None], dtype=pl.Float64).new_from_index(0, len(series))


def to_dates(text: pl.Series, date_format: str = "") -> tuple[pl.Series | None, str]:
    """The column as moments and the format they stand in; None where fewer than 95 % fit one format."""
    known = len(text) - text.null_count()
    sample = text.drop_nulls().head(1000)
    formats = [date_format] if date_format else [day + time for time in TIMES for day in DAYS]
    for form in formats:
        if not date_format and sample.str.to_datetime(form, strict=False).null_count() > MAX_MIXED_SHARE * len(sample):
            continue
        dates = text.str.to_datetime(form, strict=False, time_unit="us")
        if date_format or dates.null_count() - text.null_count() <= MAX_MIXED_SHARE * known:
            return dates, form
    return None, ""


def _mixed(text: pl.Series, typed: pl.Series, what: str) -> list[Finding]:
    bad = (typed.is_null() & text.is_not_null()).arg_true()
    if not len(bad):
        return []
    cells = ", ".join(f"{text[row]!r} in row {row + 1}" for row in bad.head(5).to_list())
    note = f"column {text.name!r} has {what} but also {len(bad)} other cells, read as missing: {cells}"
    return [Finding("warning", note, (text.name,))]


def kind_of(series: pl.Series) -> tuple[str, str]:
    """The kind of feature a column makes, and the reason in words where it is left out.

    "number", "boolean", "date", "category"; or left out: "constant", "identifier", "text", "unsupported".
    """
    dtype, rows = series.dtype, len(series)
    if series.null_count() == rows:
        return "constant", "it is empty"
    if not (dtype.is_numeric() or dtype == pl.String or dtype == pl.Boolean or dtype in (pl.Date, pl.Datetime)):
        return "unsupported", f"its cells are of type {dtype}, which is no single value"
    known = series.drop_nulls() if series.null_count() else series
    if dtype.is_float():
        known = known.filter(known.abs() <= MAX_NUMBER)
    if not len(known):
        return "constant", "it has no finite number"
    if len(known) == rows and known.min() == known.max():
        return "constant", f"every cell is {cell_text(known[0])}"
    if dtype.is_numeric():
        return _number_kind(series)
    if dtype != pl.String:
        return ("boolean" if dtype == pl.Boolean else "date"), ""
    return _text_kind(known)


def _number_kind(series: pl.Series) -> tuple[str, str]:
    if series.dtype.is_integer() and len(series) >= 20 and not series.null_count():
        values = series.to_numpy().astype(np.int64)
        steps = np.diff(values)
        if (steps > 0).all() and values[-1] - values[0] < 3 * len(values):  # a train split leaves gaps
            return "identifier", "its whole numbers rise from row to row, like row numbers"
        if re.search(ID_NAME, series.name) and series.n_unique() == len(series):
            return "identifier", "every cell differs and the name says identifier"
    return "number", ""


def _text_kind(known: pl.Series) -> tuple[str, str]:
    distinct = known.n_unique()
    if len(known) >= 20 and distinct > 0.5 * len(known):
        sample = known.head(10_000)
        words = float((sample.str.count_matches(r"\s+") + 1).mean())  # type: ignore[arg-type]
        if words >= 3 and float(sample.str.len_chars().mean()) > 20:  # type: ignore[arg-type]
            return "text", f"it is free text, {words:.0f} words a cell; the table networks do not read text"
        if distinct == len(known):
            return "identifier", "every cell differs"
    return "category", ""


def cell_text(value: object) -> str:
    """A cell as a person writes it: whole numbers without a fraction, nothing for missing."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def texts(series: pl.Series) -> pl.Series:
    """The column as category names: stripped text, 1.0 as "1"."""
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String).zip_with(whole.cast(pl.Float64) == series, series.cast(pl.String))
        return text.set(series.is_nan(), None)
    if series.dtype == pl.Boolean:
        return series.replace_strict([True, False], ["True", "False"], return_dtype=pl.String)
    return without_missing_words(series) if series.dtype == pl.String else series.cast(pl.String)


def numbers_of(series: pl.Series, part: str, date_format: str = "") -> NDArray[np.float64]:
    """The column (or a part of its date, or its truth) as float64; NaN where it is missing or beyond 1e30."""
    if part and part != "truth":
        series = _date_part(series, part, date_format)
    elif series.dtype == pl.String:
        lower = series.str.strip_chars().str.to_lowercase()
        series = lower.replace_strict(["true", "false"], [1, 0], default=None) if part else parse_numbers(lower)
    elif not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        series = _nulls(series)
    values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy(writable=True)
    values[~(np.abs(values) <= MAX_NUMBER)] = np.nan
    return values


def _date_part(series: pl.Series, part: str, date_format: str) -> pl.Series:
    if series.dtype == pl.String:
        dates, _ = to_dates(without_missing_words(series), date_format) if date_format else (None, "")
        series = _nulls(series) if dates is None else dates
    if not series.dtype.is_temporal():
        return _nulls(series)
    moments = series.cast(pl.Datetime("us"))
    if part == "day":
        return moments.dt.epoch("us").cast(pl.Float64) / 86_400e6
    if part == "hour":
        return moments.dt.hour().cast(pl.Float64) + moments.dt.minute().cast(pl.Float64) / 60
    return moments.dt.month() if part == "month" else moments.dt.weekday()


def number_column(
    name: str, source: str, values: NDArray[np.float64], part: str = "", date_format: str = ""
) -> NumberColumn:
    """What the train split says about a number; quantiles of long columns come from evenly spaced rows."""
    known = values[~np.isnan(values)]
    sample = known[:: max(1, len(known) // SAMPLE_ROWS)]
    distinct = bin_edges(sample)
    low, high = float(known.min()), float(known.max())
    edges = np.unique(np.r_[low, distinct[(distinct > low) & (distinct < high)], high])
    lower, median, upper = (float(q) for q in np.quantile(sample, (0.25, 0.5, 0.75)))
    std = float(known.std())
    spread = min(s for s in (upper - lower, std, np.inf) if s > 0)
    return NumberColumn(
        name=name, source=source, part=part, date_format=date_format, mean=float(known.mean()), std=std, median=median,
        low=low, high=high, lower_quartile=lower, upper_quartile=upper, edges=tuple(edges.tolist()),
        offset=median if abs(median) > 1000 * spread else 0.0,
        missing=len(known) < len(values),
    )  # fmt: skip


def bin_edges(values: NDArray[np.float64], bins: int = MAX_BINS) -> NDArray[np.float64]:
    """Quantiles that cut values into at most ``bins`` bins, every value where there are few.

    A value counts for one bin's share of the rows at most: plain quantiles of a column that is zero nearly everywhere
    would all be zero and leave the rest in one bin.

    Example:
        >>> bin_edges(np.r_[np.zeros(990), np.arange(1.0, 11.0)], bins=4)
        array([ 0.,  3.,  5.,  8., 10.])
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= bins + 1:
        return distinct
    weights = np.minimum(counts, len(values) / bins)
    shares = (np.cumsum(weights) - weights[0]) / (weights.sum() - weights[0])
    inner = distinct[np.searchsorted(shares, np.linspace(0, 1, bins + 1)[1:-1])]
    return np.unique(np.r_[distinct[0], inner, distinct[-1]])


def category_column(series: pl.Series) -> CategoryColumn:
    """The categories of the train split from the most frequent down; rare ones share the row of unseen ones."""
    known = texts(series).drop_nulls()
    rare = 1 if len(known) < 100 else max(2, min(5, len(known) // 2000))  # a category needs this many rows
    counts = known.value_counts(sort=False, name="rows")
    counts = counts.filter(counts["rows"] >= rare).sort(["rows", known.name], descending=[True, False])
    kept: Sequence[str] = counts.to_series(0).head(MAX_CATEGORIES).to_list()
    return CategoryColumn(name=series.name, categories=tuple(kept), missing=len(known) < len(series))
