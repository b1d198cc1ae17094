"""Which sources are texts with labels, and how they are read: tables, folders, files, lists and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from chainrule.data import delimited
from chainrule.data.config import DataConfig
from chainrule.data.encoding import decode_text
from chainrule.data.kind import Finding
from chainrule.data.schema import InputTarget, class_names
from chainrule.data.sentences import DISTINCT, LOOKED_AT, roles_of
from chainrule.data.sources import Source, open_source, path_or_text
from chainrule.data.table import frames
from chainrule.data.table.read import JSON_LINES, PARQUET
from chainrule.data.text.files import (
    ENDING,
    class_files,
    class_folders,
    lines_of,
    read_class_files,
    read_class_folders,
    text_files,
)
from chainrule.data.text.records import TextRecords, TextStore, all_records
from chainrule.data.text.schema import TextSchema
from chainrule.data.text.tables import head_roles, joined, kept, read_table, spelt_alike, store_of
from chainrule.data.tokens import mended
from chainrule.errors import InputError, MissingTargetError

FILES = {*delimited.ALWAYS, *PARQUET, *JSON_LINES}
ACCEPTED = (
    "expected a CSV, TSV, JSONL or Parquet file with a column of texts and one of labels, a folder for each class with "
    ".txt files, a .txt file for each class with a text on every line, or (texts, labels) in Python"
)


def recognises(source: Source) -> str | None:
    """Why this source is texts with labels, in words, or None."""
    if source.parts:
        return recognises(next(iter(source.parts.values())))
    if source.second is not None:
        return None
    if source.path is None:
        return _recognises_value(source.value)
    if source.path.is_dir():
        return _recognises_folder(source.path)
    if delimited.suffix(source.path) not in FILES | delimited.PERHAPS | {""}:
        return None
    found = head_roles(source.path)
    return None if found is None else found[0].reason(found[1])


def _recognises_folder(folder: Path) -> str | None:
    folders = class_folders(folder)
    if folders:
        return f"{len(folders)} class folders of {ENDING} files"
    files = class_files(folder)
    return f"{len(files)} files named after their class ({', '.join(files)}), a text on every line" if files else None


def _recognises_value(value: Any) -> str | None:
    if _is_pair(value):
        labels = class_names(np.array(list(value[1]), dtype=object))[:LOOKED_AT]
        answers = len(set(labels.tolist())) <= max(2, DISTINCT * len(labels)) or np.asarray(value[1]).dtype.kind in "if"
        return f"{len(value[0])} texts and their labels" if answers else None
    frame = _frame_of(value)
    roles = None if frame is None else roles_of(frame)
    return None if roles is None or frame is None else roles.reason(frame.width)


def _is_pair(value: Any) -> bool:
    """Whether this is (texts, labels): a row of strings, and as many answers."""
    if not (isinstance(value, tuple) and len(value) == 2):
        return False
    if not all(isinstance(part, Sequence | np.ndarray | pl.Series) or _is_pandas(part) for part in value):
        return False
    if any(isinstance(part, str) for part in value) or len(value[0]) != len(value[1]) or not len(value[0]):
        return False
    return all(isinstance(text, str) for text in _strings(value[0])[:LOOKED_AT])


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.startswith("pandas")


def _strings(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) or _is_pandas(values) else list(values)


def _frame_of(value: Any) -> pl.DataFrame | None:
    """A frame, dict of columns or list of row dicts as a frame; None for anything else."""
    columns = isinstance(value, Mapping) and all(isinstance(v, Sequence | np.ndarray) for v in value.values())
    rows = isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
    frame = isinstance(value, pl.DataFrame | pl.LazyFrame) or (_is_pandas(value) and getattr(value, "ndim", 0) == 2)
    if not (frame or rows or (columns and value)):
        return None
    try:
        return frames.to_frame(value)
    except (InputError, ValueError):
        return None


def read(source: Source, options: DataConfig) -> dict[str, TextRecords]:
    """The records: {"all": ...}.

    Raises:
        InputError: the source is broken, or has no texts or labels where they should be.
    """
    return {"all": all_records(_store(source, options))}


def _store(source: Source, options: DataConfig) -> TextStore:
    name = source.original or "this data"
    if source.path is None:
        value = source.value
        if _is_pair(value):
            texts = [mended(one) for one in _strings(value[0])]
            frame = pl.DataFrame([frames.column("text", texts), frames.column("label", value[1])])
            known = store_of(frame, replace(options, target=""), name, label="label", texts=("text",))
            return replace(known, columns=(), lines=True)
        found = _frame_of(value)
        if found is None:
            raise InputError(f"{name} is no texts with labels; {ACCEPTED}")
        return store_of(found, options, name)
    if source.path.is_dir():
        folders = class_folders(source.path)
        files = {} if folders else class_files(source.path)
        if not folders and not files:
            raise InputError(f"{name} holds no class folders or files of texts; {ACCEPTED}")
        return read_class_folders(folders) if folders else read_class_files(files)
    frame, header, notes = read_table(source.path)
    return store_of(frame, options, name, header=header, notes=notes)


def read_inputs(inputs: Sequence[Any], schema: TextSchema) -> TextRecords:
    """Records for prediction: texts as they are, files of them, folders, frames. A label is kept where one is there.

    A string that is no file is a text. Of tables the schema's columns are read; of a plain file each line, or all of it
    where the network learned from whole files.

    Raises:
        InputError: no file and no text, or columns that are not there.
    """
    values = [inputs] if isinstance(inputs, str | Mapping) or _is_pair(inputs) else list(inputs)
    if values and all(isinstance(one, Mapping) for one in values) and not _frame_of(values[0]) is not None:
        values = [values]
    stores = [_input_store(one, schema, place) for place, one in enumerate(values, 1)]
    if not stores:
        raise InputError("no inputs came; expected texts, or paths of files with texts")
    store = stores[0] if len(stores) == 1 else _together(stores)
    return all_records(store)


def _together(stores: Sequence[TextStore]) -> TextStore:
    return TextStore(
        texts=[text for store in stores for text in store.texts],
        ids=[one for store in stores for one in store.ids],
        label_name=stores[0].label_name, columns=stores[0].columns, header=stores[0].header,
        notes=tuple(note for store in stores for note in store.notes),
    )  # fmt: skip


def _input_store(one: Any, schema: TextSchema, place: int) -> TextStore:
    if isinstance(one, str | Path):
        path = path_or_text(one)
        if path is not None:
            return _input_path(path, schema)
        if not str(one).strip():
            raise InputError("an empty text came; expected words")
        return TextStore(texts=[str(one)], ids=[f"text {place}"])
    if isinstance(one, list | tuple | np.ndarray | pl.Series) or (_is_pandas(one) and one.ndim == 1):
        if not _is_pair(one) and all(isinstance(text, str) for text in _strings(one)):
            texts = _strings(one)
            return kept(TextStore(texts=texts, ids=[f"text {i + 1}" for i in range(len(texts))]))
        if _is_pair(one):
            return _input_store(one[0], schema, place)
    frame = _frame_of(one)
    if frame is None:
        raise InputError(f"{type(one).__name__} is no text; expected texts, paths, or a frame with a column of texts")
    return _input_frame(frame, schema, "the frame", True, [])


def _input_path(path: Path, schema: TextSchema) -> TextStore:
    source = open_source(path)
    if source.parts:
        raise InputError(f"{path} holds {', '.join(source.parts)}; give the one of them to predict")
    path = source.path or path
    if path.is_dir():
        found = list(text_files(path))
        if not found:
            raise InputError(f"{path} holds no {ENDING} files")
        read_files = [decode_text(delimited.read_bytes(file), file.name) for file in found]
        ids = [file.relative_to(path).as_posix() for file in found]
        notes = tuple(Finding("warning", note) for _, said in read_files for note in said)
        return kept(TextStore(texts=[text for text, _ in read_files], ids=ids, notes=notes))
    if delimited.suffix(path) in FILES:
        frame, header, said = read_table(path)
        return _input_frame(frame, schema, path.name, header, said)
    if schema.files:
        text, noticed = decode_text(delimited.read_bytes(path), path.name)
        return kept(TextStore(texts=[text], ids=[path.name], notes=_warnings(noticed)))
    lines, noticed = lines_of(path)
    ids = [f"{path.name} line {i + 1}" for i in range(len(lines))]
    return kept(TextStore(texts=lines, ids=ids, notes=_warnings(noticed)))


def _warnings(notes: Sequence[str]) -> tuple[Finding, ...]:
    return tuple(Finding("warning", note) for note in notes)


def _input_frame(frame: pl.DataFrame, schema: TextSchema, name: str, header: bool, notes: Sequence[str]) -> TextStore:
    """The schema's columns by name, or by place where the file names none."""
    target, wanted = schema.target, schema.columns
    label = "" if target is None else target.label if isinstance(target, InputTarget) else target.name
    if not header and frame.width in (len(schema.names), len(schema.names) - 1):
        names = list(schema.names) if frame.width == len(schema.names) else [n for n in schema.names if n != label]
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    if not set(wanted) <= set(frame.columns) or not wanted:
        roles = roles_of(frame, label=label if label in frame.columns else "")
        found = roles.texts if roles else [n for n in frame.columns if frame[n].dtype == pl.String and n != label]
        if len(found) != 1 or len(wanted) > 1:
            expected = " and ".join(map(repr, wanted)) or "of texts"
            raise InputError(f"{name} has no column {expected}; there are: {', '.join(map(repr, frame.columns[:20]))}")
        wanted = tuple(found)
    labels = None
    if label in frame.columns:
        options = DataConfig(labels=schema.separator)
        try:
            labels = store_of(frame, options, name, label=label).labels
        except (InputError, MissingTargetError):
            labels = None
        if schema.separator:
            labels = spelt_alike(frame[label], schema.separator)
    texts = joined(frame, wanted)
    whole = labels is not None and len(labels) == len(texts) and not (labels.dtype.kind == "U" and (labels == "").any())
    ids = [f"row {i + 1}" for i in range(len(texts))]
    return kept(
        TextStore(
            texts=texts, ids=ids, labels=labels if whole else None, label_name=label, columns=wanted, header=header,
            notes=_warnings(notes),
        )
    )  # fmt: skip
