"""The way back from the vectors that a network builds to columns: numbers in their own units, categories as words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.table.columns import CategoryColumn, NumberColumn
from chainrule.data.table.front import MAX_ONE_HOT
from chainrule.data.table.schema import TableSchema

ANOTHER = "another"  # a category that has no place of its own
HALF = 0.5
MOST_WHOLE = 2.0**53  # whole numbers beyond it are not exact


def frame_of(vectors: NDArray[Any], schema: TableSchema) -> pl.DataFrame:
    """The columns of vectors (N, F) as ``VectorFront`` makes them, in the source's order; what is missing is null.

    Of a category column the word with the largest share is taken, of truth values and "is missing" the nearer one;
    numbers of columns that held only whole ones are rounded.
    """
    values = np.asarray(vectors, dtype=np.float64)
    made = [*_numbers(values, schema.numbers)]
    flags = sum(column.missing for column in schema.numbers)
    made += _categories(values[:, len(schema.numbers) + flags :], schema.categories)
    sources = [column.source for column in schema.numbers] + [column.name for column in schema.categories]
    places = {name: place for place, name in enumerate(schema.names)}
    order = sorted(range(len(made)), key=lambda place: places[sources[place]])
    return pl.DataFrame([made[place] for place in order])


def _numbers(values: NDArray[np.float64], columns: Sequence[NumberColumn]) -> Iterator[pl.Series]:
    flag = len(columns)
    for place, column in enumerate(columns):
        numbers = values[:, place] * column.std + column.mean
        known = np.ones(len(values), dtype=bool)
        if column.missing:
            known, flag = values[:, flag] < HALF, flag + 1
        series = pl.Series(column.name, _as_read(numbers, column))
        yield series.set(~pl.Series(known), None)


def _as_read(numbers: NDArray[np.float64], column: NumberColumn) -> NDArray[Any]:
    """Truth values and whole numbers where the column had only such; others to a millionth of their spread."""
    if column.part == "truth":
        return numbers > HALF
    if all(edge.is_integer() for edge in column.edges) and abs(numbers).max(initial=0) < MOST_WHOLE:
        return numbers.round().astype(np.int64)
    digits = 6 - int(np.floor(np.log10(column.std))) if column.std > 0 else 6
    rounded: NDArray[np.float64] = numbers.round(digits)
    return rounded


def _categories(values: NDArray[np.float64], columns: Sequence[CategoryColumn]) -> Iterator[pl.Series]:
    start = 0
    for column in columns:
        words: list[str | None] = [*column.categories[:MAX_ONE_HOT]]
        words += [None] * column.missing + [ANOTHER] * (len(column.categories) > MAX_ONE_HOT)
        shares = values[:, start : start + len(words)]
        start += len(words)
        spoken = np.any(shares > 0, axis=1)  # a word that was never seen speaks for none of them
        chosen = zip(shares.argmax(1).tolist(), spoken.tolist(), strict=True)
        named = [words[place] if known else ANOTHER for place, known in chosen]
        yield pl.Series(column.name, named, dtype=pl.String)
