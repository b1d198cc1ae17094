"""From a frame to a panel: the roles of its columns, sorted and distinct times, a grid without holes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.series.frequency import DAY, Frequency, bins, find_frequency, parse_frequency
from chainrule.data.series.moments import MISSING, TIME_NAME, Ints, Moments, to_moments, written
from chainrule.data.series.panel import Floats, Panel
from chainrule.data.table.columns import MAX_NUMBER, kind_of, numbers_of, texts, tidy
from chainrule.errors import InputError, nearest

ROW_NAME = re.compile(r"(?i)^(|index|id|row|instant|no|nr|unnamed.*|column 1)$")
FEW_LEVELS = 20  # numbers with fewer distinct values may be codes, and the source a table
FEWEST_ROWS = 30  # of what is taken for a series without being told
SHOWN = 5


@dataclass(frozen=True)
class Roles:
    """What a schema says of columns beyond what settings can say."""

    past: tuple[str, ...] = ()


def looks_like_series(frame: pl.DataFrame) -> str | None:
    """Why a frame can only be a series, or None: one column of regular, distinct times, all others quantities."""
    if len(frame) < FEWEST_ROWS or frame.width < 2:
        return None
    first, *others = frame.columns
    found = to_moments(frame[first])
    if found is None or (found.values == MISSING).any() or len(np.unique(found.values)) < len(found.values):
        return None
    for name in others:
        series = tidy(frame[name])[0]
        if not series.dtype.is_numeric() or series.n_unique() <= FEW_LEVELS or to_moments(frame[name]) is not None:
            return None
        if kind_of(series)[0] == "identifier":
            return None
    try:
        frequency = find_frequency(np.sort(found.values), "it")
    except InputError:
        return None
    return f"a regular series {frequency.words()} of {len(others)} {'column' if len(others) == 1 else 'columns'}"


def build_panel(
    frame: pl.DataFrame, options: DataConfig, roles: Roles, where: str, notes: Sequence[Finding] = (),
    commas: bool = False,
) -> Panel:  # fmt: skip
    """The panel of a frame.

    Raises:
        InputError: see ``read``.
    """
    found = list(notes)
    frame = frame.drop([name for name in options.drop if name in frame.columns])
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if empty.any():
        found.append(Finding("note", f"{int(empty.sum())} empty rows are left out"))
        frame = frame.filter(~empty)
    time, moments = _time_column(frame, options.time, where)
    typed = {name: tidy(frame[name], commas) for name in frame.columns if name != time}
    found += [note for _, more, _ in typed.values() for note in more]
    columns = {name: series for name, (series, _, _) in typed.items()}
    rows, values = _cut(moments.values, options.end)
    if options.end:
        columns = {name: series[rows] for name, series in columns.items()}
        found.append(
            Finding("note", f"the {len(moments.values) - len(values):,} rows from {options.end} on are left out")
        )
    names = _series_names(columns, values, options.series, where, found)
    targets, past, known = _roles(columns, names, options, roles, where, found)
    wanted = [*targets, *past, *known]
    matrix = _matrix(columns, wanted, values, moments.utc, found)
    keys = _keys(columns, names)
    resampled = parse_frequency(options.frequency) if options.frequency else None
    if resampled is not None:
        values = bins(values, resampled)
    values, codes, matrix = _distinct(values, keys[0], matrix, moments.utc, resampled, (time, where), found)
    distinct = np.unique(values)
    frequency = resampled or find_frequency(distinct, where)
    start = int(distinct[0])
    places = frequency.index(values, start)
    assert (places >= 0).all(), "a moment off its own grid"
    length, S = int(places.max()) + 1, len(keys[1])
    grid = np.full((length, S, len(wanted)), np.nan)
    grid[places, codes] = matrix
    C = len(targets)
    series_names = keys[1]
    found += _gaps(places, codes, grid[..., :C], start, frequency, moments.utc, series_names)
    several = [f"{name} {column}" for name in series_names for column in targets]
    labels = list(targets) if not names else list(series_names) if C == 1 else several
    return Panel(
        start=start, frequency=frequency, utc=moments.utc, time=time, series=",".join(names),
        series_names=tuple(series_names), columns=tuple(targets), names=tuple(labels),
        owners=np.repeat(np.arange(S), C), values=grid[..., :C].reshape(length, S * C),
        past_names=tuple(past), past=grid[..., C : C + len(past)],
        known_names=tuple(known), known=grid[..., C + len(past) :], notes=tuple(found),
    )  # fmt: skip


def _time_column(frame: pl.DataFrame, wanted: str, where: str) -> tuple[str, Moments]:
    """The column of times.

    Raises:
        InputError: none, several, or cells that are no time.
    """
    if wanted and wanted not in frame.columns:
        raise InputError(f"data.time: {where} has no column {wanted!r}; {nearest(wanted, frame.columns)}")
    names = [wanted] if wanted else [name for name in frame.columns if _may_be_time(frame[name])]
    found = {name: moments for name in names if (moments := to_moments(frame[name])) is not None}
    if not found:
        what = f"column {wanted!r} of {where} holds no times" if wanted else f"{where} has no column of times"
        raise InputError(
            f"{what}; expected dates such as 2024-01-31 or 2024-01-31 13:00, months, quarters, or seconds since 1970 "
            f"(columns: {', '.join(frame.columns[:10])})"
        )
    if len(found) > 1:
        raise InputError(
            f"{where} has several columns of times: {', '.join(map(repr, found))}; choose with --set data.time="
        )
    ((name, moments),) = found.items()
    bad = np.flatnonzero(moments.values == MISSING)
    if len(bad):
        cells = ", ".join(f"{frame[name][int(row)]!r} in row {row + 1}" for row in bad[:SHOWN])
        raise InputError(
            f"column {name!r} of {where} has {len(bad)} cells that are no time as the others ({moments.how}): "
            f"{cells}; write all of them in one way, or remove these rows"
        )
    return name, moments


def _may_be_time(series: pl.Series) -> bool:
    """Whether a column may hold times without being named: numbers only where its name says so."""
    return not series.dtype.is_numeric() or TIME_NAME.search(series.name.replace("_", " ")) is not None


def _cut(moments: Ints, end: str) -> tuple[NDArray[np.int64], Ints]:
    """The rows before the moment ``end``, and their moments."""
    if not end:
        return np.arange(len(moments)), moments
    try:
        limit = int(np.datetime64(end.strip().replace(" ", "T"), "us").astype(np.int64))
    except ValueError:
        raise InputError(f"data.end is {end!r}; expected a date such as 2018-02-21 or 2018-02-21 13:00") from None
    rows = np.flatnonzero(moments < limit)
    if not len(rows):
        raise InputError(f"data.end is {end!r}, and no row is older")
    return rows, moments[rows]


def _series_names(
    columns: dict[str, pl.Series], moments: Ints, wanted: str, where: str, found: list[Finding]
) -> list[str]:
    """The columns that name the series: as asked for, or the one that makes repeated times distinct."""
    if wanted:
        names = [name.strip() for name in wanted.split(",")]
        for name in names:
            if name not in columns:
                raise InputError(f"data.series: {where} has no column {name!r}; {nearest(name, list(columns))}")
        return names
    if len(np.unique(moments)) == len(moments):
        return []
    words = [name for name, series in columns.items() if series.dtype == pl.String]
    codes = [name for name, series in columns.items() if series.dtype.is_integer() and not _is_row_number(series)]
    for names in (words, codes):
        fitting = [name for name in names if _tells_apart(columns[name], moments)]
        if len(fitting) == 1:
            count = columns[fitting[0]].n_unique()
            found.append(Finding("note", f"column {fitting[0]!r} names {count} series (change: --set data.series=)"))
            return fitting
    return []


def _tells_apart(series: pl.Series, moments: Ints) -> bool:
    """Whether each of a column's values has its own, distinct moments, several of them."""
    if series.null_count() or series.n_unique() * 3 > len(series):
        return False
    return pl.DataFrame({"name": series, "moment": moments}).is_duplicated().sum() == 0


def _is_row_number(series: pl.Series) -> bool:
    return ROW_NAME.search(series.name.strip()) is not None and kind_of(series)[0] in ("identifier", "constant")


def _roles(
    columns: dict[str, pl.Series], names: Sequence[str], options: DataConfig, roles: Roles, where: str,
    found: list[Finding],
) -> tuple[list[str], list[str], list[str]]:  # fmt: skip
    """The columns to forecast, those known up to now, and those known ahead."""
    for name in options.known:
        if name not in columns:
            raise InputError(f"data.known: {where} has no column {name!r}; {nearest(name, list(columns))}")
    numeric = [name for name, series in columns.items() if _is_number(series) and name not in names]
    rownumbers = [name for name in numeric if _is_row_number(columns[name]) and name not in options.known]
    left = [name for name in columns if name not in numeric and name not in names]
    for name in [*rownumbers, *left]:
        why = "its numbers count the rows" if name in rownumbers else "it holds no numbers"
        found.append(Finding("note", f"column {name!r} is left out: {why}", (name,)))
    for name in options.known:
        if name in left:
            raise InputError(f"data.known: column {name!r} holds no numbers; write 0 and 1 for no and yes")
    free = [name for name in numeric if name not in rownumbers and name not in options.known]
    targets = _targets(free, columns, options.target, where)
    if not targets:
        raise InputError(f"{where} has no column of numbers to forecast (columns: {', '.join(list(columns)[:10])})")
    past = list(roles.past) if roles.past else [name for name in free if name not in targets]
    if past and not roles.past:
        shown = ", ".join(past[:SHOWN])
        found.append(
            Finding("note", f"known up to now only, so seen but not forecast: {shown} (known ahead: data.known)")
        )
    return targets, past, list(options.known)


def _targets(free: list[str], columns: dict[str, pl.Series], wanted: str, where: str) -> list[str]:
    """All free columns, or those that were asked for by name or place."""
    if not wanted:
        return free
    found = []
    for word in [wanted] if wanted in columns else [word.strip() for word in wanted.split(",")]:
        if word in columns:
            name = word
        elif word.lstrip("+-").isdigit() and -len(columns) <= int(word) < len(columns):
            name = list(columns)[int(word)]
        else:
            raise InputError(f"--target: {where} has no column {word!r}; {nearest(word, list(columns))}")
        if name not in free:
            raise InputError(
                f"--target: column {name!r} of {where} cannot be forecast; these can: {', '.join(free[:10])}"
            )
        found.append(name)
    return found


def _is_number(series: pl.Series) -> bool:
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def _matrix(
    columns: dict[str, pl.Series], wanted: Sequence[str], moments: Ints, utc: bool, found: list[Finding]
) -> Floats:
    """(rows, columns) numbers; what is missing or not finite is NaN, counted and located."""
    arrays = []
    for name in wanted:
        series = columns[name]
        infinite = np.flatnonzero(np.abs(series.cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()) > MAX_NUMBER)
        values = numbers_of(series.cast(pl.Int8) if series.dtype == pl.Boolean else series, "")
        if len(infinite):
            text = f"column {name!r} is infinite in {len(infinite)} rows, read as missing"
            found.append(Finding("warning", text, tuple(written(moments[infinite[:SHOWN]], utc))))
        missing = np.setdiff1d(np.flatnonzero(np.isnan(values)), infinite)
        if len(missing):
            text = (
                f"column {name!r} is missing in {len(missing):,} of {len(values):,} rows: the last known value stands "
                f"in where the network looks back, and nothing is learned or scored there"
            )
            found.append(Finding("note", text, tuple(written(moments[missing[:SHOWN]], utc))))
        arrays.append(values)
    return np.stack(arrays, axis=1)


def _keys(columns: dict[str, pl.Series], names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """A code for each row's series, and the names of the series in order."""
    if not names:
        length = len(next(iter(columns.values())))
        return np.zeros(length, np.int64), [""]
    parts = [texts(columns[name]).fill_null("(none)") for name in names]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + "/" + part
    distinct = joined.unique(maintain_order=True).to_list()
    place = {name: number for number, name in enumerate(distinct)}
    return np.array([place[name] for name in joined.to_list()], dtype=np.int64), distinct


def _distinct(
    moments: Ints, codes: NDArray[np.int64], matrix: Floats, utc: bool, resampled: Frequency | None,
    names: tuple[str, str], found: list[Finding],
) -> tuple[Ints, NDArray[np.int64], Floats]:  # fmt: skip
    """Rows in order of time, one for each moment and series."""
    order = np.lexsort((moments, codes))
    same_series = np.diff(codes) == 0
    if ((np.diff(moments) < 0) & same_series).any():
        backwards = int(((np.diff(moments) < 0) & same_series).sum())
        found.append(Finding("note", f"the rows were not in order of time ({backwards:,} steps back): sorted"))
    moments, codes, matrix = moments[order], codes[order], matrix[order]
    repeated = (np.diff(moments) == 0) & (np.diff(codes) == 0)
    if not repeated.any():
        return moments, codes, matrix
    group = np.cumsum(np.r_[True, ~repeated]) - 1
    if resampled is None:
        found += _repeats(moments, matrix, repeated, utc, names)
    else:
        most = int(np.bincount(group).max())
        found.append(Finding("note", f"resampled {resampled.words()}: each value is the mean of up to {most:,} rows"))
    first = np.r_[0, np.flatnonzero(~repeated) + 1]
    return moments[first], codes[first], _means(matrix, group, len(first))


def _means(matrix: Floats, group: NDArray[np.int64], count: int) -> Floats:
    """The mean of what is known in each group of rows."""
    known = np.isfinite(matrix)
    total, number = np.zeros((count, matrix.shape[1])), np.zeros((count, matrix.shape[1]))
    np.add.at(total, group, np.where(known, matrix, 0.0))
    np.add.at(number, group, known)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _repeats(
    moments: Ints, matrix: Floats, repeated: NDArray[np.bool_], utc: bool, names: tuple[str, str]
) -> list[Finding]:
    """What is said of moments that stand several times.

    Raises:
        InputError: rows of one moment contradict each other, and no clock was set back.
    """
    rows = np.flatnonzero(repeated)
    equal = ((matrix[rows] == matrix[rows + 1]) | (np.isnan(matrix[rows]) & np.isnan(matrix[rows + 1]))).all(1)
    found = []
    if equal.any():
        where = tuple(written(moments[rows[equal][:SHOWN]], utc))
        found.append(Finding("warning", f"{int(equal.sum()):,} rows repeat another one: each is kept once", where))
    clash = rows[~equal]
    if not len(clash):
        return found
    if not utc and _clock_set_back(moments[clash]):
        text = "these times stand twice, as when clocks are set back: the mean of both is taken. Offsets are exact"
        return [*found, Finding("warning", text, tuple(written(moments[clash[:SHOWN]])))]
    shown = ", ".join(written(moments[clash[:3]], utc))
    raise InputError(
        f"{names[1]} has {len(clash):,} times that stand in several rows with different values (column {names[0]!r}: "
        f"{shown}). If the rows belong to several series, name the column that tells them apart with "
        f"--set data.series=COLUMN; to take means, --set data.frequency=1h (or 1d, 1mo); or remove the wrong rows"
    )


def _clock_set_back(moments: Ints) -> bool:
    """Whether all of these moments are small hours of Sundays in spring or autumn."""
    days = moments // DAY
    months = moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    hours = moments % DAY // (DAY // 24)
    return bool((((days + 3) % 7 == 6) & np.isin(months, (3, 4, 10, 11)) & (hours <= 3)).all())


def _gaps(
    places: NDArray[np.int64], codes: NDArray[np.int64], values: Floats, start: int, frequency: Frequency, utc: bool,
    series: Sequence[str],
) -> list[Finding]:  # fmt: skip
    """Times without a row inside each series."""
    missing, first = 0, 0
    for code in range(len(series)):
        own = np.unique(places[codes == code])
        holes = int(own[-1] - own[0]) + 1 - len(own)
        if holes and not missing:
            first = int(own[np.flatnonzero(np.diff(own) > 1)[0]]) + 1
        missing += holes
    found = []
    if missing:
        where = tuple(written(frequency.moments(start, np.array([first])), utc))
        text = (
            f"{missing:,} times have no row ({missing / values.shape[0] / len(series):.1%}), first {where[0]}: the "
            f"last known value stands in where the network looks back, and nothing is learned or scored there"
        )
        found.append(Finding("warning" if missing > 0.01 * values.shape[0] else "note", text))
    return found
