"""Series: numbers at regular times, whose next values are to be forecast.

The contract of data/kind.py. Times are read in moments.py, steps found in frequency.py, rows put on a grid in build.py;
a record is a moment at which a forecast begins (records.py), a sample the window before it (samples.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data.kind import Finding, Shown
from chainrule.data.samples import Batch
from chainrule.data.series.front import SeriesFront, feature_names
from chainrule.data.series.read import read, read_inputs, recognises
from chainrule.data.series.records import LEAST_KNOWN, SeriesRecords
from chainrule.data.series.samples import SeriesSamples
from chainrule.data.series.schema import SeriesSchema, learn_schema, load_schema
from chainrule.data.tails import middle_of_far_tailed
from chainrule.errors import InputError

__all__ = [
    "AUGMENT", "GIVES", "NAME", "SeriesRecords", "SeriesSamples", "SeriesSchema", "aligned", "augment", "classical",
    "columns", "encode", "findings", "front", "input_names", "learn_schema", "load_schema", "mismatches", "picture",
    "pieces", "read", "read_inputs", "recognises", "show", "sizes", "target_of", "usual_settings",
]  # fmt: skip

NAME = "series"
GIVES = ("window",)
AUGMENT = None


def target_of(records: SeriesRecords) -> str:
    """ "": which columns are forecast stands in the panel."""
    return ""


def findings(records: SeriesRecords) -> list[Finding]:
    """What was noticed in reading: gaps, repeated and unsorted times, what is missing; and columns that stand still."""
    panel = records.panel
    found = list(panel.notes)
    for name, column in zip(panel.names, panel.values.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known) and known.min() == known.max():
            found.append(Finding("warning", f"{name!r} is constant: always {known[0]:g}"))
        elif len(known) and (middle := middle_of_far_tailed(known)):
            low, high = middle
            step = int(np.nanargmax(np.abs(column - np.median(known))))
            text = (
                f"{name!r} holds values far from all others: 98 % of it lies in {low:.4g} to {high:.4g}, and "
                f"{column[step]:.6g} stands at {panel.written([step])[0]}; season, scale and scores follow it: empty "
                "the cell if it is no true value"
            )
            found.append(Finding("warning", text))
    return found


def encode(records: SeriesRecords, schema: SeriesSchema) -> SeriesSamples:
    """Windows, cut when they are asked for.

    Raises:
        InputError: other columns than the schema's, or another step.
    """
    panel = records.panel
    if panel.names != schema.target.names or panel.past_names != schema.past_names:
        raise InputError(
            f"the series are {', '.join(panel.names[:5])}, the run learned {', '.join(schema.target.names[:5])}"
        )
    if panel.known_names != schema.known_names:
        raise InputError(f"known ahead must be {', '.join(schema.known_names)}, got {', '.join(panel.known_names)}")
    if panel.frequency != schema.frequency:
        raise InputError(f"the step is {panel.frequency.words()}, the run learned {schema.frequency.words()}")
    least = int(np.ceil(LEAST_KNOWN * schema.window))
    if len(records) and int(records.rows.max()) < least:
        raise InputError(
            f"the forecasts look back on {int(records.rows.max())} steps at most, the network sees {schema.window}: "
            f"give {least} or more before the first one, or train with a smaller data.window"
        )
    return SeriesSamples(records, schema)


def mismatches(records: SeriesRecords, schema: SeriesSchema) -> list[Finding]:
    """Windows that are cut short by the beginning of the data."""
    short = int((records.rows < schema.window).sum()) if records.window < schema.window else 0
    if not short:
        return []
    return [Finding("warning", f"{short} forecasts look back further than the data: unknown there, as if missing")]


def aligned(records: SeriesRecords, schema: SeriesSchema) -> SeriesRecords:
    """The records themselves: there are no labels to spell."""
    return records


def columns(records: SeriesRecords, schema: SeriesSchema) -> dict[str, NDArray[Any]]:
    """None: a series' own past is meant to be seen."""
    return {}


def classical(batch: Batch, schema: SeriesSchema) -> dict[str, NDArray[Any]]:
    """Nothing: series have baselines of their own."""
    return {}


def sizes(schema: SeriesSchema, takes: str) -> dict[str, Any]:
    """``window``, ``horizon``, ``in_features``, ``known_features`` and ``columns``."""
    return {
        "window": schema.window, "horizon": schema.target.horizon, "in_features": len(feature_names(schema)),
        "known_features": len(schema.future_names()), "columns": len(schema.target.names),
    }  # fmt: skip


def input_names(schema: SeriesSchema, takes: str) -> list[str]:
    """A name for each feature of a step that the network looks back on."""
    return feature_names(schema)


def front(schema: SeriesSchema, takes: str) -> nn.Module:
    """The module that makes a row of every column."""
    return SeriesFront(schema)


def pieces(schema: SeriesSchema, takes: str) -> int:
    """1: a window is seen whole."""
    return 1


def usual_settings(schema: SeriesSchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the networks' own are right."""
    return {}


def augment(batch: Batch, generator: torch.Generator, config: None) -> Batch:
    """The batch as it is."""
    return batch


def show(records: SeriesRecords, row: int) -> Shown:
    """The moment at which a forecast begins, and the last values before it."""
    panel, step = records.panel, int(records.rows[row])
    values = {"from": records.ids[row]}
    for name, value in zip(panel.names, panel.values[step - 1], strict=True):
        values[f"last {name}"] = f"{value:.6g}"
    return Shown(values=values)


def picture(batch: Batch, row: int, schema: SeriesSchema) -> None:
    """None: windows are drawn as backtests."""
    return
