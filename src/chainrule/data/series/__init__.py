"""Series: numbers at regular times, whose next values are to be forecast, or whose windows are to be built again.

The contract of data/kind.py. Times are read in moments.py, steps found in frequency.py, rows put on a grid in build.py;
a record is a moment at which a forecast begins (records.py), a sample the window before it (samples.py). Where windows
are built again, a record is the moment at which one begins (window_records.py, window_samples.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding, Shown
from chainrule.data.samples import Batch
from chainrule.data.schema import from_json
from chainrule.data.series.front import SeriesFront, feature_names
from chainrule.data.series.read import read, read_inputs, recognises
from chainrule.data.series.records import LEAST_KNOWN, SeriesRecords
from chainrule.data.series.samples import SeriesSamples
from chainrule.data.series.schema import SeriesSchema, load_forecasts
from chainrule.data.series.schema import learn_schema as learn_forecasts
from chainrule.data.series.window_records import WindowRecords
from chainrule.data.series.window_samples import WindowFront, WindowSamples, WindowSchema, learn_windows
from chainrule.data.tails import middle_of_far_tailed
from chainrule.errors import InputError

__all__ = [
    "AUGMENT", "GIVES", "NAME", "SeriesRecords", "SeriesSamples", "SeriesSchema", "WindowRecords", "WindowSamples",
    "WindowSchema", "aligned", "augment", "classical", "columns", "encode", "findings", "front", "input_names",
    "learn_schema", "load_schema", "mismatches", "picture", "pieces", "read", "read_inputs", "recognises", "show",
    "sizes", "target_of", "usual_settings",
]  # fmt: skip

NAME = "series"
GIVES = ("window", "sequence")
AUGMENT = None


AnyRecords = SeriesRecords | WindowRecords
AnySchema = SeriesSchema | WindowSchema


def target_of(records: AnyRecords) -> str:
    """The column of labels beside what is built again; "" for forecasts: their columns stand in the panel."""
    return records.label_name if isinstance(records, WindowRecords) else ""


def learn_schema(train: AnyRecords, options: DataConfig) -> AnySchema:
    """The schema, from what the train records see.

    Raises:
        InputError: a task that does not fit a series, or a column without any value.
    """
    return learn_windows(train, options) if isinstance(train, WindowRecords) else learn_forecasts(train, options)


def load_schema(data: Mapping[str, Any]) -> AnySchema:
    """The schema back from JSON; unknown keys are refused."""
    of_windows = dict(data.get("target") or {}).get("kind") == "input"
    return from_json(WindowSchema, data) if of_windows else load_forecasts(data)


def findings(records: AnyRecords) -> list[Finding]:
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


def encode(records: AnyRecords, schema: AnySchema) -> SeriesSamples | WindowSamples:
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
    if isinstance(schema, WindowSchema):
        assert isinstance(records, WindowRecords)
        return WindowSamples(records, schema)
    assert isinstance(records, SeriesRecords)
    least = int(np.ceil(LEAST_KNOWN * schema.window))
    if len(records) and int(records.rows.max()) < least:
        raise InputError(
            f"the forecasts look back on {int(records.rows.max())} steps at most, the network sees {schema.window}: "
            f"give {least} or more before the first one, or train with a smaller data.window"
        )
    return SeriesSamples(records, schema)


def mismatches(records: AnyRecords, schema: AnySchema) -> list[Finding]:
    """Windows that are cut short by the beginning of the data."""
    if isinstance(records, WindowRecords):
        return []
    short = int((records.rows < schema.window).sum()) if records.window < schema.window else 0
    if not short:
        return []
    return [Finding("warning", f"{short} forecasts look back further than the data: unknown there, as if missing")]


def aligned(records: AnyRecords, schema: AnySchema) -> AnyRecords:
    """The records themselves: labels are spelt in one way."""
    return records


def columns(records: AnyRecords, schema: AnySchema) -> dict[str, NDArray[Any]]:
    """None: a series' own past is meant to be seen."""
    return {}


def classical(batch: Batch, schema: AnySchema) -> dict[str, NDArray[Any]]:
    """Nothing: series have baselines of their own."""
    return {}


def sizes(schema: AnySchema, takes: str) -> dict[str, Any]:
    """``window``, ``horizon``, ``in_features``, ``known_features`` and ``columns``; the ``shape`` of windows."""
    if isinstance(schema, WindowSchema):
        return {"shape": (schema.window, len(schema.target.names))}
    return {
        "window": schema.window, "horizon": schema.target.horizon, "in_features": len(feature_names(schema)),
        "known_features": len(schema.future_names()), "columns": len(schema.target.names),
    }  # fmt: skip


def input_names(schema: AnySchema, takes: str) -> list[str]:
    """A name for each feature of a step that the network looks back on."""
    return list(schema.target.names) if isinstance(schema, WindowSchema) else feature_names(schema)


def front(schema: AnySchema, takes: str) -> nn.Module:
    """The module that makes a row of every column; or that hands whole windows on."""
    return WindowFront() if isinstance(schema, WindowSchema) else SeriesFront(schema)


def pieces(schema: AnySchema, takes: str) -> int:
    """1: a window is seen whole."""
    return 1


def usual_settings(schema: AnySchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the networks' own are right."""
    return {}


def augment(batch: Batch, generator: torch.Generator, config: None) -> Batch:
    """The batch as it is."""
    return batch


def show(records: AnyRecords, row: int) -> Shown:
    """The moment at which a forecast begins, and the last values before it; of a window its ends and its label."""
    panel, step = records.panel, int(records.rows[row])
    if isinstance(records, WindowRecords):
        first, last = panel.written([step, step + records.window - 1])
        named = {} if records.labels is None else {records.label_name: str(records.labels[row])}
        return Shown(values={"from": first, "to": last, **named})
    values = {"from": records.ids[row]}
    for name, value in zip(panel.names, panel.values[step - 1], strict=True):
        values[f"last {name}"] = f"{value:.6g}"
    return Shown(values=values)


def picture(batch: Batch, row: int, schema: AnySchema) -> None:
    """None: windows are drawn as backtests."""
    return
