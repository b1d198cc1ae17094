"""From a source to series: which sources are series, and the parts that are read as records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from chainrule.data import delimited
from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.series.build import build_panel, looks_like_series
from chainrule.data.series.panel import Panel
from chainrule.data.series.records import SeriesRecords
from chainrule.data.series.roles import Roles
from chainrule.data.series.schema import SeriesSchema
from chainrule.data.series.window_records import WindowRecords, usual_window, whole_windows
from chainrule.data.series.window_samples import WindowSchema
from chainrule.data.sources import Source, open_source
from chainrule.data.table import frames
from chainrule.errors import InputError, MissingTargetError, nearest

PARQUET = {".parquet", ".pq"}
JSON_LINES = {".jsonl", ".ndjson"}
HORIZONS_BACK = 5  # of what a network sees; trials on ETTh1: 3.5 horizons 0.370, 5.3 horizons 0.363
SEASONS_BACK = 2  # of the usual season, a day of hours
FEWEST_WINDOWS = 8  # that fit behind each other into a source that is divided
NEAR_SEASONS = 8  # longer ones are looked back on once up to so many usual ones: a week of days, not a year


def recognises(source: Source, label: str = "") -> str | None:
    """Why this source is a series ("a regular series every hour of 7 columns"), or None.

    Without being told, only what cannot be meant otherwise: one column of regular times, and quantities; and beside
    them the column ``label``.
    """
    if source.parts:
        seen = {part: recognises(inside, label) for part, inside in source.parts.items()}
        return next(iter(seen.values())) if all(seen.values()) else None
    if source.path is None:
        value = source.value
        named = isinstance(value, pl.DataFrame) or frames.is_pandas(value)
        return looks_like_series(frames.timed_frame(value), label) if named else None
    if not source.path.is_file():
        return None
    ending = delimited.suffix(source.path)
    if ending not in delimited.ALWAYS:
        return None
    layout = delimited.sniff(source.path)
    numbers = 0 if layout is None else sum(kind != "text" for kind in layout.types)
    if layout is None or not layout.header or layout.columns < 2 or numbers < layout.columns - 1 - bool(label):
        return None
    return looks_like_series(delimited.read_delimited(source.path, layout), label)


def read(source: Source, options: DataConfig) -> dict[str, SeriesRecords | WindowRecords]:
    """The records: {"all": ...}, every step of the panel.

    Raises:
        InputError: no time column or several, irregular steps, doubtful rows, or too few of them.
    """
    if options.group:
        raise InputError(
            "--group does not fit a series: it is divided by time; --set data.series= names several series"
        )
    if options.task == "reconstruct":
        return {"all": read_windows(source, options)}
    frame, notes, commas = read_frame(source, {options.time, *options.known} - {""})
    panel = build_panel(frame, options, Roles(), source.name, notes, commas)
    seasons = panel.frequency.seasons()
    season = next(iter(seasons), 1)
    horizon = options.horizon or max(season, 1)
    window = options.window or found_window(panel.end, horizon, seasons)
    parts = 1 if options.valid or options.test else 3  # what the source is divided into
    needed = window + parts * horizon
    if panel.end < needed:
        use = f"{horizon:,} each to train, validate and test on" if parts == 3 else f"{horizon:,} to forecast"
        raise InputError(
            f"{source.name} has {panel.end:,} times; a window of {window:,} and a horizon of {horizon:,} need "
            f"{needed:,}: {window:,} to look back on, and {use}. Give more rows, or a smaller --horizon or data.window"
        )
    rows = np.arange(panel.end, dtype=np.int64)
    return {"all": SeriesRecords(panel=panel, rows=rows, window=window, horizon=horizon)}


def read_windows(source: Source, options: DataConfig) -> WindowRecords:
    """Every step of the panel as the begin of a window. data.target names a column of labels, which only judge.

    Raises:
        InputError: as ``read``, a setting that is for forecasts, or no such column.
    """
    if options.horizon or options.known:
        raise InputError("--horizon and data.known are for forecasts; a series is built again without them")
    label = options.target
    frame, notes, commas = read_frame(source, {options.time, label} - {""})
    if label and label not in frame.columns:
        if not label.lstrip("+-").isdigit() or not -frame.width <= int(label) < frame.width:
            raise MissingTargetError(
                f"{source.name} has no column {label!r} of labels; {nearest(label, frame.columns)}"
            )
        label = frame.columns[int(label)]
    panel = build_panel(frame, replace(options, target=""), Roles(), source.name, notes, commas, label)
    window = options.window or usual_window(panel.frequency)
    needed = window * (FEWEST_WINDOWS if not (options.valid or options.test) else 1)
    if panel.end < needed:
        raise InputError(
            f"{source.name} has {panel.end:,} times; windows of {window:,} steps need {needed:,}, so that train, valid "
            "and test each hold a whole one. Give more rows, or a smaller data.window"
        )
    rows = np.arange(panel.end, dtype=np.int64)
    return WindowRecords(panel=panel, rows=rows, window=window, label_name=label, normal=options.normal)


def found_window(count: int, horizon: int, seasons: Collection[int]) -> int:
    """How far a network looks back: several horizons and seasons, as far as a third of the series allows.

    Args:
        seasons: periods that the step suggests, the usual one first.
    """
    season = next(iter(seasons), 1)
    longest = max((steps for steps in seasons if steps <= NEAR_SEASONS * season), default=1)
    wanted = max(HORIZONS_BACK * horizon, SEASONS_BACK * season, longest)
    room = max(count // 3 - horizon, 2)
    window = min(wanted, room)
    return window // season * season if window > season else window


def read_frame(source: Source, names: set[str]) -> tuple[pl.DataFrame, list[Finding], bool]:
    """A source's columns, what was noticed, and whether ',' is its decimal sign."""
    path = source.path
    if path is None:
        return frames.timed_frame(source.value), [], False
    if not path.is_file():
        raise InputError(f"{path} is no file; expected a table with a column of times")
    ending = delimited.suffix(path)
    if ending in PARQUET:
        return frames.read_parquet(path), [], False
    if ending in JSON_LINES:
        return frames.read_json_lines(path), [], False
    layout = delimited.sniff(path, names)
    if layout is None:
        raise InputError(f"{path.name} is no table: no delimiter divides its lines into equally many fields")
    notes = [Finding("note", f"{path.name}: {note}") for note in layout.notes]
    return delimited.read_delimited(path, layout), notes, layout.decimal_comma


def read_inputs(inputs: Sequence[Any], schema: SeriesSchema | WindowSchema) -> SeriesRecords | WindowRecords:
    """One record: the moment after the last known value of a newer version of the series that was learned from.

    Of a series that is built again all its windows.

    Raises:
        InputError: several inputs, absent columns or series, another step than the schema's, or too few of them.
    """
    if len(inputs) != 1:
        raise InputError(f"give one source of the series, got {len(inputs)}")
    source = open_source(inputs[0])
    if source.parts:
        raise InputError(f"{source.original} holds {', '.join(source.parts)}; give the one of them to go on from")
    panel = panel_of(source, schema)
    if isinstance(schema, WindowSchema):
        rows = whole_windows(panel, schema.window)
        if not len(rows):
            raise InputError(
                f"{source.name} has {len(panel):,} times, the network sees windows of {schema.window}: give as many "
                "or more"
            )
        return WindowRecords(panel=panel, rows=rows, window=schema.window)
    return SeriesRecords(
        panel=panel, rows=np.array([panel.end], dtype=np.int64), window=schema.window,
        horizon=schema.target.horizon,
    )  # fmt: skip


def panel_of(source: Source, schema: SeriesSchema | WindowSchema) -> Panel:
    """The panel of a source, its columns found by the schema's names."""
    options = DataConfig(
        time=schema.time, target=",".join(schema.columns), series=schema.series, known=schema.known_names,
        frequency=schema.resampled,
    )  # fmt: skip
    frame, notes, commas = read_frame(source, {schema.time})
    absent = [name for name in schema.sources() if name not in frame.columns]
    if absent:
        raise InputError(
            f"{source.name} lacks {', '.join(map(repr, absent))}; the series was learned with these columns"
        )
    label = schema.target.label if isinstance(schema, WindowSchema) else ""
    extra = [name for name in frame.columns if name not in (*schema.sources(), label)]
    if extra:
        notes.append(
            Finding("warning", f"{len(extra)} columns are not in the model and were ignored: {', '.join(extra[:10])}")
        )
    label = label if label in frame.columns else ""
    columns = [*schema.sources(), *([label] if label else [])]
    panel = build_panel(
        frame.select(columns), options, Roles(past=schema.past_names), source.name, notes, commas, label
    )
    return matched(panel, schema, source.name)


def matched(panel: Panel, schema: SeriesSchema | WindowSchema, where: str) -> Panel:
    """The panel with the schema's series in its order.

    Raises:
        InputError: another step, or a series that the schema has is absent.
    """
    if panel.frequency != schema.frequency and len(panel) > 1:
        raise InputError(
            f"{where} has a step of {panel.frequency.words()}, the run learned {schema.frequency.words()}; bring it to "
            f"the same step"
        )
    absent = [name for name in schema.target.names if name not in panel.names]
    if absent:
        raise InputError(f"{where} lacks the series {', '.join(map(repr, absent[:5]))} that the run learned")
    place = {name: number for number, name in enumerate(panel.names)}
    order = np.array([place[name] for name in schema.target.names])
    series = np.array([panel.series_names.index(name) for name in schema.series_names])
    return replace(
        panel, names=schema.target.names, values=panel.values[:, order], owners=np.array(schema.owners),
        series_names=schema.series_names, past=panel.past[:, series], known=panel.known[:, series],
    )  # fmt: skip
