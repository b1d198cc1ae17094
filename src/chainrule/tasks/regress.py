"""Regression: a number, learned in standard units by squared error and answered in its own.

Source: mean squared error as the negative log-likelihood of a Gaussian, Goodfellow, Bengio, Courville 2016, 5.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import NumberTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.losses import squared_error_sum
from chainrule.functional.metrics import Scorer, regression_scorer, regression_scores
from chainrule.tasks.task import At, Headline, Loss, Rows, Term, total_of

MONITORS: dict[str, Literal["min", "max"]] = {"rmse": "min", "mae": "min", "r2": "max"}


@dataclass(frozen=True, kw_only=True)
class RegressConfig:
    """How a number is learned."""

    monitor: str = "rmse"

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise InputError(f"task.monitor is {self.monitor!r}; {nearest(self.monitor, tuple(MONITORS))}")


class Regress:
    """One output (B 1) against (target - mean) / std of the train split."""

    name = "regress"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("rmse", "min")

    def __init__(self, config: RegressConfig, target: NumberTarget) -> None:
        self.config = config
        self.target = target
        self.monitor = (config.monitor, MONITORS[config.monitor])

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network itself: its one output is the standardised number."""
        return network

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows."""
        return {"loss": float(len(batch))}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed squared error in standard units."""
        outputs = network(*batch.inputs)
        error = total_of(batch, lambda y, rows: squared_error_sum(outputs, self.learned_targets(y), rows))
        return (Term("loss", error),)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Predictions and, where known, targets, in original units."""
        measured = {"predictions": self.numbers(network, batch)}
        return measured if batch.targets is None else measured | {"targets": batch.targets.double()}

    def numbers(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) predictions in the target's units."""
        outputs: Tensor = network(*batch.inputs)
        return outputs[..., 0].double() * self.target.std + self.target.mean

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """mse, rmse, mae and r2 in the target's units."""
        return regression_scores(rows["predictions"], rows["targets"])

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        return regression_scorer(rows["predictions"], rows["targets"])

    def outputs(self) -> list[str]:
        """The number."""
        return [self.target.name]

    def learned_targets(self, targets: Tensor) -> Tensor:
        """(target - mean) / std of the train split."""
        return (targets - self.target.mean) / self.target.std

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Column "prediction" in the target's units."""
        return {"prediction": self.numbers(network, batch).cpu().tolist()}
