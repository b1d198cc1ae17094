"""Classification: one of several names, with a share for each.

Source: cross-entropy of softmax(logits), Goodfellow, Bengio, Courville 2016, section 6.2.2; label smoothing, Szegedy
et al. 2015, arXiv:1512.00567, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.losses import binary_cross_entropy_sum, cross_entropy_sum, probability_error_sum
from chainrule.functional.metrics import Scorer, classification_scorer, classification_scores
from chainrule.tasks.task import At, Headline, Loss, Rows, Term, total_of

LOSSES = ("cross_entropy", "mse")
WEIGHTS = ("none", "balanced")
MONITORS: dict[str, Literal["min", "max"]] = {
    "nats": "min", "accuracy": "max", "balanced_accuracy": "max", "macro_f1": "max", "roc_auc": "max",
}  # fmt: skip
THRESHOLDS = ("auto", "half", "accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """How class targets are learned and decided."""

    loss: str = "cross_entropy"  # or "mse" on the probabilities, as in the textbook's first example
    label_smoothing: float = 0.0
    class_weight: str = "none"  # "balanced": rows weigh total / (K x rows of their class)
    monitor: str = "nats"
    threshold: str = "auto"  # of two classes, by the validation split; auto: macro_f1 if one class is below 20 %

    def __post_init__(self) -> None:
        if self.loss == "mse" and (self.class_weight != "none" or self.label_smoothing):
            raise InputError("task.loss=mse takes no task.class_weight and no task.label_smoothing; leave them out")
        known = {"loss": LOSSES, "class_weight": WEIGHTS, "monitor": tuple(MONITORS), "threshold": THRESHOLDS}
        for name, choices in known.items():
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"task.{name} is {value!r}; {nearest(value, choices)}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"task.label_smoothing is a share from 0 to below 1, got {self.label_smoothing}")


class Classify:
    """Logits (B K) against class indices; one logit column for two classes is the sigmoid's."""

    name = "classify"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("accuracy", "max")

    def __init__(self, config: ClassifyConfig, target: ClassTarget) -> None:
        self.config = config
        self.target = target
        self.monitor = (config.monitor, MONITORS[config.monitor])
        self.positive = target.classes.index(target.positive) if target.positive else None
        self.weights = _class_weights(config, target)

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network itself: its outputs are the logits."""
        return network

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows, or the sum of their class weights."""
        if self.weights is None or batch.targets is None:
            return {"loss": float(len(batch))}
        weights = self.weights.to(batch.targets.device)
        total = total_of(batch, lambda y, rows: (weights[y] if rows is None else weights[y] * rows).sum())
        return {"loss": float(total)}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed cross-entropy in nats, or the summed squared error of the probabilities."""
        logits, smoothing = _exact(network(*batch.inputs)), self.config.label_smoothing
        if self.config.loss == "mse":
            return (Term("loss", total_of(batch, lambda y, rows: probability_error_sum(logits, y, rows))),)
        weights = None if self.weights is None else self.weights.to(logits.device)
        entropy = binary_cross_entropy_sum if logits.shape[-1] == 1 else cross_entropy_sum
        return (Term("loss", total_of(batch, lambda y, rows: entropy(logits, y, weights, smoothing, rows))),)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The probabilities (B K) and, where known, the targets."""
        measured = {"probabilities": self.probabilities(network, batch)}
        return measured if batch.targets is None else measured | {"targets": batch.targets}

    def probabilities(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B K) shares that sum to 1, in float32 or better."""
        logits = _exact(network(*batch.inputs))
        if logits.shape[-1] == 1:
            logits = torch.cat((torch.zeros_like(logits), logits), dim=-1)
        return torch.softmax(logits, dim=-1)

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """accuracy, balanced_accuracy, macro_f1, roc_auc, average_precision, nats, ..."""
        return classification_scores(rows["probabilities"], rows["targets"], self.positive, self.target.threshold)

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        return classification_scorer(rows["probabilities"], rows["targets"], self.positive, self.target.threshold)

    def decide(self, probabilities: Tensor) -> Tensor:
        """Class indices (B,): the largest share, or of two classes the positive one from its threshold up."""
        if self.positive is None or self.target.threshold == 0.5:
            return probabilities.argmax(dim=-1)
        positive = probabilities[:, self.positive] >= self.target.threshold
        return torch.where(positive, self.positive, 1 - self.positive)

    def outputs(self) -> list[str]:
        """The classes."""
        return list(self.target.classes)

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Class indices, as they are."""
        return targets

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "prediction" (the class's name), "probability" (its share) and one share for each class."""
        probabilities = self.probabilities(network, batch).cpu()
        chosen = self.decide(probabilities)
        answers: dict[str, list[Any]] = {
            "prediction": [self.target.classes[i] for i in chosen.tolist()],
            "probability": probabilities.gather(1, chosen[:, None])[:, 0].tolist(),
        }
        columns = {f"p({name})": probabilities[:, k].tolist() for k, name in enumerate(self.target.classes)}
        return answers | columns


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better, whatever the network computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _class_weights(config: ClassifyConfig, target: ClassTarget) -> Tensor | None:
    if config.class_weight == "none":
        return None
    counts = torch.tensor(target.counts, dtype=torch.float32).clamp(min=1)
    return counts.sum() / (len(counts) * counts)
