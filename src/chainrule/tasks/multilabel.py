"""Several labels a row: each of some names is answered with yes or no, by itself.

Source: binary cross-entropy of sigmoid(logits), one for each label; Nam et al. 2014, arXiv:1312.5419, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import LabelsTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.label_metrics import labels_scorer, labels_scores
from chainrule.functional.metrics import Scorer
from chainrule.tasks.task import At, Headline, Loss, Rows, Term, total_of

MONITORS: dict[str, Literal["min", "max"]] = {
    "nats": "min", "macro_f1": "max", "micro_f1": "max", "average_precision": "max", "exact": "max",
}  # fmt: skip
BETWEEN = "; "  # the names of an answer


@dataclass(frozen=True, kw_only=True)
class MultilabelConfig:
    """How several labels a row are learned."""

    monitor: str = "nats"

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise InputError(f"task.monitor is {self.monitor!r}; {nearest(self.monitor, tuple(MONITORS))}")


class Multilabel:
    """Logits (B K) against 1 and 0 (B K) float32: whether a row has each label."""

    name = "multilabel"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("macro_f1", "max")

    def __init__(self, config: MultilabelConfig, target: LabelsTarget) -> None:
        self.config = config
        self.target = target
        self.monitor: Headline = (config.monitor, MONITORS[config.monitor])

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network itself."""
        return network

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows."""
        return {"loss": float(len(batch))}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """The cross-entropy in nats, summed over labels and rows."""
        logits = _exact(network(*batch.inputs))

        def summed(targets: Tensor, rows: Tensor | None) -> Tensor:
            weight = None if rows is None else rows[:, None]
            return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), weight, reduction="sum")

        return (Term("loss", total_of(batch, summed)),)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The probability of each label (B K) and, where known, the targets."""
        measured = {"probabilities": self.probabilities(network, batch)}
        return measured if batch.targets is None else measured | {"targets": batch.targets}

    def probabilities(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B K), each from 0 to 1 by itself, in float32 or better."""
        return torch.sigmoid(_exact(network(*batch.inputs)))

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """macro_f1, micro_f1, average_precision, exact, hamming, nats."""
        return labels_scores(rows["probabilities"], rows["targets"], self.target.threshold)

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        return labels_scorer(rows["probabilities"], rows["targets"], self.target.threshold)

    def learned_targets(self, targets: Tensor) -> Tensor:
        """1 and 0, as they are."""
        return targets

    def outputs(self) -> list[str]:
        """The labels."""
        return list(self.target.classes)

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Column "prediction" (the names from the threshold up) and the probability of each label."""
        probabilities = self.probabilities(network, batch).cpu()
        named = [
            BETWEEN.join(name for name, there in zip(self.target.classes, row, strict=True) if there)
            for row in (probabilities >= self.target.threshold).tolist()
        ]
        columns = {f"p({name})": probabilities[:, k].tolist() for k, name in enumerate(self.target.classes)}
        return {"prediction": named, **columns}


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better, whatever the network computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
