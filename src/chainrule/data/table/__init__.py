"""Tables: rows of numbers, words, dates and truth values, with one column to predict.

The contract of data/kind.py. Reading lives in table_read.py, records in table_records.py, the schema in
table_schema.py, the front in table_front.py; here rows become tensors and are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import encode_targets
from chainrule.data.samples import Batch, TensorSamples
from chainrule.data.schema import ClassTarget, InputTarget, class_names
from chainrule.data.table.columns import (
    MAX_CATEGORIES,
    MAX_NUMBER,
    CategoryColumn,
    cell_text,
    numbers_of,
    texts,
)
from chainrule.data.table.frames import without_missing_words
from chainrule.data.table.front import ColumnsFront, VectorFront, build_front, vector_names
from chainrule.data.table.read import read, read_inputs, recognises
from chainrule.data.table.records import TableRecords
from chainrule.data.table.schema import TableSchema, learn_schema, load_schema
from chainrule.data.tails import middle_of_far_tailed
from chainrule.errors import InputError, nearest

__all__ = [
    "AUGMENT", "NAME", "TableAugmentConfig", "TableRecords", "TableSchema", "aligned", "augment", "classical",
    "columns", "encode", "findings", "front", "input_names", "learn_schema", "load_schema", "mismatches", "read",
    "read_inputs", "recognises", "show", "sizes", "target_of",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableAugmentConfig:
    """What happens to a training batch of rows."""

    unseen: float = 0.005  # share of category cells that are hidden as if they had never been seen

    def __post_init__(self) -> None:
        if not 0 <= self.unseen < 1:
            raise InputError(f"augment.unseen is a share from 0 to below 1, got {self.unseen}")


NAME = "table"
GIVES = ("vector", "columns")
AUGMENT = TableAugmentConfig
BLOCK_ROWS = 1 << 16
GROUP_NAME = (
    r"(?i)(^|[^a-z])(patient|subject|user|customer|client|person|participant|session|household|family|device|store)"
)


def encode(records: TableRecords, schema: TableSchema) -> TensorSamples:
    """Inputs (numbers (N, F) float32 with NaN for missing, codes (N, G) int32) and targets; columns found by name.

    Codes: 0 unseen, 1 missing, then the schema's categories. Targets: class indices, or float32 in their own units.

    Raises:
        InputError: a column of the schema is absent, or a label is not among the schema's classes.
    """
    _refuse_absent(records, schema)
    numbers = np.empty((len(records), len(schema.numbers)), dtype=np.float32)
    codes = np.empty((len(records), len(schema.categories)), dtype=np.int32)
    for place, block in _blocks(records):
        for j, column in enumerate(schema.numbers):
            numbers[place, j] = numbers_of(block[column.source], column.part, column.date_format) - column.offset
        for j, category in enumerate(schema.categories):
            codes[place, j] = _codes(block[category.name], category)
    return TensorSamples((torch.from_numpy(numbers), torch.from_numpy(codes)), _targets(records, schema), records.ids)


def _refuse_absent(records: TableRecords, schema: TableSchema) -> None:
    """Raise InputError where a column of the schema is absent."""
    absent = [name for name in schema.sources() if name not in records.frame.columns]
    if absent:
        hints = f"; {nearest(absent[0], records.frame.columns)}" if len(absent) == 1 else ""
        raise InputError(
            f"missing {'column' if len(absent) == 1 else 'columns'}: {', '.join(map(repr, absent))}{hints}"
        )


def _blocks(records: TableRecords) -> Iterator[tuple[slice, pl.DataFrame]]:
    """The rows in blocks small enough for the processor's cache, each with its place."""
    for start in range(0, len(records), BLOCK_ROWS):
        place = slice(start, start + BLOCK_ROWS)
        yield (
            place,
            records.frame[start : start + BLOCK_ROWS] if records.everything else records.frame[records.rows[place]],
        )


def _codes(series: pl.Series, column: CategoryColumn) -> NDArray[np.int32]:
    words = texts(series) if series.dtype != pl.Null else series.cast(pl.String)
    known = words.cast(pl.Enum(column.categories), strict=False).to_physical().cast(pl.Int32) + 2
    return known.fill_null(0).set(words.is_null(), 1).to_numpy()


def _targets(records: TableRecords, schema: TableSchema) -> Tensor | None:
    if not records.target or schema.target is None:
        return None
    if isinstance(schema.target, ClassTarget):
        return torch.from_numpy(_class_indices(records, schema.target)[0])
    if isinstance(schema.target, InputTarget):
        return encode_targets(records.labels, schema.target)
    values = numbers_of(records.column(records.target), "")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        rows = ", ".join(records.ids[int(row)] for row in bad[:5])
        raise InputError(
            f"the target {records.target!r} is no number below 1e30 in {len(bad)} rows: {rows}; expected numbers"
        )
    return torch.from_numpy(values.astype(np.float32))


def _class_indices(records: TableRecords, target: ClassTarget) -> tuple[NDArray[np.int64], dict[str, str]]:
    """The class of each row by name, and the labels that fit only without the full stop at their end."""
    series = records.column(records.target)
    distinct = series.unique()
    names = class_names(np.asarray(distinct.to_list(), dtype=object))
    index = {name: i for i, name in enumerate(target.classes)}
    renamed = {n: n.rstrip(".").rstrip() for n in names.tolist() if n not in index and n.rstrip(".").rstrip() in index}
    unknown = [n for n in names.tolist() if n not in index and n not in renamed]
    if unknown:
        raise InputError(
            f"the target {target.name!r} holds labels that the model does not know: "
            f"{', '.join(map(repr, unknown[:10]))}; known classes: {', '.join(map(repr, target.classes[:50]))}"
        )
    codes = [index[renamed.get(n, n)] for n in names.tolist()]
    return series.replace_strict(distinct, codes, return_dtype=pl.Int64).to_numpy(writable=True), renamed


def findings(records: TableRecords) -> list[Finding]:
    """What is wrong inside the records: missing, not finite, constant, identifier, heavy tails, many categories."""
    found = list(records.notes)
    names = [name for name in records.frame.columns if name not in (records.target, records.group)]
    alone = all(records.kind(name)[1] for name in names)  # then row numbers are learned from
    for name in names:
        if not (alone and records.kind(name)[0] == "identifier" and records.frame[name].dtype.is_integer()):
            found += _column_findings(records, name)
    return found


def _column_findings(records: TableRecords, name: str) -> Iterator[Finding]:
    series = records.column(name)
    kind, reason = records.kind(name)
    if reason:
        yield Finding("note", f"column {name!r} is left out: {reason}", (name,))
        return
    is_float = series.dtype.is_float()
    missing = (series.is_null() | series.is_nan().fill_null(False) if is_float else series.is_null()).arg_true()
    if len(missing):
        share = len(missing) / len(series)
        yield Finding(
            "note", f"column {name!r} is missing in {len(missing)} rows ({share:.1%}): {_ids(records, missing)}"
        )
    infinite = ((series.abs() > MAX_NUMBER) & ~series.is_nan()).fill_null(False).arg_true() if is_float else missing[:0]
    if len(infinite):
        yield Finding(
            "warning",
            f"column {name!r} is infinite in {len(infinite)} rows, read as missing: {_ids(records, infinite)}",
        )
    if kind == "number":
        yield from _tail_finding(series)
    if kind == "category":
        distinct = series.n_unique()
        if distinct > MAX_CATEGORIES:
            kept = f"at most the {MAX_CATEGORIES} most frequent are kept, rare ones count as unseen"
            yield Finding("warning", f"column {name!r} has {distinct} categories; {kept}", (name,))
    if _groups_rows(series):
        yield Finding(
            "note", f"column {name!r} may name groups of rows; --group {name!r} keeps each on one side of the split"
        )


def _ids(records: TableRecords, rows: pl.Series) -> str:
    return ", ".join(records.ids[row] for row in rows.head(5).to_list()) + (", ..." if len(rows) > 5 else "")


def _tail_finding(series: pl.Series) -> Iterator[Finding]:
    """A note where the furthest value lies three times further out than the middle 98 % are wide."""
    values = numbers_of(series, "")
    values = values[~np.isnan(values)]
    middle = middle_of_far_tailed(values)
    if middle:
        low, high = middle
        text = f"column {series.name!r} has heavy tails: 98 % of it lies in {low:.4g} to {high:.4g}, all of it in "
        yield Finding("note", text + f"{values.min():.4g} to {values.max():.4g}", (series.name,))


def _groups_rows(series: pl.Series) -> bool:
    named = pl.Series([series.name]).str.contains(GROUP_NAME)[0]
    if not named or not (series.dtype.is_integer() or series.dtype == pl.String):
        return False
    return 5 <= series.n_unique() <= len(series) // 2


def mismatches(records: TableRecords, schema: TableSchema) -> list[Finding]:
    """How records differ from what the schema was learned from: extra columns, unseen categories, renamed labels.

    Raises:
        InputError: a column of the schema is absent.
    """
    _refuse_absent(records, schema)
    expected = {*schema.names, records.group, records.time}
    extra = [name for name in records.frame.columns if name not in expected]
    found = []
    if extra:
        shown = ", ".join(extra[:10])
        found.append(
            Finding(
                "warning", f"{len(extra)} columns are not in the model and were ignored: {shown}", tuple(extra[:10])
            )
        )
    for column in schema.categories:
        words = texts(records.column(column.name))
        new = (words.is_not_null() & ~words.is_in(list(column.categories))).fill_null(False)
        found += _cells_finding(records, words, new, "hold rare or unseen words")
    for number in schema.numbers:
        series = records.column(number.source)
        if series.dtype == pl.String:
            values = numbers_of(series, number.part, number.date_format)
            bad = without_missing_words(series).is_not_null() & pl.Series(np.isnan(values))
            found += _cells_finding(records, series, bad, f"have no {number.part or 'number'} and were read as missing")
    if records.target and isinstance(schema.target, ClassTarget):
        for label, meant in _class_indices(records, schema.target)[1].items():
            found.append(Finding("note", f"the label {label!r} was read as {meant!r}", (records.target,)))
    return found


def _cells_finding(records: TableRecords, series: pl.Series, flags: pl.Series, what: str) -> list[Finding]:
    rows = flags.arg_true()
    if not len(rows):
        return []
    cells = ", ".join(f"{series[row]!r} in {records.ids[row]}" for row in rows.head(5).to_list())
    return [Finding("note", f"column {series.name!r}: {len(rows)} cells {what}: {cells}", (series.name,))]


def sizes(schema: TableSchema, takes: str) -> dict[str, Any]:
    """``in_features`` of a vector; ``num_numbers``, ``num_bins`` and ``cardinalities`` of columns."""
    built = front(schema, takes)
    if isinstance(built, VectorFront):
        return {"in_features": built.in_features, "shape": (built.in_features,)}
    assert isinstance(built, ColumnsFront)
    return {"num_numbers": built.num_numbers, "num_bins": built.num_bins, "cardinalities": built.cardinalities}


def front(schema: TableSchema, takes: str) -> nn.Module:
    """The module that turns encoded rows into a network's inputs."""
    return build_front(schema.numbers, schema.categories, takes)


def input_names(schema: TableSchema, takes: str) -> list[str]:
    """The name of each place of a vector; for "columns" the number columns, then the category columns."""
    if takes == "vector":
        return vector_names(schema.numbers, schema.categories)
    return [n.name for n in schema.numbers] + [c.name for c in schema.categories]


def augment(batch: Batch, generator: torch.Generator, config: TableAugmentConfig) -> Batch:
    """The batch with a share of its codes turned into code 0, so that the row of unseen categories is trained."""
    numbers, codes = batch.inputs
    if not config.unseen or not codes.shape[1]:
        return batch
    kept = torch.rand(codes.shape, generator=generator, device=generator.device).to(codes.device) >= config.unseen
    return Batch((numbers, codes * kept), batch.targets, batch.ids, batch.mask)


def show(records: TableRecords, row: int) -> Shown:
    """One row, every cell as text."""
    cells = records.frame.row(int(records.rows[row]), named=True)
    return Shown(values={name: cell_text(value) for name, value in cells.items()})


def aligned(records: TableRecords, schema: TableSchema) -> TableRecords:
    """The records with the schema's spelling of labels, so that equal classes compare equal between splits."""
    if not records.target or not isinstance(schema.target, ClassTarget):
        return records
    indices, renamed = _class_indices(records, schema.target)
    if not renamed:
        return records
    spelt = pl.Series(records.target, [None] * len(records.frame), dtype=pl.String)
    spelt = spelt.scatter(records.rows, [schema.target.classes[i] for i in indices.tolist()])
    return replace(records, frame=records.frame.with_columns(spelt))


def target_of(records: TableRecords) -> str:
    """The target column's name."""
    return records.target


def columns(records: TableRecords, schema: TableSchema) -> dict[str, NDArray[Any]]:
    """The columns that the network sees, as they were read."""
    sources = dict.fromkeys([column.source for column in schema.numbers] + [c.name for c in schema.categories])
    return {name: records.labels_of(name) for name in sources}


def classical(batch: Batch, schema: TableSchema) -> dict[str, NDArray[Any]]:
    """The vector that linear models see, and the raw numbers and codes that trees see."""
    build = front(schema, "vector").to(batch.inputs[0].device).eval()
    with torch.inference_mode():
        vector = build(*batch.inputs)[0].cpu().numpy()
    numbers, codes = (x.cpu().numpy() for x in batch.inputs)
    return {"vector": vector, "numbers": numbers, "codes": codes}


def pieces(schema: TableSchema, takes: str) -> int:
    """1: a row is seen whole."""
    return 1


def picture(batch: Batch, row: int, schema: TableSchema) -> None:
    """None: columns are no picture."""
    return


def usual_settings(schema: TableSchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the network's own are right."""
    return {}
