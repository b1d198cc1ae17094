"""From a frame to a panel: the roles of its columns, sorted and distinct times, a grid without holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.schema import class_names
from chainrule.data.series.frequency import DAY, Frequency, bins, find_frequency, parse_frequency, refuse_gaps
from chainrule.data.series.moments import MISSING, Clock, Ints, to_moments, written
from chainrule.data.series.panel import Floats, Panel
from chainrule.data.series.roles import SHOWN, Roles, find_roles, find_series
from chainrule.data.series.times import before, find_times
from chainrule.data.series.window_records import ranked
from chainrule.data.table.columns import MAX_NUMBER, kind_of, numbers_of, texts, tidy
from chainrule.errors import InputError

FEW_LEVELS = 20  # numbers with fewer distinct values may be codes, and the source a table
MOST_UNNAMED = 0.5  # share of rows without a label, above which an empty cell is a label itself
FEWEST_ROWS = 30  # of what is taken for a series without being told


def looks_like_series(frame: pl.DataFrame, label: str = "") -> str | None:
    """Why a frame can only be a series, or None: one column of regular, distinct times, all others quantities.

    Args:
        label: a column that says what each row is, which may be of any sort.
    """
    frame = frame.drop(label) if label in frame.columns else frame
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
    commas: bool = False, label: str = "",
) -> Panel:  # fmt: skip
    """The panel of a frame.

    Args:
        label: the column that says what each row is; it only judges.

    Raises:
        InputError: see ``read``.
    """
    found = list(notes)
    frame = frame.drop([name for name in options.drop if name in frame.columns])
    marks = [label] if label else []
    empty = frame.drop(marks).select(pl.all_horizontal(pl.all().is_null())).to_series()
    if empty.any():
        found.append(Finding("note", f"{int(empty.sum())} empty rows are left out"))
        frame = frame.filter(~empty)
    told = names_of(frame[label], found) if label else None
    frame = frame.drop(marks)
    times = find_times(frame, options, where, found)
    typed = {name: tidy(frame[name], commas) for name in frame.columns if name not in (times.column, times.hour)}
    found += [note for _, more, _ in typed.values() for note in more]
    columns = {name: series for name, (series, _, _) in typed.items()}
    rows, values = before(times.moments, options.end, times.clock)
    if options.end:
        columns = {name: series[rows] for name, series in columns.items()}
        told = None if told is None else told[rows]
        found.append(
            Finding("note", f"the {len(times.moments) - len(values):,} rows from {options.end} on are left out")
        )
    names = find_series(columns, values, options.series, where, found)
    targets, past, known = find_roles(columns, names, options, roles, where, found)
    wanted = [*targets, *past, *known]
    matrix = _matrix(columns, wanted, values, times.clock, found)
    keys = _keys(columns, names)
    resampled = parse_frequency(options.frequency) if options.frequency else None
    if resampled is not None and times.clock == "count":
        raise InputError(f"data.frequency={options.frequency} needs dates; the times of {where} are counted steps")
    if resampled is not None:
        values = bins(values, resampled)
    seen = values
    values, codes, matrix = _distinct(values, keys[0], matrix, times.clock, resampled, (times.column, where), found)
    distinct = np.unique(values)
    frequency = resampled or find_frequency(distinct, where, times.clock)
    start = int(distinct[0])
    if resampled is not None:
        refuse_gaps(len(distinct), int(resampled.index(distinct[-1:], start)[0]) + 1, resampled, where)
    places = frequency.index(values, start)
    assert (places >= 0).all(), "a moment off its own grid"
    length, S = int(places.max()) + 1, len(keys[1])
    grid = np.full((length, S, len(wanted)), np.nan)
    grid[places, codes] = matrix
    C = len(targets)
    if not np.isfinite(matrix[:, :C]).any():
        raise InputError(f"{where}: no cell of {', '.join(targets[:SHOWN])} is a number up to {MAX_NUMBER:g}")
    series_names = keys[1]
    found += _gaps(places, codes, grid[..., :C], start, frequency, times.clock, series_names)
    several = [f"{name} {column}" for name in series_names for column in targets]
    labels = list(targets) if not names else list(series_names) if C == 1 else several
    return Panel(
        start=start, frequency=frequency, clock=times.clock, time=times.column, hour=times.hour, series=",".join(names),
        series_names=tuple(series_names), columns=tuple(targets), names=tuple(labels),
        owners=np.repeat(np.arange(S), C), values=grid[..., :C].reshape(length, S * C),
        past_names=tuple(past), past=grid[..., C : C + len(past)],
        known_names=tuple(known), known=grid[..., C + len(past) :], notes=tuple(found),
        labels=None if told is None else on_grid(told, frequency.index(seen, start), length, options.normal),
    )  # fmt: skip


def names_of(series: pl.Series, found: list[Finding]) -> NDArray[np.str_]:
    """The label of each row; where most cells are empty, an empty one says "none"."""
    names = class_names(np.array(tidy(series)[0].to_list(), dtype=object))
    empty = names == ""
    if empty.any() and empty.mean() > MOST_UNNAMED:
        text = f"column {series.name!r} is empty in {int(empty.sum()):,} of {len(names):,} rows: that is read as 'none'"
        found.append(Finding("note", text))
        return np.where(empty, "none", names)
    return names


def on_grid(names: NDArray[np.str_], places: Ints, length: int, normal: Sequence[str]) -> NDArray[np.str_]:
    """(length,) the label of each moment; of several rows at one moment the most telling one."""
    order = {name: rank for rank, name in enumerate(ranked(names, tuple(normal)))}
    ranks = np.full(length, len(order))
    np.minimum.at(ranks, places, np.array([order.get(name, len(order)) for name in names.tolist()]))
    labels: NDArray[np.str_] = np.array([*order, ""], dtype=np.str_)[ranks]
    return labels


def _matrix(
    columns: dict[str, pl.Series], wanted: Sequence[str], moments: Ints, clock: Clock, found: list[Finding]
) -> Floats:
    """(rows, columns) numbers; what is missing or not finite is NaN, counted and located."""
    arrays = []
    for name in wanted:
        series = columns[name]
        infinite = np.flatnonzero(np.abs(series.cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()) > MAX_NUMBER)
        values = numbers_of(series.cast(pl.Int8) if series.dtype == pl.Boolean else series, "")
        if len(infinite):
            text = f"column {name!r} is infinite in {len(infinite)} rows, read as missing"
            found.append(Finding("warning", text, tuple(written(moments[infinite[:SHOWN]], clock))))
        missing = np.setdiff1d(np.flatnonzero(np.isnan(values)), infinite)
        if len(missing):
            text = (
                f"column {name!r} is missing in {len(missing):,} of {len(values):,} rows: the last known value stands "
                f"in where the network looks back, and nothing is learned or scored there"
            )
            found.append(Finding("note", text, tuple(written(moments[missing[:SHOWN]], clock))))
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
    moments: Ints, codes: NDArray[np.int64], matrix: Floats, clock: Clock, resampled: Frequency | None,
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
        found += _repeats(moments, matrix, repeated, clock, names)
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
    moments: Ints, matrix: Floats, repeated: NDArray[np.bool_], clock: Clock, names: tuple[str, str]
) -> list[Finding]:
    """What is said of moments that stand several times.

    Raises:
        InputError: rows of one moment contradict each other, and no clock was set back.
    """
    rows = np.flatnonzero(repeated)
    equal = ((matrix[rows] == matrix[rows + 1]) | (np.isnan(matrix[rows]) & np.isnan(matrix[rows + 1]))).all(1)
    found = []
    if equal.any():
        where = tuple(written(moments[rows[equal][:SHOWN]], clock))
        found.append(Finding("warning", f"{int(equal.sum()):,} rows repeat another one: each is kept once", where))
    clash = rows[~equal]
    if not len(clash):
        return found
    if clock == "local" and _clock_set_back(moments[clash]):
        text = "these times stand twice, as when clocks are set back: the mean of both is taken. Offsets are exact"
        return [*found, Finding("warning", text, tuple(written(moments[clash[:SHOWN]])))]
    times = np.unique(moments[clash])
    raise InputError(
        f"{names[1]} has {len(times):,} times that stand in several rows with different values (column {names[0]!r}: "
        f"{', '.join(written(times[:3], clock))}). If the rows belong to several series, name the column that tells "
        f"them apart with --set data.series=COLUMN (or A,B); to take means, --set data.frequency=1h (or 1d, 1mo); or "
        f"remove the wrong rows"
    )


def _clock_set_back(moments: Ints) -> bool:
    """Whether all of these moments are small hours of Sundays in spring or autumn."""
    days = moments // DAY
    months = moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    hours = moments % DAY // (DAY // 24)
    return bool((((days + 3) % 7 == 6) & np.isin(months, (3, 4, 10, 11)) & (hours <= 3)).all())


def _gaps(
    places: NDArray[np.int64], codes: NDArray[np.int64], values: Floats, start: int, frequency: Frequency, clock: Clock,
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
        where = tuple(written(frequency.moments(start, np.array([first])), clock))
        text = (
            f"{missing:,} times have no row ({missing / values.shape[0] / len(series):.1%}), first {where[0]}: the "
            f"last known value stands in where the network looks back, and nothing is learned or scored there"
        )
        found.append(Finding("warning" if missing > 0.01 * values.shape[0] else "note", text))
    return found
