"""Backtests: forecasts that begin within the test part, drawn beside what came."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Batch
from chainrule.data.series.panel import Panel
from chainrule.data.series.records import SeriesRecords
from chainrule.evaluate.charts import forecast_chart
from chainrule.evaluate.report import Section
from chainrule.prepare import Prepared
from chainrule.session import Session
from chainrule.tasks.forecast import Forecast
from chainrule.tasks.task import Rows
from chainrule.train.run import Run

WINDOWS, COLUMNS = 3, 3  # that are drawn
HORIZONS_SHOWN = 3  # of what came before
Floats = NDArray[np.float64]


def forecasts(session: Session, batch: Batch) -> tuple[Floats, Floats]:
    """Points (B H C) and quantiles (B H C Q) in the columns' own units."""
    task = session.task
    assert isinstance(task, Forecast)
    session.module.eval()
    with torch.inference_mode(), session.arithmetic.autocast():
        point, quantiles = task.forecast(session.module, session.arithmetic.place_batch(batch))
    return point.cpu().numpy(), quantiles.cpu().numpy()


def drawn(panel: Panel, column: int, begin: int, found: tuple[Floats, Floats, Floats], shown: int, title: str) -> str:
    """The chart of one column's forecast (point, low, high) from step ``begin`` on."""
    first, steps = max(0, begin - shown), len(found[0])
    moments = panel.written(np.arange(first, begin + steps))
    truth = np.full(steps, np.nan)
    known = panel.values[begin : begin + steps, column]
    truth[: len(known)] = known
    return forecast_chart(title, panel.values[first:begin, column], truth, *found, moments, panel.names[column])


def backtests(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """Forecasts from the beginning, the middle and the end of the test part."""
    records = prepared.parts["test"]
    assert isinstance(records, SeriesRecords)
    places = np.unique(np.linspace(0, len(records) - 1, WINDOWS).astype(np.int64))
    point, quantiles = forecasts(session, session.encode(records).batch(torch.from_numpy(places)))
    target, panel = session.schema.target, records.panel
    share = target.quantiles[-1] - target.quantiles[0]
    charts = []
    for number, place in enumerate(places.tolist()):
        begin = int(records.rows[place])
        for column in range(min(COLUMNS, len(target.names))):
            found = (point[number, :, column], quantiles[number, :, column, 0], quantiles[number, :, column, -1])
            title = f"{target.names[column]} from {panel.written([begin])[0]}".strip()
            charts.append(drawn(panel, column, begin, found, HORIZONS_SHOWN * target.horizon, title))
    text = f"The band is meant to hold {share:.0%} of what comes; on the whole test part it held {_coverage(rows):.1%}."
    return (Section(title="Backtests", svg="".join(charts), text=text),)


def _coverage(rows: Rows) -> float:
    return float(rows["inside"].sum() / max(1.0, float(rows["count"].sum())))
