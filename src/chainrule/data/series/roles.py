"""What the columns of a series are for: naming the series, being forecast, or known beside it up to now or ahead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.series.moments import Ints
from chainrule.data.table.columns import kind_of
from chainrule.errors import InputError, nearest

ROW_NAME = re.compile(r"(?i)^(|index|id|row|instant|no|nr|unnamed.*|column 1)$")
SHOWN = 5


@dataclass(frozen=True)
class Roles:
    """What a schema says of columns beyond what settings can say."""

    past: tuple[str, ...] = ()


def find_series(
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


def find_roles(
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
        taken = [name for name in (*names, *options.known) if _is_number(columns[name])]
        why = f"; {', '.join(taken)} cannot be both forecast and named by data.known or data.series" if taken else ""
        shown = ", ".join(list(columns)[:10]) or "none but the times"
        raise InputError(f"{where} has no column of numbers to forecast{why} (columns: {shown})")
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
            raise InputError(
                f"--target: {where} has no column {word!r} of numbers beside its times; {nearest(word, list(columns))}"
            )
        if name not in free:
            raise InputError(
                f"--target: column {name!r} of {where} cannot be forecast; these can: {', '.join(free[:10])}"
            )
        found.append(name)
    return found


def _is_number(series: pl.Series) -> bool:
    return series.dtype.is_numeric() or series.dtype == pl.Boolean
