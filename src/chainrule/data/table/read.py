"""From a source to table records: which sources are tables, which column is the target, what is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from chainrule.data import delimited
from chainrule.data.bilingual import sentence_columns
from chainrule.data.config import UNLABELLED, DataConfig
from chainrule.data.kind import Finding
from chainrule.data.schema import InputTarget
from chainrule.data.sentences import head_of, head_of_json_lines, head_of_parquet, roles_of
from chainrule.data.sources import Source, open_source
from chainrule.data.table import frames
from chainrule.data.table.columns import tidy
from chainrule.data.table.records import TableRecords
from chainrule.data.table.schema import TableSchema
from chainrule.errors import InputError, MissingTargetError, nearest

TARGET_NAMES = ("target", "label", "labels", "class", "y", "outcome", "response")
LABEL_NAMES = ("target", "label", "labels", "class", "anomaly", "outlier")  # of what only judges
PARQUET = {".parquet", ".pq"}
JSON_LINES = {".jsonl", ".ndjson"}


def recognises(source: Source) -> str | None:
    """Why this source is a table ("CSV, ',' between 12 columns, with a header"), or None."""
    if source.parts:
        seen = {part: recognises(s) for part, s in source.parts.items()}
        return next(iter(seen.values())) if all(seen.values()) else None
    if source.path is None:
        reason = _recognises_value(source.value)
    else:
        reason = _recognises_file(source.path) if source.path.is_file() else None
    return None if reason and _is_series(source) else reason


def _is_series(source: Source) -> bool:
    """Whether a table can only be meant as a series."""
    from chainrule.data.series.read import recognises as series  # which reads tables by this package

    return series(source) is not None


def _recognises_file(path: Path) -> str | None:
    ending = delimited.suffix(path)
    if ending in PARQUET:
        return None if _holds_texts(head_of_parquet(path)) else "Parquet"
    if ending in JSON_LINES:
        names = frames.json_lines_columns(path)
        texts = _holds_texts(head_of_json_lines(path))
        return f"JSON lines with {len(names)} columns" if len(names) >= 2 and not texts else None
    if ending == ".npz":
        pairs = frames.pairs_of_arrays(frames.array_shapes(path))
        named = (f"{x} (columns)" + (f" and {y} (target)" if y else "") for x, y in pairs.values())
        return f"arrays: {', '.join(named)}" if pairs else None
    if ending not in delimited.ALWAYS | delimited.PERHAPS:
        return None
    layout = delimited.sniff(path)
    if layout is None or _holds_texts(head_of(path)):
        return None
    return f"{'TSV' if layout.delimiter == chr(9) else 'CSV'}, {layout.words()}"


def _recognises_value(value: Any) -> str | None:
    reason = _table_in_memory(value)
    texts = reason is not None and _is_of_columns(value) and _holds_texts(frames.to_frame(value))
    return None if texts else reason


def _holds_texts(frame: pl.DataFrame) -> bool:
    """Whether a table is texts with a label, or parallel text."""
    return roles_of(frame) is not None or sentence_columns(frame) is not None


def _is_of_columns(value: Any) -> bool:
    """Whether this is a frame, a dict of columns or rows as dicts, in which columns may hold texts."""
    if isinstance(value, Mapping):
        return all(len(_shape(column)) == 1 for column in value.values())
    return isinstance(value, pl.DataFrame | pl.LazyFrame | list) or _is_pandas_frame(value)


def _table_in_memory(value: Any) -> str | None:
    if isinstance(value, pl.DataFrame | pl.LazyFrame) or _is_pandas_frame(value):
        return f"a DataFrame with {len(_names(value))} columns"
    if frames.is_pair(value):
        return f"arrays (X, y) with {value[0].shape[1] if hasattr(value[0], 'shape') else len(value[0][0])} columns"
    if isinstance(value, Mapping) and value:
        shapes = {str(name): _shape(column) for name, column in value.items()}
        if all(len(shape) == 1 for shape in shapes.values()):
            return f"a dict of {len(shapes)} columns"
        return "a dict of arrays" if frames.pairs_of_arrays(shapes) else None
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return f"{len(value)} rows as dicts"
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return f"an array with {value.shape[1]} columns"
    return None


def _is_pandas_frame(value: Any) -> bool:
    return type(value).__module__.startswith("pandas") and hasattr(value, "columns")


def _names(frame: Any) -> list[str]:
    return frame.collect_schema().names() if isinstance(frame, pl.LazyFrame) else list(frame.columns)


def _shape(value: Any) -> tuple[int, ...]:
    try:
        return tuple(value.shape) if hasattr(value, "shape") else frames.as_array(value).shape
    except ValueError:
        return (0, 0, 0)


def read(source: Source, options: DataConfig) -> dict[str, TableRecords]:
    """The records: {"all": ...}, or the parts that an .npz file or a dict of arrays names.

    Raises:
        InputError: the file is broken (ragged rows by number), or the target, group or time is not among the columns.
    """
    if source.path is not None and delimited.suffix(source.path) not in {".npz"}:
        frame, header, notes, commas = _read_file(
            source.path, {options.target, options.group, options.time, *options.drop} - {""}
        )
        return {"all": _records(frame, options, source.name, header=header, notes=notes, decimal_comma=commas)}
    value = frames.load_npz(source.path) if source.path is not None else source.value
    if isinstance(value, Mapping) and any(len(_shape(v)) != 1 for v in value.values()):
        parts, target = frames.read_arrays(value)
    elif frames.is_pair(value):
        frame, target = frames.from_pair(*value)
        parts = {"all": frame}
    else:
        parts, target = {"all": frames.to_frame(value)}, ""
    return {part: _records(frame, options, source.name, target=target) for part, frame in parts.items()}


def _read_file(
    path: Path, names: Collection[str] = (), headless: bool = False, texts: Set[str] = frozenset()
) -> tuple[pl.DataFrame, bool, list[Finding], bool]:
    """A file's frame, whether it has names of its own, what was noticed, and whether ',' is its decimal sign."""
    ending = delimited.suffix(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty; expected a table")
    if ending in PARQUET:
        return frames.read_parquet(path), True, [], False
    if ending in JSON_LINES:
        return frames.read_json_lines(path), True, [], False
    layout = delimited.sniff(path, names, headless)
    if layout is None:
        raise InputError(f"{path.name} is no table: no delimiter divides its lines into equally many fields")
    notes = [Finding("note", f"{path.name}: {note}") for note in layout.notes]
    return delimited.read_delimited(path, layout, texts), layout.header, notes, layout.decimal_comma


def _records(
    frame: pl.DataFrame,
    options: DataConfig,
    source: str,
    *,
    target: str = "",
    header: bool = True,
    notes: Sequence[Finding] = (),
    decimal_comma: bool = False,
) -> TableRecords:
    """Records with their target chosen, columns typed, and rows without a target left out."""
    names = tuple(frame.columns)
    found = list(notes)
    if not target or options.target:
        choose = _choose_label if options.task in UNLABELLED and not options.target else _choose_target
        target, why = choose(names, options.target, header, source)
        found += [Finding("note", why)] if why else []
    for role, name in (
        ("data.group", options.group),
        ("data.time", options.time),
        *(("data.drop", d) for d in options.drop),
    ):
        if name and name not in names:
            raise InputError(f"{role}: {source} has no column {name!r}; {nearest(name, names)}")
    if target in options.drop:
        raise InputError(f"data.drop names the target {target!r}; drop other columns or choose another target")
    frame = frame.drop(options.drop)
    frame, formats, more = typed(frame, decimal_comma)
    records = TableRecords(
        frame, np.arange(len(frame), dtype=np.int64), names, target, options.group, options.time, header,
        formats, (*found, *more),
    )  # fmt: skip
    return _with_known_roles(records, source, needed=options.task not in UNLABELLED or bool(options.normal))


def _choose_target(names: tuple[str, ...], wanted: str, header: bool, source: str) -> tuple[str, str]:
    """The target column and, where nobody named it, why."""
    if wanted in names:
        return wanted, ""
    if wanted:
        if wanted.lstrip("+-").isdigit():
            place = int(wanted)
            if not -len(names) <= place < len(names):
                raise InputError(
                    f"--target {wanted}: {source} has {len(names)} columns, 0 to {len(names) - 1} or -1 the last"
                )
            return names[place], ""
        same = [name for name in names if name.lower() == wanted.lower()]
        hint = f"did you mean {same[0]!r}?" if same else nearest(wanted, names)
        raise MissingTargetError(f"{source} has no column {wanted!r} for the target; {hint}")
    if len(names) < 2:
        raise InputError(
            f"{source} has one column only, {names[0]!r}; expected a target and at least one other column, or "
            f"--horizon to forecast it as a series"
        )
    usual = [name for name in names if name.strip().lower() in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0], f"the target is {usual[0]!r} by its name; --target COLUMN to choose another"
    if not header:
        return names[-1], f"the target is the last column, {names[-1]!r}; --target COLUMN to choose another"
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    raise InputError(f"which column of {source} is to be predicted? Say it with --target COLUMN; there are: {shown}")


def _choose_label(names: tuple[str, ...], wanted: str, header: bool, source: str) -> tuple[str, str]:
    """The column of labels, where nothing is to be predicted from the others, and why; "" where there is none."""
    usual = [name for name in names if name.strip().lower() in LABEL_NAMES] if len(names) > 1 else []
    if len(usual) != 1:
        return "", "every column is learned from; --target COLUMN names one of labels, which is not"
    return usual[0], f"{usual[0]!r} is taken as the label by its name and not learned from; --target COLUMN for another"


def typed(
    frame: pl.DataFrame,
    decimal_comma: bool = False,
    known: Mapping[str, str] | None = None,
    texts: Set[str] = frozenset(),
) -> tuple[pl.DataFrame, tuple[tuple[str, str], ...], list[Finding]]:
    """The frame with text columns turned into what they hold, the formats of its dates, and what was noticed.

    Args:
        known: formats of dates by column, from a schema.
        texts: columns that stay text.
    """
    notes: list[Finding] = []
    formats: list[tuple[str, str]] = []
    for name in frame.columns:
        if name in texts:
            continue
        series, more, date_format = tidy(frame[name], decimal_comma, (known or {}).get(name, ""))
        notes += more
        if date_format:
            formats.append((name, date_format))
        if series is not frame[name]:
            frame = frame.with_columns(series.alias(name))
    return frame, tuple(formats), notes


def _with_known_roles(records: TableRecords, source: str, needed: bool) -> TableRecords:
    """Without empty rows and rows that have no target where one is needed, both counted; group and time must be whole.

    Where none is needed a label alone makes no row.
    """
    frame = records.frame
    values = frame if needed else frame.drop(records.target, strict=False)
    if not values.width:
        raise InputError(f"{source} has one column only, the label {records.target!r}; expected columns to learn from")
    empty = values.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    unlabelled = _missing(frame[records.target]) & ~empty if needed and records.target else np.zeros_like(empty)
    notes = [*_rows_note(empty, "empty and left out", "note")]
    notes += _rows_note(unlabelled, f"without a value of the target {records.target!r} and left out", "warning")
    keep = ~(empty | unlabelled)
    if not keep.any():
        lacking = f"no row has a value of the target {records.target!r}" if needed else "all rows are empty"
        raise InputError(f"{source}: {lacking}")
    for role, name in (("data.group", records.group), ("data.time", records.time)):
        gone = np.flatnonzero(_missing(frame[name]) & keep) if name else np.empty(0, dtype=np.int64)
        if len(gone):
            raise InputError(
                f"{role}: column {name!r} is missing in {len(gone)} rows, first {_rows(gone)}; fill or drop them"
            )
    if needed and records.target and frame[records.target].dtype.is_temporal():
        raise InputError(f"the target {records.target!r} holds dates; expected labels or numbers")
    if records.time and not (frame[records.time].dtype.is_temporal() or frame[records.time].dtype.is_numeric()):
        raise InputError(f"data.time: column {records.time!r} holds text that is no date; expected dates or numbers")
    return replace(records, rows=np.flatnonzero(keep).astype(np.int64), notes=(*records.notes, *notes))


def _missing(series: pl.Series) -> np.ndarray[Any, np.dtype[np.bool_]]:
    gone = series.is_null()
    return (gone | ~series.is_finite().fill_null(False) if series.dtype.is_float() else gone).to_numpy()


def _rows(rows: Any) -> str:
    return ", ".join(f"row {row + 1}" for row in rows[:5]) + (", ..." if len(rows) > 5 else "")


def _rows_note(flags: np.ndarray[Any, np.dtype[np.bool_]], what: str, level: str) -> list[Finding]:
    rows = np.flatnonzero(flags)
    if not len(rows):
        return []
    ids = tuple(f"row {row + 1}" for row in rows[:5])
    return [Finding(level, f"{len(rows)} {'row is' if len(rows) == 1 else 'rows are'} {what}: {_rows(rows)}", ids)]


def read_inputs(inputs: Any, schema: TableSchema) -> TableRecords:
    """Records for prediction: paths, frames, dicts of columns, rows as dicts, or arrays without the target.

    Named columns are matched by name, arrays and files without a header by position. A target is kept if it is whole.

    Raises:
        InputError: nothing to read, or an array of another width than the columns learned from.
    """
    items = _items(inputs)
    if not items:
        raise InputError("no inputs came; expected paths, a DataFrame, rows as dicts or an array")
    read_items = [_read_input(item, schema) for item in items]
    starts = np.cumsum([0, *(len(frame) for frame, _, _ in read_items[:-1])]).tolist()
    frame = pl.concat([frame for frame, _, _ in read_items], how="diagonal_relaxed")
    notes = [note for _, more, _ in read_items for note in more]
    files = (
        tuple((start, name) for start, (_, _, name) in zip(starts, read_items, strict=True)) if len(items) > 1 else ()
    )
    target = _label_of(schema)
    whole = target in frame.columns and not _missing(frame[target]).any()
    return TableRecords(
        frame, np.arange(len(frame), dtype=np.int64), schema.names, target if whole else "",
        header=schema.header, notes=tuple(notes), files=files,
    )  # fmt: skip


def _label_of(schema: TableSchema) -> str:
    """The column of the target, or of labels that only judge; "" where there is none."""
    target = schema.target
    return "" if target is None else target.label if isinstance(target, InputTarget) else target.name


def _items(inputs: Any) -> list[Any]:
    """The inputs one by one: each a path, a frame, a dict of columns, a list of row dicts, or an array."""
    if isinstance(inputs, Mapping):
        inputs = [inputs]
    if isinstance(inputs, str | Path) or not isinstance(inputs, Sequence):
        return [inputs]
    if inputs and all(isinstance(item, Mapping) for item in inputs):
        values = [value for item in inputs for value in item.values()]
        are_rows = all(isinstance(value, str) or not hasattr(value, "__len__") for value in values)
        return [list(inputs)] if are_rows else list(inputs)
    apart = all(isinstance(item, str | Path) or len(getattr(item, "shape", ())) == 2 for item in inputs)
    return list(inputs) if apart else [inputs]


def _read_input(item: Any, schema: TableSchema) -> tuple[pl.DataFrame, list[Finding], str]:
    """The typed frame of one input, what was noticed, and its name."""
    words = {column.name for column in schema.categories}
    formats = {n.source: n.date_format for n in schema.numbers if n.date_format}
    notes: list[Finding] = []
    commas, named = False, True
    name = "the input"
    if isinstance(item, str | Path):
        source = open_source(item)
        if source.parts:
            raise InputError(f"{item} holds {', '.join(source.parts)}; give the one of them to predict")
        if source.path is None:
            return _read_input(source.value, schema)
        path, name = source.path, source.path.name
        if delimited.suffix(path) == ".npz":
            return _read_input(_only_table(frames.load_npz(path), name), schema)
        frame, named, notes, commas = _read_file(path, schema.names, not schema.header, words | set(formats))
    else:
        frame = frames.to_frame(item)
        named = isinstance(item, pl.DataFrame | pl.LazyFrame | Mapping | list) or _is_pandas_frame(item)
        named = named and not (isinstance(item, list) and not isinstance(item[0], Mapping))
    if not named:
        frame = _named_by_place(frame, schema, name)
    frame, _, more = typed(frame, commas, formats, words)
    return frame, [*notes, *more], name


def _only_table(arrays: Mapping[str, Any], name: str) -> Any:
    tables = [value for value in arrays.values() if value.ndim == 2]
    if len(tables) != 1:
        raise InputError(f"{name}: expected one 2-D array, got shapes {[v.shape for v in arrays.values()]}")
    return tables[0]


def _named_by_place(frame: pl.DataFrame, schema: TableSchema, name: str) -> pl.DataFrame:
    """The frame with the schema's column names, with or without the target among them."""
    without = [n for n in schema.names if n != _label_of(schema)]
    for names in (without, list(schema.names)):
        if len(names) == frame.width:
            return frame.rename(dict(zip(frame.columns, names, strict=True)))
    raise InputError(
        f"{name} has {frame.width} columns without names; expected {len(without)}: {', '.join(without[:20])}"
        + (", ..." if len(without) > 20 else "")
    )
