"""The schema of a table: its columns and target as learned on the train split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from chainrule.data.config import DataConfig
from chainrule.data.labels import input_target
from chainrule.data.schema import Target, from_json, infer_target
from chainrule.data.table.columns import (
    DATE_PARTS,
    CategoryColumn,
    LeftOut,
    NumberColumn,
    category_column,
    kind_of,
    number_column,
    numbers_of,
)
from chainrule.data.table.front import vector_columns, vector_names
from chainrule.data.table.records import TableRecords
from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """Everything needed to turn rows into tensors and outputs into answers."""

    kind: Literal["table"] = "table"
    format: int = 1
    names: tuple[str, ...]  # the source's columns in order, the target among them
    header: bool  # whether the source named them itself
    rows: int  # of the train split
    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...]
    left_out: tuple[LeftOut, ...]
    target: Target | None
    notes: tuple[str, ...] = ()  # why the target was taken for what it is

    def sources(self) -> list[str]:
        """The columns that prediction needs."""
        return list(dict.fromkeys([n.source for n in self.numbers] + [c.name for c in self.categories]))


def learn_schema(train: TableRecords, options: DataConfig) -> TableSchema:
    """Kinds, statistics and target of the train split's columns.

    Raises:
        InputError: no column is left to learn from, or the target cannot serve the task asked for.
    """
    ordered = train.select_sorted()
    numbers: list[NumberColumn] = []
    categories: list[CategoryColumn] = []
    left_out = [LeftOut(name=n, reason="data.drop names it") for n in train.names if n not in train.frame.columns]
    for name in train.frame.columns:
        if name == train.target:
            continue
        made, reason = _learn_column(ordered, name)
        numbers += [column for column in made if isinstance(column, NumberColumn)]
        categories += [column for column in made if isinstance(column, CategoryColumn)]
        if reason:
            left_out.append(LeftOut(name=name, reason=reason))
    if not numbers and not categories:
        numbers = _row_numbers(train, left_out)
        left_out = [c for c in left_out if c.name not in {n.name for n in numbers}]
    if not numbers and not categories:
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in left_out[:10])
        raise InputError(
            f"no column is left to learn from in {len(train)} rows ({reasons or 'there is none beside the target'})"
        )
    labels = train.labels
    target: Target | None
    if options.task == "reconstruct":
        target = input_target(
            labels, train.target, options, name="the row", form="numbers",
            names=tuple(vector_names(numbers, categories)), columns=tuple(vector_columns(numbers, categories)),
        )  # fmt: skip
        why = ""
    else:
        target, why = (None, "") if labels is None else infer_target(labels, train.target, options.task)
    return TableSchema(
        names=train.names, header=train.header, rows=len(train), numbers=tuple(numbers), categories=tuple(categories),
        left_out=tuple(left_out), target=target, notes=(why,) if why else (),
    )  # fmt: skip


def _row_numbers(train: TableRecords, left_out: list[LeftOut]) -> list[NumberColumn]:
    """Columns that look like row numbers, used where nothing else is left, as in a table of x = 1, 2, 3, ... and y."""
    names = [c.name for c in left_out if c.name in train.frame.columns and c.name not in (train.group, train.time)]
    columns = {name: train.column(name) for name in names}
    alike = [name for name, series in columns.items() if series.dtype.is_integer() and kind_of(series)[0] != "constant"]
    return [number_column(name, name, numbers_of(columns[name], "")) for name in alike]


def _learn_column(train: TableRecords, name: str) -> tuple[list[NumberColumn | CategoryColumn], str]:
    """What one column gives the network, or why it gives nothing."""
    if name == train.group:
        return [], "it names the groups of the split"
    series = train.column(name)
    kind, reason = kind_of(series)
    if reason:
        return [], reason
    if kind == "date":
        return _learn_date(train, series)
    if name == train.time:
        return [], "it orders the rows in time"
    if kind == "category":
        column = category_column(series)
        return ([column], "") if column.categories or column.missing else ([], "no category stands in enough rows")
    part = "truth" if kind == "boolean" else ""
    return [number_column(name, name, numbers_of(series, part), part)], ""


def _learn_date(train: TableRecords, series: pl.Series) -> tuple[list[NumberColumn | CategoryColumn], str]:
    """The parts of a date that vary; of the column that the split goes by, only those that come again."""
    columns: list[NumberColumn | CategoryColumn] = []
    date_format = dict(train.date_formats).get(series.name, "")
    for part in DATE_PARTS:
        values = numbers_of(series, part)
        if (series.name == train.time and part == "day") or np.nanmin(values) == np.nanmax(values):
            continue
        columns.append(number_column(f"{series.name}: {part}", series.name, values, part, date_format))
    return columns, "" if columns else "no part of its dates varies"


def load_schema(data: Mapping[str, Any]) -> TableSchema:
    """The schema back from JSON.

    Raises:
        InputError: an unknown or absent key, or a newer format.
    """
    return from_json(TableSchema, data)
