"""Whether stated probabilities come true, and from which probability on the positive class is answered.

Source: Guo et al. 2017, arXiv:1706.04599 (reliability, temperature); thresholds are chosen on validation rows only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError, nearest
from chainrule.functional.metrics import (
    Curve,
    ReliabilityBins,
    brier,
    expected_calibration_error,
    nats,
    ranking,
    reliability_bins,
)

Array = NDArray[Any]
OBJECTIVES = ("accuracy", "balanced_accuracy", "macro_f1", "sensitivity_at_specificity")


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far stated probabilities are from what came true."""

    bins: ReliabilityBins  # two classes: of the positive one's probability; more: of the answered one's
    error: float  # expected calibration error of the answered class, 0 is best
    brier: float
    temperature: float  # logits divided by it would have had the least cross-entropy; above 1: too sure of itself


def calibration(probabilities: Array, targets: Array, positive: int | None = None, bins: int = 10) -> Calibration:
    """The reliability of probabilities (N K) against class indices. Nothing is changed, only reported."""
    if probabilities.shape[1] == 2:
        chosen = 1 if positive is None else positive
        table = reliability_bins(probabilities[:, chosen], targets == chosen, bins)
    else:
        table = reliability_bins(probabilities.max(1), probabilities.argmax(1) == targets, bins)
    error = expected_calibration_error(probabilities, targets)
    return Calibration(table, error, brier(probabilities, targets), best_temperature(probabilities, targets))


def best_temperature(probabilities: Array, targets: Array, max_rows: int = 20_000) -> float:
    """The temperature in [0.1, 10] with the least cross-entropy of softmax(log p / temperature).

    The cross-entropy is convex in 1 / temperature, so a golden-section search finds it. Of more than ``max_rows`` rows
    evenly spaced ones are used.
    """
    rows = np.linspace(0, len(targets) - 1, min(len(targets), max_rows)).astype(np.int64)
    log_p = np.log(np.maximum(probabilities[rows].astype(np.float64), 1e-30))
    chosen = targets[rows]

    def loss(inverse: float) -> float:
        scaled = np.exp(inverse * (log_p - log_p.max(1, keepdims=True)))
        return float(nats(scaled / scaled.sum(1, keepdims=True), chosen))

    ratio = (5**0.5 - 1) / 2
    low, high = 0.1, 10.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-3:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    return 2 / (low + high)


def choose_threshold(
    probabilities: Array,
    targets: Array,
    positive: int,
    objective: str = "balanced_accuracy",
    specificity: float = 0.95,
) -> float:
    """The probability of the positive class from which it is answered, best by ``objective`` on validation rows.

    "sensitivity_at_specificity" is the lowest threshold whose specificity is at least ``specificity``. Thresholds lie
    midway between neighbouring probabilities; of equally good ones the nearest to 0.5 is taken, and 0.5 itself where
    it answers the same. Where only one class occurs there is nothing to choose, and 0.5 stays.

    Raises:
        InputError: not two classes, or an objective that is not known.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"a threshold cannot be chosen by {objective!r}; {nearest(objective, OBJECTIVES)}")
    if probabilities.ndim != 2 or probabilities.shape[1] != 2:
        raise InputError(f"a threshold is chosen between two classes, got probabilities of shape {probabilities.shape}")
    scores, hits = probabilities[:, positive], targets == positive
    if hits.all() or not hits.any():
        return 0.5
    points = ranking(scores, hits).curve()
    values = np.append(points.thresholds[1:], 0).astype(scores.dtype)  # the last: everything is answered "positive"
    upper = np.append(np.ones(1, scores.dtype), values[:-1])
    middle = (upper + values) / 2
    thresholds = np.where(middle > values, middle, upper)  # of neighbouring floats the middle rounds to one of them
    value = _value(objective, points, specificity)
    value[0] = value[0] if values[0] < 1 else -np.inf  # nothing stands above a probability of 1
    best = np.flatnonzero(value >= value.max() - 1e-12)
    chosen = thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]]
    return 0.5 if np.array_equal(scores >= chosen, scores >= 0.5) else float(chosen)


def _value(objective: str, points: Curve, specificity: float) -> Array:
    """What is maximised, at each operating point."""
    tp, fp = points.tp, points.fp
    P, N = tp[-1], fp[-1]
    tn, fn = N - fp, P - tp
    values = {
        "accuracy": (tp + tn) / (P + N),
        "balanced_accuracy": (tp / P + tn / N) / 2,
        "macro_f1": (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn).clip(min=1)) / 2,
        "sensitivity_at_specificity": np.where(fp <= (1 - specificity) * N * (1 + 1e-12), tp / P, -1.0),
    }
    chosen: Array = values[objective]
    return chosen
