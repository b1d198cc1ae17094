"""A series judged moment by moment: how strange each is, which column is to blame, and what was expected there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.series.window_records import WindowRecords, whole_windows
from chainrule.data.series.window_samples import WindowSamples, WindowSchema, in_own_units
from chainrule.errors import InputError
from chainrule.opened import OpenRun
from chainrule.predicting import check_file
from chainrule.session import Session
from chainrule.tasks.moments import Moments

if TYPE_CHECKING:
    import polars


def predict_moments(run: OpenRun, inputs: Any, out: str | Path | None, horizon: int | None) -> polars.DataFrame:
    """Columns time, score (1 is usual), anomaly, column (the strangest one), and its value and what was expected.

    Args:
        inputs: a series with the same columns; None: the one that was learned from, all of it.
        out: a CSV file that gets them as well.

    Raises:
        InputError: the input does not fit, or is shorter than a window.
    """
    if horizon is not None:
        raise InputError("--horizon is for forecasts; this run builds windows again, leave it out")
    if out:
        check_file(out)
    records = whole_series(run) if inputs is None else run.inputs(inputs)
    assert isinstance(records, WindowRecords)
    samples = run.session.encode(records)
    assert isinstance(samples, WindowSamples)
    table = moments_table(run.session, records, run.session.moments(samples))
    if out:
        table.write_csv(out)
    return table


def whole_series(run: OpenRun) -> WindowRecords:
    """All windows of the series that was learned from."""
    run.notes = []
    records = run.prepared().parts["test"]
    assert isinstance(records, WindowRecords)
    return replace(records, rows=whole_windows(records.panel, records.window))


def moments_table(session: Session, records: WindowRecords, moments: Moments) -> polars.DataFrame:
    """A row for each moment; what is not known is null."""
    import polars

    schema: WindowSchema = session.schema
    panel, scores, worst = records.panel, moments.scores, moments.worst
    steps = np.arange(len(panel))
    known = np.isfinite(scores)
    names = np.array(schema.target.names)[worst]
    numbers = {
        "value": np.where(known, panel.values[steps, worst], np.nan),
        "expected": in_own_units(moments.built, schema)[steps, worst],
    }
    calls = np.where(known, scores, -np.inf) >= schema.target.moment_threshold
    return polars.DataFrame({
        "time": panel.written(steps),
        "score": scores,
        "anomaly": calls if schema.target.moment_threshold else np.zeros(len(steps), dtype=bool),
        "column": [name if there else None for name, there in zip(names.tolist(), known.tolist(), strict=True)],
        **numbers,
    }).with_columns(polars.col("score", "value", "expected").fill_nan(None))  # fmt: skip
