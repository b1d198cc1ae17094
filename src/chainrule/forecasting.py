"""A series continued: forecasts after its end as a table and a chart, rolled forward beyond the trained horizon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chainrule.backtests import HORIZONS_SHOWN, Floats, drawn, forecasts
from chainrule.data.series.panel import Panel
from chainrule.data.series.records import SeriesRecords
from chainrule.data.series.samples import LEAST_KNOWN
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
    steps = schema.target.horizon if horizon is None else horizon
    if steps < 1:
        raise InputError(f"--horizon must be 1 or more, got {steps}")
    if out:
        check_file(out)
    records = _own(run) if inputs is None else run.inputs(inputs)
    assert isinstance(records, SeriesRecords)
    panel, begin = records.panel, records.panel.end
    run.notes += _check(panel, schema, steps)
    point, low, high = rolled(run.session, replace(records, rows=np.array([begin])), steps)
    times = panel.written(np.arange(begin, begin + steps))
    C = len(schema.target.names)
    table = polars.DataFrame({
        "time": [time for time in times for _ in range(C)],
        "series": list(schema.target.names) * steps,
        "forecast": point.reshape(-1), "lower": low.reshape(-1), "upper": high.reshape(-1),
    })  # fmt: skip
    if out:
        table.write_csv(out)
        charts = [
            drawn(panel, c, begin, (point[:, c], low[:, c], high[:, c]), HORIZONS_SHOWN * steps, _title(panel, c))
            for c in range(min(C, MOST_CHARTS))
        ]
        Path(out).with_suffix(".svg").write_text(stacked(charts), encoding="utf-8")
    return table


def _title(panel: Panel, column: int) -> str:
    return f"{panel.names[column]} after {panel.written([panel.end - 1])[0]}"


def _own(run: OpenRun) -> SeriesRecords:
    """The run's own series, from its end."""
    records = run.prepared().parts["test"]
    assert isinstance(records, SeriesRecords)
    return records


def _check(panel: Panel, schema: SeriesSchema, steps: int) -> list[str]:
    """What a person must hear of this forecast.

    Raises:
        InputError: nothing to look back on, or something that must be known ahead is not.
    """
    notes, begin, H = [], panel.end, schema.target.horizon
    if begin == 0:
        raise InputError("the source has no known value to go on from")
    seen = np.isfinite(panel.values[max(0, begin - schema.window) : begin]).sum(0)
    short = [name for name, count in zip(panel.names, seen, strict=True)
             if count < LEAST_KNOWN * schema.window]  # fmt: skip
    if len(short) == len(panel.names):
        raise InputError(
            f"the source has {int(seen.max())} known values to look back on, the network sees {schema.window}: give at "
            f"least {int(np.ceil(LEAST_KNOWN * schema.window))}, better all"
        )
    if short:
        notes.append(
            f"little is known of the last {schema.window} steps of {', '.join(short[:5])}: its forecast is a guess"
        )
    if schema.known_names:
        ahead = np.full((steps, *panel.known.shape[1:]), np.nan)
        given = panel.known[begin : begin + steps]
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
