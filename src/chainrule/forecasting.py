"""A series continued: forecasts after its end as a table and a chart, rolled forward beyond the trained horizon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chainrule.backtests import HORIZONS_SHOWN, Floats, drawn, forecasts
from chainrule.data.config import checked_horizon
from chainrule.data.series.moments import Ints
from chainrule.data.series.panel import Panel
from chainrule.data.series.records import LEAST_KNOWN, SeriesRecords
from chainrule.data.series.schema import SeriesSchema
from chainrule.errors import InputError
from chainrule.evaluate.charts import stacked
from chainrule.opened import OpenRun
from chainrule.predicting import check_file
from chainrule.session import Session

if TYPE_CHECKING:
    import polars

MOST_CHARTS = 12
MOST_ROLLS = 20  # trained horizons that a forecast may be rolled on


def predict_series(run: OpenRun, inputs: Any, out: str | Path | None, horizon: int | None) -> polars.DataFrame:
    """Columns time, series, forecast, lower and upper: a row for each step and series after the end of the data.

    Args:
        inputs: a newer version of the series; None continues the run's own.
        out: a CSV file; a chart is written beside it, with the ending .svg.
        horizon: steps; None as many as were trained.

    Raises:
        InputError: the input does not fit, is too short, or lacks what must be known ahead.
    """
    import polars

    schema: SeriesSchema = run.session.schema
    steps = checked_horizon(horizon) or schema.target.horizon
    if out:
        check_file(out)
    records = _own(run) if inputs is None else run.inputs(inputs)
    assert isinstance(records, SeriesRecords)
    panel = records.panel
    ends, C = panel.ends, len(schema.target.names)
    run.notes += _little_known(panel, ends, schema.window)
    for begin in np.unique(ends).tolist():
        run.notes += _check(panel, np.flatnonzero(ends == begin), begin, schema, steps)
    run.notes[:] = dict.fromkeys(run.notes)
    if len(np.unique(ends)) > 1:
        run.notes.append("the series end at different times: each is continued from its own end")
    point, low, high = continued(run.session, records, ends, steps)
    places = ends + np.arange(steps)[:, None]  # (steps, C)
    order = np.argsort(places, axis=None, kind="stable")
    table = polars.DataFrame({
        "time": panel.written(places.reshape(-1)[order]),
        "series": [schema.target.names[column] for column in (order % C).tolist()],
        **{name: values.reshape(-1)[order] for name, values in (("forecast", point), ("lower", low), ("upper", high))},
    })  # fmt: skip
    if out:
        table.write_csv(out)
        charts = [
            drawn(panel, c, end, (point[:, c], low[:, c], high[:, c]), HORIZONS_SHOWN * steps, _title(panel, c, end))
            for c, end in enumerate(ends[:MOST_CHARTS].tolist())
        ]
        Path(out).with_suffix(".svg").write_text(stacked(charts), encoding="utf-8")
    return table


def _title(panel: Panel, column: int, end: int) -> str:
    return f"{panel.names[column]} after {panel.written([end - 1])[0]}"


def _own(run: OpenRun) -> SeriesRecords:
    """The run's own series, from its end."""
    run.notes = []
    records = run.prepared().parts["test"]
    assert isinstance(records, SeriesRecords)
    return records


def _little_known(panel: Panel, ends: Ints, window: int) -> list[str]:
    """The series of which less than half of the last window is known, in words.

    Raises:
        InputError: so it is with all of them, or one is not known at all.
    """
    names = panel.names
    empty = [name for name, end in zip(names, ends, strict=True) if end == 0]
    if empty:
        raise InputError(f"the source has no known value of {', '.join(empty[:5])} to go on from")
    known = np.isfinite(panel.values)
    seen = np.array([known[max(0, end - window) : end, column].sum() for column, end in enumerate(ends)])
    short = [name for name, count in zip(names, seen, strict=True) if count < LEAST_KNOWN * window]
    if len(short) == len(names):
        raise InputError(
            f"the source has {int(seen.max())} known values to look back on, the network sees {window}: give at "
            f"least {int(np.ceil(LEAST_KNOWN * window))}, better all"
        )
    if not short:
        return []
    return [f"little is known of the last {window} steps of {', '.join(short[:5])}: its forecast is a guess"]


def _check(panel: Panel, columns: Ints, begin: int, schema: SeriesSchema, steps: int) -> list[str]:
    """What a person must hear of the forecast of these columns from step ``begin``.

    Raises:
        InputError: something that must be known ahead is not.
    """
    notes, H = [], schema.target.horizon
    if schema.known_names:
        owners = np.unique(panel.owners[columns])
        ahead = np.full((steps, len(owners), len(schema.known_names)), np.nan)
        given = panel.known[begin : begin + steps, owners]
        ahead[: len(given)] = given
        missing = np.argwhere(~np.isfinite(ahead))
        if len(missing):
            step, _, column = missing[0]
            where = panel.written([begin + int(step)])[0]
            raise InputError(
                f"{schema.known_names[int(column)]!r} must be known ahead, and is not at {where} "
                f"({len(missing)} cells in all). Give a source whose last {steps} rows have the times to come and "
                f"{', '.join(schema.known_names)}, with nothing in {', '.join(schema.columns[:3])}"
            )
    if steps > H:
        if schema.past_names:
            raise InputError(
                f"the run forecasts {H} steps, and {', '.join(schema.past_names[:5])} is not known after them; ask for "
                f"--horizon {H} or less, or train with --horizon {steps}"
            )
        if steps > MOST_ROLLS * H:
            raise InputError(
                f"the run forecasts {H} steps; {steps} is too far to roll on, train with --horizon {steps}"
            )
        notes.append(f"steps {H + 1} to {steps} look back on forecasts: the run was trained for {H} (--horizon {H})")
    return notes


def continued(session: Session, records: SeriesRecords, ends: Ints, steps: int) -> tuple[Floats, Floats, Floats]:
    """(steps, C) points, lower and upper ends, each column's from its own step of ``ends`` on."""
    found = [np.zeros((steps, len(ends))) for _ in range(3)]
    for begin in np.unique(ends).tolist():
        columns = ends == begin
        for whole, part in zip(found, rolled(session, replace(records, rows=np.array([begin])), steps), strict=True):
            whole[:, columns] = part[:, columns]
    point, low, high = found
    return point, low, high


def rolled(session: Session, records: SeriesRecords, steps: int) -> tuple[Floats, Floats, Floats]:
    """(steps, C) points, lower and upper ends from the records' one moment on.

    Beyond the trained horizon the points found so far are looked back on as if they had come, and the width of the
    interval before adds in squares, as errors that are independent do.
    """
    begin, H = int(records.rows[0]), session.schema.target.horizon
    panel, parts = records.panel, list[tuple[Floats, Floats, Floats]]()
    low = high = np.zeros(len(panel.names))
    for done in range(0, steps, H):
        samples = session.encode(replace(records, panel=panel, rows=np.array([begin + done])))
        (point,), (quantiles,) = forecasts(session, samples.batch(torch.tensor([0])))
        down, up = point - quantiles[..., 0], quantiles[..., -1] - point
        down, up = (np.sign(side) * np.hypot(side, before) for side, before in ((down, low), (up, high)))
        parts.append((point, point - down, point + up))
        low, high = np.maximum(down[-1], 0), np.maximum(up[-1], 0)
        panel = _extended(panel, begin + done, point)
    point, lower, upper = (np.concatenate(part)[:steps] for part in zip(*parts, strict=True))
    return point, lower, upper


def _extended(panel: Panel, begin: int, values: Floats) -> Panel:
    """The panel with values from step ``begin`` on; what stands beside them stays, and is unknown where it ends."""
    end = begin + len(values)

    def longer(array: Floats) -> Floats:
        return np.concatenate((array, np.full((max(0, end - len(array)), *array.shape[1:]), np.nan)))

    grown = longer(panel.values)
    grown[begin:end] = values
    return replace(panel, values=grown, past=longer(panel.past), known=longer(panel.known))
