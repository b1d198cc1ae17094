"""Forecasting: the next steps of every column at once, a point and an interval, learned in standard units.

The network gives one number for the point and one for each quantile of each step. The point is learned by squared
error, so that it is the mean, or with loss=quantile by absolute error, so that it is the median; the quantiles by the
pinball loss beside it.

Source: quantiles: Koenker, Bassett 1978, doi:10.2307/1913643; normalise=instance: Kim et al. 2022, Reversible Instance
    Normalization (ICLR), equations 1-4; normalise=last: Zeng et al. 2022, arXiv:2205.13504, NLinear.
Differs: no learned scale and shift after the instance normalisation; quantiles that cross are put in order
    (Chernozhukov, Fernandez-Val, Galichon 2010, doi:10.3982/ECTA7880), which never makes the pinball loss worse; after
    training the interval is widened so that it covers on the validation split (functional/forecast_metrics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import SeriesTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.forecast_metrics import forecast_scores, forecast_sums, pinball
from chainrule.functional.metrics import Scorer
from chainrule.tasks.task import At, Headline, Loss, Rows, Term

LOSSES = ("squared", "quantile")
NORMALISATIONS = ("instance", "last", "none")
MONITORS = ("mse_scaled", "mae_scaled", "mase", "pinball", "smape", "mae", "rmse")
LEAST_WIDTH = 1e-6  # of an interval in standard units
EPSILON = 1e-5  # of the variance of a window, as in the reference of Kim et al.


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """How the future is learned."""

    loss: str = "squared"  # of the point: squared (the mean) or quantile (the median)
    normalise: str = "last"  # each window by its last value, by its own mean and spread (instance), or not (none)
    monitor: str = "mse_scaled"

    def __post_init__(self) -> None:
        choices = (("loss", LOSSES), ("normalise", NORMALISATIONS), ("monitor", MONITORS))
        for name, known in choices:
            if getattr(self, name) not in known:
                raise InputError(f"task.{name} is {getattr(self, name)!r}; {nearest(getattr(self, name), known)}")


class Normalised(nn.Module):
    """A network that sees windows without their level, or level and spread, which its outputs get back.

    Distances of quantiles from the point are always in units of the window's spread: what moved much is less certain.
    """

    def __init__(self, network: nn.Module, normalise: str) -> None:
        super().__init__()
        self.network = network
        self.normalise = normalise

    def forward(self, seen: Float[Tensor, "rows T F"], ahead: Float[Tensor, "rows H K"]) -> Float[Tensor, "rows H Q"]:
        """Forecasts in the units of feature 0, the value; feature 1 says where it is known."""
        if self.normalise == "none":
            return around_point(self.network(seen, ahead))
        value, known = seen[..., :1], seen[..., 1:2]
        count = known.sum(1, keepdim=True).clamp(min=1)
        mean = (value * known).sum(1, keepdim=True) / count
        spread = (((value - mean) ** 2 * known).sum(1, keepdim=True) / count + EPSILON).sqrt()
        level, scale = (mean, spread) if self.normalise == "instance" else (value[:, -1:], torch.ones_like(spread))
        outputs: Tensor = self.network(torch.cat(((value - level) / scale, seen[..., 1:]), -1), ahead)
        return around_point(torch.cat((outputs[..., :1] * scale + level, outputs[..., 1:] * spread), -1))


def around_point(outputs: Float[Tensor, "rows H Q"]) -> Float[Tensor, "rows H Q"]:
    """The outputs with all but the first as distances from it, through which no gradient reaches it.

    So the point's own weights are learned by its own loss alone.
    """
    point = outputs[..., :1]
    return torch.cat((point, point.detach() + outputs[..., 1:]), -1)


class Forecast:
    """Outputs (B x C, H, 1 + Q) against targets (B H C) in standard units; masked where nothing is known."""

    name = "forecast"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("mase", "min")

    def __init__(self, config: ForecastConfig, target: SeriesTarget) -> None:
        self.config = config
        self.target = target
        self.monitor: Headline = (config.monitor, "min")

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network behind the normalisation of its windows."""
        return Normalised(network, self.config.normalise)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Known values to forecast, the same for both terms."""
        assert batch.mask is not None
        known = float(batch.mask.sum())
        return {"loss": known, "pinball": known}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Squared (or half absolute) error of the point and pinball loss of the quantiles, in standard units."""
        assert batch.targets is not None
        assert batch.mask is not None
        outputs = self._outputs(network, batch)
        keep = batch.mask.to(outputs.dtype)
        error = outputs[..., 0] - batch.targets
        point = error * error if self.config.loss == "squared" else 0.5 * error.abs()
        terms = [Term("loss", (point * keep).sum())]
        if self.target.quantiles:
            spread = pinball(outputs[..., 1:], batch.targets, self.target.quantiles).sum(-1)
            terms.append(Term("pinball", (spread * keep).sum()))
        return tuple(terms)

    def _outputs(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B H C outputs"]:
        outputs: Tensor = network(*batch.inputs)
        rows, H, Q = outputs.shape
        B = len(batch)
        return outputs.view(B, rows // B, H, Q).transpose(1, 2)

    def forecast(self, network: nn.Module, batch: Batch) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H C Q"]]:
        """Points and quantiles in the columns' own units, float64; the interval holds the point."""
        outputs = self._outputs(network, batch).double()
        mean, std = self._units(outputs)
        point = outputs[..., 0]
        quantiles = outputs[..., 1:].sort(-1).values
        low, high = quantiles[..., 0], quantiles[..., -1]
        below, above = (share * (high - low) for share in self.target.stretch)
        low, high = torch.minimum(low - below, point), torch.maximum(high + above, point)
        quantiles = torch.cat((low[..., None], quantiles[..., 1:-1], high[..., None]), -1)
        return point * std + mean, quantiles * std[:, None] + mean[:, None]

    def _units(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.target.mean), like.new_tensor(self.target.std)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each window and column the sums that scores are made from, and the block of time that it lies in."""
        assert batch.targets is not None
        assert batch.mask is not None
        point, quantiles = self.forecast(network, batch)
        mean, std = self._units(point)
        truth = batch.targets.double() * std + mean
        return {
            **forecast_sums(point, quantiles, truth, batch.mask, self.target.quantiles),
            "block": batch.ids // self.target.horizon,  # neighbours overlap: intervals draw whole blocks of windows
        }

    def misses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """(B, H x C) how far the truth lies below and above the interval, in shares of its width; NaN: not known."""
        assert batch.targets is not None
        assert batch.mask is not None
        quantiles = self._outputs(network, batch)[..., 1:].double().sort(-1).values
        low, high = quantiles[..., 0], quantiles[..., -1]
        width = (high - low).clamp(min=LEAST_WIDTH)
        below, above = (low - batch.targets) / width, (batch.targets - high) / width
        unknown = ~batch.mask
        return {
            name: miss.masked_fill(unknown, torch.nan).flatten(1) for name, miss in (("below", below), ("above", above))
        }

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """mase, mae, rmse, smape, pinball, coverage; in standard units width_scaled, mse_scaled and mae_scaled."""
        return {name: float(value) for name, value in self._scores(_summed(rows)).items()}

    def _scores(self, sums: dict[str, Any]) -> dict[str, Any]:
        return forecast_scores(sums, np.array(self.target.std), np.array(self.target.scale))

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per window."""

        def scores(weights: Any) -> dict[str, Any]:
            return self._scores({name: weights @ values for name, values in rows.items() if name != "block"})

        return scores

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Targets as they are: the data room gives them in standard units."""
        return targets

    def outputs(self) -> list[str]:
        """The point and each quantile."""
        return ["forecast", *(f"quantile {share:g}" for share in self.target.quantiles)]

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "forecast", "lower" and "upper": of each window the steps of each column."""
        point, quantiles = self.forecast(network, batch)
        found = {"forecast": point, "lower": quantiles[..., 0], "upper": quantiles[..., -1]}
        return {name: values.cpu().tolist() for name, values in found.items()}


def _summed(rows: Rows) -> dict[str, Any]:
    return {name: values.sum(0) for name, values in rows.items() if name != "block"}
