"""What the train split says about series: scale and season of each column, and which features of the calendar count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.config import DataConfig
from chainrule.data.schema import SeriesTarget, from_json
from chainrule.data.series.features import calendar_names, calendar_of
from chainrule.data.series.frequency import Frequency, parse_frequency, short
from chainrule.data.series.moments import Clock
from chainrule.data.series.panel import Floats
from chainrule.data.series.records import SeriesRecords
from chainrule.errors import InputError
from chainrule.functional.forecast_metrics import autocorrelation, seasonal_scale

FORMAT = 1
QUANTILES = (0.1, 0.5, 0.9)
FEWEST_PERIODS = 2  # of a season that can be told from chance
LEAST_CORRELATION = 0.2  # at a season's lag, the straight line taken off
LEAST_PEAK = 0.05  # above the correlation after half a season: slow changes alone make neighbours alike, not seasons


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A column beside those that are forecast."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class SeriesSchema:
    """How series become tensors, and forecasts answers."""

    format: int = FORMAT
    kind: str = "series"
    target: SeriesTarget
    notes: tuple[str, ...]
    time: str  # the column of times; "" where rows are counted
    hour: str = ""  # the column of the time of day beside one of days
    clock: Clock
    frequency: Frequency
    resampled: str = ""  # data.frequency, where times were brought to it
    window: int  # steps that the network looks back
    series: str = ""  # the columns that name the series
    series_names: tuple[str, ...]
    columns: tuple[str, ...]  # of the source that are forecast
    owners: tuple[int, ...]  # the series of each name that is forecast
    past: tuple[Scale, ...] = ()  # known up to now
    known: tuple[Scale, ...] = ()  # known ahead
    calendar: tuple[str, ...] = ()

    @property
    def past_names(self) -> tuple[str, ...]:
        """Columns known up to now."""
        return tuple(scale.name for scale in self.past)

    @property
    def known_names(self) -> tuple[str, ...]:
        """Columns known ahead."""
        return tuple(scale.name for scale in self.known)

    def sources(self) -> list[str]:
        """The source's columns that are read."""
        names = self.series.split(",") if self.series else []
        times = [name for name in (self.time, self.hour) if name]
        return [*times, *names, *self.columns, *self.past_names, *self.known_names]

    def future_names(self) -> list[str]:
        """What is known of a moment ahead."""
        return [*self.known_names, *calendar_names(self.calendar)]


def learn_schema(train: SeriesRecords, options: DataConfig) -> SeriesSchema:
    """The schema, from what the train records see and answer for.

    Raises:
        InputError: a task that is no forecast, or a column without any value.
    """
    if options.task not in ("", "forecast"):
        raise InputError(f"--task {options.task} does not fit a series; leave it out, or --set data.kind=table")
    panel = train.panel
    values = train.known_part(panel.values)
    empty = [name for name, known in zip(panel.names, np.isfinite(values).any(0), strict=True) if not known]
    if empty:
        raise InputError(f"{', '.join(map(repr, empty[:5]))}: no value in the train part; leave out with data.drop")
    first, last = train.reach()
    span = int(panel.moments(np.array([last - 1]))[0] - panel.moments(np.array([first]))[0])
    calendar = calendar_of(panel.frequency, span)
    season, why = find_season(values, panel.frequency)
    mean, std = np.nanmean(values, 0), np.nanstd(values, 0)
    constant = [name for name, spread in zip(panel.names, std, strict=True) if spread == 0]
    target = SeriesTarget(
        name=panel.columns[0] if len(panel.columns) == 1 else "series", names=panel.names, horizon=train.horizon,
        mean=_numbers(mean), std=_numbers(np.where(std > 0, std, 1.0)),
        scale=_numbers(seasonal_scale(values, season)), season=season, quantiles=QUANTILES,
    )  # fmt: skip
    steps = "1 step" if train.horizon == 1 else f"{train.horizon} steps"
    notes = [
        f"{panel.frequency.words()}; a forecast of {steps} looks back {train.window} (change: --horizon, --set "
        f"data.window=)",
        why,
    ]
    if calendar:
        notes.append(f"known ahead from the calendar: {', '.join(calendar)}")
    if constant:
        notes.append(f"constant in the train part: {', '.join(constant[:5])}; it has no MASE")
    return SeriesSchema(
        target=target, notes=tuple(notes), time=panel.time, hour=panel.hour, clock=panel.clock,
        frequency=panel.frequency,
        resampled=short(parse_frequency(options.frequency)) if options.frequency else "", window=train.window,
        series=panel.series, series_names=panel.series_names, columns=panel.columns,
        owners=tuple(panel.owners.tolist()), past=_scales(panel.past_names, train.known_part(panel.past)),
        known=_scales(panel.known_names, train.known_part(panel.known)), calendar=calendar,
    )  # fmt: skip


def _numbers(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())


def _scales(names: tuple[str, ...], values: Floats) -> tuple[Scale, ...]:
    """Mean and spread of columns (T, S, columns) over all series."""
    found = []
    for place, name in enumerate(names):
        known = values[..., place][np.isfinite(values[..., place])]
        spread = float(known.std()) if len(known) else 0.0
        found.append(Scale(name=name, mean=float(known.mean()) if len(known) else 0.0, std=spread or 1.0))
    return tuple(found)


def find_season(values: Floats, frequency: Frequency) -> tuple[int, str]:
    """The period that the frequency suggests and the autocorrelation confirms, in steps, and the words for it."""
    tried = {}
    for steps, name in frequency.seasons().items():
        if len(values) >= FEWEST_PERIODS * steps and steps > 1:
            strength = autocorrelation(values, steps)
            peak = strength - autocorrelation(values, steps // 2)
            tried[steps] = (strength if peak >= LEAST_PEAK else min(strength, 0.0), name)
    if not tried:
        return 1, "no season: the train part is too short for one, or the step has none"
    best = max(tried, key=lambda steps: tried[steps][0])
    strength, name = tried[best]
    if strength < LEAST_CORRELATION:
        return 1, f"no season: neither the autocorrelation after {best} steps (a {name}) nor another one stands out"
    return best, f"season {best} steps (a {name}): autocorrelation {strength:.2f}"


def load_forecasts(data: Mapping[str, Any]) -> SeriesSchema:
    """The schema back from JSON; unknown keys are refused."""
    return from_json(SeriesSchema, data)
