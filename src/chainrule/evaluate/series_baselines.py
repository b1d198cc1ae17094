"""What forecasts without a network score: the last value, the value one season ago, the last value and the mean slope.

Source: Hyndman, Athanasopoulos 2021, Forecasting: Principles and Practice, 3rd edition, section 5.2; their intervals
here are the quantiles of each one's own errors on the train split, step by step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Samples
from chainrule.data.schema import SeriesTarget
from chainrule.data.series.samples import SeriesSamples, carried
from chainrule.evaluate.baselines import rows_within
from chainrule.functional.forecast_metrics import forecast_sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Way = Callable[[Floats, Ints, int], Floats]  # values without holes, where forecasts begin, horizon
Score = Callable[[dict[str, NDArray[Any]]], dict[str, float]]
LEARNED_WINDOWS = 500  # of the train split, for intervals
PORTION = 256  # windows that are scored at once


def series_baselines(samples: Mapping[str, Samples], target: SeriesTarget, score: Score) -> list[dict[str, Any]]:
    """Each baseline: its "name", scores, "rows" its intervals are from, "seconds" and "note"."""
    train, test = samples["train"], samples["test"]
    assert isinstance(train, SeriesSamples)
    assert isinstance(test, SeriesSamples)
    ways: list[tuple[str, Way]] = [("naive", naive), ("drift", drift)]
    if target.season > 1:
        ways.insert(1, (f"seasonal naive ({target.season})", partial(seasonal_naive, season=target.season)))
    entries = []
    for name, forecast in ways:
        start = time.perf_counter()
        spread, windows = _spread(train, target, forecast)
        rows = _scored(test, target, forecast, spread)
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **score(rows), "rows": windows, "seconds": seconds, "note": ""})
    return entries


def naive(values: Floats, begins: Ints, horizon: int) -> Floats:
    """(N, horizon, C) the value before each of ``begins``, again and again.

    Args:
        values: (T, C), without holes.
    """
    return np.repeat(values[begins - 1][:, None], horizon, axis=1)


def seasonal_naive(values: Floats, begins: Ints, horizon: int, season: int) -> Floats:
    """(N, horizon, C) the last season before each of ``begins``, again and again; the last value where none is there.

    Example:
        >>> seasonal_naive(np.arange(4.0)[:, None], np.array([4]), 3, 2)[0, :, 0]
        array([2., 3., 2.])
    """
    place = begins[:, None] - season + np.arange(horizon) % season
    found = values[np.maximum(place, 0)]
    return np.where((place >= 0)[..., None], found, values[begins - 1][:, None])


def drift(values: Floats, begins: Ints, horizon: int) -> Floats:
    """(N, horizon, C) the line through the first value of all and the last before each of ``begins``."""
    last = values[begins - 1][:, None]
    slope = (last - values[0]) / np.maximum(1, begins - 1)[:, None, None]
    line: Floats = last + slope * np.arange(1, horizon + 1)[:, None]
    return line


def _spread(train: SeriesSamples, target: SeriesTarget, forecast: Way) -> tuple[Floats, int]:
    """(horizon, C, Q) quantiles of the errors on windows of the train split, and how many these were."""
    begins = train.records.rows[rows_within(len(train), LEARNED_WINDOWS)]
    values = train.records.panel.values
    errors = values[begins[:, None] + np.arange(target.horizon)] - forecast(carried(values), begins, target.horizon)
    known = np.isfinite(errors).any(0)
    spread = np.nanquantile(np.where(known, errors, 0.0), target.quantiles, axis=0)
    return np.moveaxis(spread, 0, -1), len(begins)


def _scored(test: SeriesSamples, target: SeriesTarget, forecast: Way, spread: Floats) -> dict[str, NDArray[Any]]:
    """The sums that scores are made from, of each window of the test split."""
    panel, parts = test.records.panel, list[dict[str, NDArray[Any]]]()
    filled = carried(panel.values)
    for rows in torch.split(torch.arange(len(test)), PORTION):
        begins = test.records.rows[rows.numpy()]
        mask = test.batch(rows).mask
        assert mask is not None
        truth = filled[begins[:, None] + np.arange(target.horizon)]
        point = forecast(filled, begins, target.horizon)
        sums = forecast_sums(
            torch.from_numpy(point), torch.from_numpy(point[..., None] + spread), torch.from_numpy(truth), mask,
            target.quantiles,
        )  # fmt: skip
        parts.append({name: values.numpy() for name, values in sums.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
