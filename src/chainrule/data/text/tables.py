"""Texts from tables: which columns hold them, which one the label, and whether the cells are what they should be."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data import delimited
from chainrule.data.config import UNLABELLED, DataConfig
from chainrule.data.delimited import HEAD_BYTES, ROW_NAME, Layout
from chainrule.data.encoding import decode_text
from chainrule.data.kind import Finding
from chainrule.data.labels import FEW
from chainrule.data.schema import class_names
from chainrule.data.sentences import (
    WORDS,
    Roles,
    head_of,
    head_of_json_lines,
    head_of_parquet,
    layout_of,
    quoted,
    roles_of,
)
from chainrule.data.table import frames
from chainrule.data.table.read import JSON_LINES, PARQUET, typed
from chainrule.data.table.records import RowIds
from chainrule.data.text.records import TextStore
from chainrule.data.tokens import words_of
from chainrule.errors import InputError, MissingTargetError, nearest

JOIN = "\n"  # between the texts of several columns
RARE_LABELS = 0.5  # share of labels that may be sentences before the column is taken for one of texts


def head_roles(path: Path) -> tuple[Roles, int] | None:
    """The roles of a file's columns from its first rows, and how many columns there are; None where it holds no texts.

    Raises:
        InputError: the file is damaged.
    """
    ending = delimited.suffix(path)
    if ending in PARQUET:
        frame = head_of_parquet(path)
    elif ending in JSON_LINES:
        frame = head_of_json_lines(path)
    elif ending in delimited.ALWAYS:
        frame = head_of(path)
    else:
        found = labelled_lines(path, HEAD_BYTES)
        if found is None:
            return None
        frame = found
    roles = roles_of(frame)
    return None if roles is None else (roles, frame.width)


def labelled_lines(path: Path, size: int = -1) -> pl.DataFrame | None:
    """A plain file whose lines are a label and a text, a tab between them; None where it is none."""
    try:
        text, _ = decode_text(delimited.read_bytes(path, size), path.name)
    except InputError:
        return None
    lines = [line for line in text.split("\n") if line.strip()]
    lines = lines[:-1] if size >= 0 and len(text) >= size // 4 else lines
    rows = [line.rstrip("\r").split("\t") for line in lines]
    if len(rows) < 3 or any(len(row) != 2 for row in rows):
        return None
    return pl.DataFrame(rows, schema=["column 1", "column 2"], orient="row")


def read_table(path: Path) -> tuple[pl.DataFrame, bool, list[str]]:
    """A file's frame, whether it names its columns, and what was noticed. Cells of delimited files are texts.

    Raises:
        InputError: it is broken, or holds no table.
    """
    ending = delimited.suffix(path)
    if ending in PARQUET:
        return frames.read_parquet(path), True, []
    if ending in JSON_LINES:
        return frames.read_json_lines(path), True, []
    if ending not in delimited.ALWAYS:
        found = labelled_lines(path)
        if found is None:
            raise InputError(f"{path.name}: expected lines of a label and a text with a tab between them")
        return found, False, []
    layout = layout_of(path)
    if layout is None:
        raise InputError(f"{path.name} is no table: no delimiter divides its lines into equally many fields")
    text, notes = decode_text(delimited.read_bytes(path), path.name)
    frame = _rows(text, layout)
    if frame is not None and layout.header and layout.names[0] == ROW_NAME:
        _refuse_divided(frame, path.name, layout)
    if frame is None:
        frame = delimited.read_delimited(path, layout, set(layout.names))  # refuses ragged rows by their numbers
    shown = [f"{path.name}: {note}" for note in layout.notes if "not UTF-8" not in note]
    return frame, layout.header, [*notes, *shown]


def _refuse_divided(frame: pl.DataFrame, name: str, layout: Layout) -> None:
    """Raise InputError where every row has a field more than the header, and the first is no name of the row."""
    cells = frame[ROW_NAME].drop_nulls()
    if cells.str.strip_chars().str.contains(r"\s").mean() == 1:
        raise InputError(
            f"{name}: its rows have {layout.columns} fields and its header names {layout.columns - 1}, as where texts "
            f"hold the delimiter {layout.delimiter!r}; put quotes around the texts"
        )


def _rows(text: str, layout: Layout) -> pl.DataFrame | None:
    """The cells as they stand there, a cell that may be a word for "missing" too; None where rows are ragged."""
    quote = '"' if layout.delimiter != "\t" or quoted(text) else None
    try:
        return pl.read_csv(
            io.BytesIO(text.encode()), separator=layout.delimiter, has_header=False, quote_char=quote,
            skip_rows=layout.skip + int(layout.header), new_columns=list(layout.names), infer_schema=False,
        )  # fmt: skip
    except pl.exceptions.NoDataError:
        raise InputError("the file has a header but no rows; expected at least one text") from None
    except pl.exceptions.PolarsError:
        return None


def store_of(
    frame: pl.DataFrame, options: DataConfig, source: str, *, header: bool = True, notes: Sequence[str] = (),
    label: str = "", texts: tuple[str, ...] = (),
) -> TextStore:  # fmt: skip
    """The texts and labels of a frame.

    Args:
        label: the label's column where it is known; otherwise options.target names it, or it is found.
        texts: the columns of texts where they are known; otherwise they are found.

    Raises:
        InputError: no column of texts or of labels, several that may be the label, cells that are in the wrong column.
    """
    names = tuple(frame.columns)
    for role, name in (("data.group", options.group), ("data.time", options.time)):
        if name and name not in names:
            raise InputError(f"{role}: {source} has no column {name!r}; {nearest(name, names)}")
    wanted = label or (_named(names, options.target, source) if options.target else "")
    seen = frame.drop([n for n in (*options.drop, options.group, options.time) if n in names and n != wanted])
    roles = _roles(seen, wanted, source, texts)
    if not wanted and (roles.labels or options.task not in UNLABELLED):
        wanted = _chosen_label(roles, header, source)
    written = joined(frame, roles.texts)
    told = [Finding("note", note) for note in notes]
    if len(roles.texts) > 1:
        told.append(Finding("note", f"the texts of columns {', '.join(map(repr, roles.texts))} are joined"))
    others = tuple(name for name in seen.columns if name not in (*roles.texts, wanted))
    if others:
        told.append(Finding("note", f"columns that are no texts are not used: {', '.join(map(repr, others))}"))
    labels: NDArray[Any] | None = None
    if not wanted:
        told.append(Finding("note", "there is no column of labels"))
    elif options.labels:
        labels = spelt_alike(frame[wanted], options.labels)
    else:
        labels = _values(frame[wanted])
        _refuse_misplaced(labels, written, wanted, roles)
    return kept(
        TextStore(
            texts=written, ids=RowIds(np.arange(len(written))), labels=labels, label_name=wanted, columns=roles.texts,
            others=others, header=header, groups=_values(frame[options.group]) if options.group else None,
            times=_moments(frame, options.time), notes=tuple(told),
        )
    )  # fmt: skip


def _roles(frame: pl.DataFrame, label: str, source: str, texts: tuple[str, ...]) -> Roles:
    roles = roles_of(frame, texts, label) or _any_texts(frame, label)
    if roles is None:
        if label and roles_of(frame) is not None:
            raise InputError(_swapped(label, [n for n in frame.columns if n != label]))
        raise InputError(
            f"{source}: no column holds texts (several words, hardly two alike); there are "
            f"{', '.join(map(repr, frame.columns[:20]))}. Without texts it is a table: --set data.kind=table"
        )
    return roles


def _any_texts(frame: pl.DataFrame, label: str) -> Roles | None:
    """The column of the longest cells, where a person said that these are texts."""
    widths = {
        name: float(frame[name].cast(pl.String).str.count_matches(r"\w+").mean() or 0)  # type: ignore[arg-type]
        for name in frame.columns
        if name != label and frame[name].dtype == pl.String
    }
    longest = max(widths, key=widths.__getitem__, default="")
    if not longest or widths[longest] < 1.5:
        return None
    labels = (label,) if label else tuple(name for name in frame.columns if name != longest)
    return Roles((longest,), labels, widths[longest])


def _named(names: Sequence[str], wanted: str, source: str) -> str:
    if wanted in names:
        return wanted
    if wanted.lstrip("+-").isdigit() and -len(names) <= int(wanted) < len(names):
        return names[int(wanted)]
    same = [name for name in names if name.lower() == wanted.lower()]
    hint = f"did you mean {same[0]!r}?" if same else nearest(wanted, list(names))
    raise MissingTargetError(f"{source} has no column {wanted!r} for the target; {hint}")


def _chosen_label(roles: Roles, header: bool, source: str) -> str:
    if not roles.labels:
        raise InputError(
            f"{source} has no column beside {', '.join(map(repr, roles.texts))} that may be the label; --task embed "
            "and reconstruct learn without"
        )
    if len(roles.labels) == 1 or roles.labels[0].strip().lower() in LIKELY:
        return roles.labels[0]
    if not header:
        return roles.labels[-1]
    raise InputError(
        f"which column of {source} is the label? Say it with --target COLUMN; these may be: {', '.join(roles.labels)}"
    )


LIKELY = ("label", "labels", "target", "class", "sentiment", "category", "y")


def joined(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The texts of the columns, one below the other; a missing cell is nothing."""
    parts = [frame[name].cast(pl.String).fill_null("").to_list() for name in columns]
    return [JOIN.join(filter(None, row)) for row in zip(*parts, strict=True)] if len(parts) > 1 else parts[0]


def _values(series: pl.Series) -> NDArray[Any]:
    """A column as float64 where it holds numbers alone, otherwise as words; missing is NaN or ""."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        known = text.is_not_null() & (text != "")
        numbers = text.cast(pl.Float64, strict=False)
        series = numbers if known.any() and numbers.filter(known).null_count() == 0 else text
    if series.dtype.is_numeric():
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if series.dtype.is_nested():
        raise InputError(
            f"the cells of {series.name!r} are {'lists' if isinstance(series.dtype, pl.List) else 'objects'}, not "
            "labels; where they are lists of labels, each to be answered by itself, use --set data.labels=';'"
        )
    return class_names(np.array(series.to_list(), dtype=object))


def spelt_alike(series: pl.Series, separator: str) -> NDArray[np.str_]:
    """Cells of several labels in one spelling: each once, in order; a cell without any is the separator alone."""
    if isinstance(series.dtype, pl.List):
        series = series.cast(pl.List(pl.String)).list.join(separator, ignore_nulls=True)
    cells = series.cast(pl.String).fill_null("").to_list()
    return np.array([separator.join(names_in(cell, separator)) or separator for cell in cells], dtype=np.str_)


def names_in(cell: str, separator: str) -> list[str]:
    """The labels in a cell."""
    return sorted({name.strip() for name in cell.split(separator)} - {""})


def _moments(frame: pl.DataFrame, name: str) -> NDArray[Any] | None:
    if not name:
        return None
    series = typed(frame.select(name))[0][name]
    if series.null_count() or not (series.dtype.is_temporal() or series.dtype.is_numeric()):
        raise InputError(f"data.time: column {name!r} has cells that are no date or number; mend or drop them")
    moments: NDArray[Any] = (
        series.cast(pl.Datetime("us")).to_physical() if series.dtype.is_temporal() else series
    ).to_numpy()
    return moments


def _refuse_misplaced(labels: NDArray[Any], texts: Sequence[str], label: str, roles: Roles) -> None:
    """Raise InputError where labels are texts, all of them or some."""
    if labels.dtype.kind != "U":
        return
    counts = Counter(labels.tolist())
    alone = [len(words_of(name)) >= WORDS and counts[name] == 1 for name in labels.tolist()]
    if not any(alone):
        return
    if np.mean(alone) > RARE_LABELS:
        raise InputError(_swapped(label, roles.texts))
    rows = np.flatnonzero(alone)
    classes = {name for name, count in counts.items() if count > 1}
    swapped = [row for row in rows.tolist() if texts[row].strip() in classes]
    if not swapped and len(rows) > 0.02 * len(labels):
        return  # long names of rare classes
    shown = ", ".join(f"row {row + 1} ({labels[row][:30]!r})" for row in (swapped or rows.tolist())[:FEW])
    said = "text and label are swapped in" if swapped else "the label looks like a text in"
    raise InputError(
        f"{said} {len(swapped or rows)} of {len(labels)} rows: {shown}; the other labels of {label!r} are "
        f"{', '.join(map(repr, sorted(classes)[:FEW]))}. Mend or remove these rows"
    )


def _swapped(label: str, others: Sequence[str]) -> str:
    return (
        f"the target {label!r} holds texts (sentences that hardly repeat), not labels; name the column of labels with "
        f"--target, one of: {', '.join(map(repr, others))}"
    )


def kept(store: TextStore) -> TextStore:
    """The store without empty texts, which are counted.

    Raises:
        InputError: all are empty.
    """
    full = np.array([bool(text.strip()) for text in store.texts], dtype=bool)
    if full.all() and len(full):
        return store
    if not full.any():
        raise InputError(f"all {len(full)} texts are empty; expected words to learn from")
    rows, gone = np.flatnonzero(full), np.flatnonzero(~full)
    ids = [store.ids[int(row)] for row in gone[:FEW]]
    note = Finding("warning", f"{len(gone)} empty texts are left out", tuple(ids))

    def chosen(values: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if values is None else values[rows]

    return replace(
        store, texts=[store.texts[row] for row in rows.tolist()], ids=[store.ids[row] for row in rows.tolist()],
        labels=chosen(store.labels), groups=chosen(store.groups), times=chosen(store.times),
        notes=(*store.notes, note),
    )  # fmt: skip
