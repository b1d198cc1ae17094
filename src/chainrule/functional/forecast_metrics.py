"""Scores of forecasts: MAE, RMSE, MASE, sMAPE, pinball loss and coverage, from sums over windows.

Source: MASE: Hyndman, Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001, equation 3; sMAPE: the M4 competition's,
Makridakis, Spiliotis, Assimakopoulos 2020, doi:10.1016/j.ijforecast.2019.04.014; pinball: Koenker, Bassett 1978,
doi:10.2307/1913643.
Differs: 0 forecast as 0 has no sMAPE error (the formula says 0/0); a column whose scale is 0 (a constant) is left out
of MASE, and where there is no other, MASE is the error in standard units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
NARROWEST, WIDEST = -0.4, 4.0  # shares of an interval's width that are taken off or added on one side


def pinball(
    forecast: Float[Tensor, "*values Q"], truth: Float[Tensor, "*values"], quantiles: Sequence[float]
) -> Float[Tensor, "*values Q"]:
    """max(q (y - f), (q - 1) (y - f)) of each quantile q: least where f is the q-quantile of y.

    Example:
        >>> pinball(torch.tensor([[1.0, 1.0]]), torch.tensor([3.0]), (0.1, 0.9))
        tensor([[0.2000, 1.8000]])
    """
    error = truth[..., None] - forecast
    share = torch.tensor(quantiles, dtype=error.dtype, device=error.device)
    return torch.maximum(share * error, (share - 1) * error)


def forecast_sums(
    forecast: Float[Tensor, "B H C"], quantile_forecasts: Float[Tensor, "B H C Q"], truth: Float[Tensor, "B H C"],
    mask: Bool[Tensor, "B H C"], quantiles: Sequence[float],
) -> dict[str, Float[Tensor, "B C"]]:  # fmt: skip
    """Of each window and column: the sums over its known steps that every score is made from, in the column's units."""
    keep = mask.to(forecast.dtype)
    truth = torch.where(mask, truth, 0)
    error = (forecast - truth) * keep
    both = forecast.abs() + truth.abs()
    relative = 2 * error.abs() / torch.where(both > 0, both, 1)
    low, high = quantile_forecasts[..., 0], quantile_forecasts[..., -1]
    inside = ((truth >= low) & (truth <= high)).to(keep.dtype) * keep
    loss = pinball(quantile_forecasts, truth, quantiles).mean(-1) * keep
    return {
        "count": keep.sum(1), "absolute": error.abs().sum(1), "squared": (error * error).sum(1),
        "relative": relative.sum(1), "pinball": loss.sum(1), "inside": inside.sum(1),
        "width": ((high - low) * keep).sum(1),
    }  # fmt: skip


def forecast_scores(sums: dict[str, Any], std: Floats, scale: Floats) -> dict[str, Any]:
    """The scores from sums over windows (..., C), or of many draws at once.

    Columns count by their known values in mse_scaled, mae_scaled, mae, rmse, smape, pinball and coverage; mase is the
    mean over columns of MAE / scale.

    Args:
        std: of each column in the train split, which makes the benchmarks' standardised units.
        scale: mean absolute error of the seasonal naive forecast in the train split.
    """
    count = np.asarray(sums["count"], dtype=np.float64)
    total = count.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        usable = (scale > 0) & (count > 0)
        ratios = np.where(usable, sums["absolute"] / np.where(usable, count * scale, 1.0), 0.0)
        scaled = (sums["absolute"] / std).sum(-1) / total
        return {
            "mase": np.where(usable.any(-1), ratios.sum(-1) / np.maximum(1, usable.sum(-1)), scaled),
            "mae": sums["absolute"].sum(-1) / total,
            "rmse": np.sqrt(sums["squared"].sum(-1) / total),
            "smape": 100 * sums["relative"].sum(-1) / total,
            "pinball": sums["pinball"].sum(-1) / total,
            "coverage": sums["inside"].sum(-1) / total,
            "width_scaled": (sums["width"] / std).sum(-1) / total,
            "mse_scaled": (sums["squared"] / std**2).sum(-1) / total,
            "mae_scaled": scaled,
        }


def stretch_of(below: Floats, above: Floats, quantiles: Sequence[float]) -> tuple[float, float]:
    """What to add to an interval below and above, in shares of its width, so that it covers what it is meant to.

    Source: Romano, Patterson, Candes 2019, arXiv:1905.03222, section 4 (each side by itself), with the correction for
    few observations. Steps of one window miss together, so that windows are what is counted; those that overlap are not
    exchangeable either, so that coverage on other data is near its aim, not guaranteed.

    Args:
        below: (windows, ...) how far each truth lies below the interval, in shares of its width; negative inside, NaN
            where unknown.
        above: the same above it.
    """

    def side(misses: Floats, level: float) -> float:
        known = np.isfinite(misses)
        windows = int(known.reshape(len(known), -1).any(1).sum())
        if not windows:
            return 0.0
        share = min(1.0, level * (1 + 1 / windows))
        return float(np.clip(np.quantile(misses[known], share), NARROWEST, WIDEST))

    return (side(below, 1 - quantiles[0]), side(above, quantiles[-1])) if quantiles else (0.0, 0.0)


def seasonal_scale(values: Floats, season: int) -> Floats:
    """(C,) the mean of abs(y_t - y_(t - season)) over pairs of (T, C) that are known; 0 where there are none.

    Example:
        >>> seasonal_scale(np.array([[1.0], [3.0], [2.0]]), 1)
        array([1.5])
    """
    if len(values) <= season:
        return np.zeros(values.shape[1])
    steps = np.abs(values[season:] - values[:-season])
    known = np.isfinite(steps)
    scale: Floats = np.where(known, steps, 0.0).sum(0) / np.maximum(1, known.sum(0))
    return scale


def autocorrelation(values: Floats, lag: int) -> float:
    """The mean over columns (T, C) of the correlation of a column with itself ``lag`` steps before.

    A straight line is taken off each column first, so that a trend is no season. 0 where nothing varies.
    """
    found = []
    place = np.arange(len(values), dtype=np.float64)
    for column in values.T:
        known = np.isfinite(column)
        if known.sum() < lag + 2:
            continue
        line = np.polyfit(place[known] - place.mean(), column[known], 1)
        rest = np.where(known, column - np.polyval(line, place - place.mean()), np.nan)
        first, second = rest[:-lag], rest[lag:]
        both = np.isfinite(first) & np.isfinite(second)
        power = float(np.nanmean(rest * rest))
        if both.any() and power > 1e-20 * (1 + float(np.nanmean(column * column))):
            found.append(float((first[both] * second[both]).mean()) / power)
    return float(np.mean(found)) if found else 0.0
