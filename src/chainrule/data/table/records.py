"""Tables as they were read: a frame, a choice of its rows, and what was noticed on the way."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.kind import Finding
from chainrule.data.table.columns import kind_of, texts

MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, as in boost::hash_combine


class RowIds(Sequence[str]):
    """Names of rows, made when asked for: "row 17", counted from 1 as in the file."""

    def __init__(self, rows: NDArray[np.int64], files: tuple[tuple[int, str], ...] = ()) -> None:
        self.rows = rows
        self.files = files  # (first row, name) of each file where there are several

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> RowIds: ...
    def __getitem__(self, place: int | slice) -> str | RowIds:
        if isinstance(place, slice):
            return RowIds(self.rows[place], self.files)
        row = int(self.rows[place])
        if not self.files:
            return f"row {row + 1}"
        start, name = self.files[bisect_right(self.files, row, key=lambda f: f[0]) - 1]
        return f"{name} row {row - start + 1}"


@dataclass(frozen=True, eq=False)
class TableRecords:
    """Rows of a table. Selecting copies row numbers only."""

    frame: pl.DataFrame
    rows: NDArray[np.int64]  # into the frame
    names: tuple[str, ...]  # all columns of the source in order, also those dropped
    target: str = ""
    group: str = ""
    time: str = ""
    header: bool = True
    date_formats: tuple[tuple[str, str], ...] = ()
    notes: tuple[Finding, ...] = ()
    files: tuple[tuple[int, str], ...] = ()  # first row and name of each file where there are several
    kinds: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # found so far, shared by all selections of the frame

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> RowIds:
        """ "row 17", counted from 1 as in the file."""
        return RowIds(self.rows, self.files)

    @property
    def groups(self) -> NDArray[Any] | None:
        """The group column."""
        return self.labels_of(self.group) if self.group else None

    @property
    def times(self) -> NDArray[Any] | None:
        """The time column: microseconds of a date, or numbers."""
        if not self.time:
            return None
        series = self.column(self.time)
        sortable = series.cast(pl.Datetime("us")).to_physical() if series.dtype.is_temporal() else series
        times: NDArray[Any] = sortable.to_numpy()
        return times

    @property
    def labels(self) -> NDArray[Any] | None:
        """The target: float64 for numbers, text otherwise; None where the source has none."""
        return self.labels_of(self.target) if self.target else None

    @cached_property
    def everything(self) -> bool:
        """Whether these are all rows of the frame in their order."""
        return len(self.rows) == len(self.frame) and bool((np.diff(self.rows) == 1).all())

    def column(self, name: str) -> pl.Series:
        """One column of the chosen rows."""
        series = self.frame[name]
        return series if self.everything else series[self.rows]

    def labels_of(self, name: str) -> NDArray[Any]:
        """A column as float64 where it holds numbers, otherwise as text; missing is NaN or ""."""
        series = self.column(name)
        if series.dtype.is_numeric():
            return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        text = texts(series).fill_null("") if series.dtype != pl.Null else pl.Series([""] * len(series))
        distinct = text.unique().sort()
        codes = text.cast(pl.Enum(distinct)).to_physical().to_numpy()
        labels: NDArray[Any] = np.asarray(distinct.to_list(), dtype=np.str_)[codes]
        return labels

    def select(self, rows: NDArray[np.int64]) -> TableRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def select_sorted(self) -> TableRecords:
        """The same records in the order of the source."""
        return replace(self, rows=np.sort(self.rows))

    def fingerprint(self) -> str:
        """SHA-256 over names, types, cells and order."""
        digest = hashlib.sha256()
        for name in self.frame.columns:
            series = self.column(name)
            digest.update(f"{name}\0{series.dtype}\0{len(series)}\0".encode())
            for start in range(0, len(series), 1 << 20):
                for part in _bytes_of(series[start : start + (1 << 20)]):
                    digest.update(part)
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One hash per row over its inputs by name: no target, group, time or, beside others, row identifier."""
        total = np.zeros(len(self), dtype=np.uint64)
        names = sorted(set(self.frame.columns) - {self.target, self.group, self.time})
        names = [name for name in names if self.kind(name)[0] != "unsupported"]
        for name in [name for name in names if self.kind(name)[0] != "identifier"] or names:
            series = self.column(name)
            if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
                series = series.cast(pl.Float64)
            elif series.dtype.is_temporal():
                series = series.cast(pl.Datetime("us"))
            column = series.hash(seed=0).to_numpy()
            total = (total ^ (column + MIX + (total << np.uint64(6)) + (total >> np.uint64(2)))) * MIX
        return total

    def near_hashes(self) -> None:
        """Tables have no near duplicates."""

    def kind(self, name: str) -> tuple[str, str]:
        """The kind of feature a column makes over all rows of the frame, and why where it makes none."""
        if name not in self.kinds:
            self.kinds[name] = kind_of(self.frame[name])
        return self.kinds[name]


def _bytes_of(series: pl.Series) -> Iterable[bytes]:
    """The cells of a column as bytes that only equal columns share."""
    if series.null_count():
        yield np.packbits(series.is_null().to_numpy()).tobytes()
    if series.dtype == pl.String:
        yield series.str.len_bytes().fill_null(0).to_numpy().tobytes()
        yield (series.str.join("")[0] or "").encode()
    elif series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype == pl.Boolean:
        yield series.to_physical().fill_null(0 if series.dtype != pl.Boolean else False).to_numpy().tobytes()
    elif series.dtype != pl.Null:
        yield repr(series.to_list()).encode()
