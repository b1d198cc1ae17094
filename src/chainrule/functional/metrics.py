"""Scores of answers, in plain numpy, each with its equation.

Source: Fawcett 2006, "An introduction to ROC analysis" (curves); Davis and Goadrich 2006 (average precision);
Guo et al. 2017, arXiv:1706.04599 (expected calibration error); Brier 1950.
Reference: sklearn.metrics, compared in tests/parity/test_metrics.py.
Differs: a score that a sample does not define (a curve with one class only) is nan without a warning, and a macro
average is taken over the classes that define it. ``weights`` (... N) are multiplicities, how often each row counts:
one vector gives one score, a matrix one score per bootstrap draw, from a single sort of the rows.

Letters: ``N`` rows, ``K`` classes; ``tp`` and ``fp`` count the positive and negative rows at or above a threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError

Array = NDArray[Any]
Weights = NDArray[Any] | None
Score = Any  # a float, or with a matrix of weights an array of one float per draw
Scorer = Callable[[Weights], dict[str, Score]]

CURVE_CLASSES = 100  # with more classes the scores leave the macro curves out: each one is a sort of all rows


def accuracy(targets: Array, predictions: Array, weights: Weights = None) -> Score:
    """The share of rows answered right: mean(prediction = target)."""
    return _mean((targets == predictions).astype(np.float64), weights)


def confusion_matrix(targets: Array, predictions: Array, num_classes: int) -> Array:
    """Counts (K K): entry [t, p] is how many rows of class t were answered with p."""
    cells = targets.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Per class (... K): rows answered right, rows answered with the class, rows of the class."""

    right: Array
    answered: Array
    support: Array

    @property
    def precision(self) -> Array:
        """tp / (tp + fp); nan for a class that was never answered."""
        return _ratio(self.right, self.answered)

    @property
    def recall(self) -> Array:
        """tp / (tp + fn); nan for a class without rows."""
        return _ratio(self.right, self.support)

    @property
    def f1(self) -> Array:
        """2 tp / (2 tp + fp + fn); nan for a class that neither occurs nor was answered."""
        return _ratio(2 * self.right, self.answered + self.support)


def class_counts(targets: Array, predictions: Array, num_classes: int, weights: Weights = None) -> ClassCounts:
    """What accuracy, recall, precision and F1 need to know, per class."""
    hits = targets == predictions
    if weights is None:
        count = [np.bincount(labels, minlength=num_classes) for labels in (targets[hits], predictions, targets)]
        return ClassCounts(*count)
    flat = weights.reshape(-1, len(targets))
    shape = (*weights.shape[:-1], num_classes)
    sums = [
        np.stack([np.bincount(labels, w, minlength=num_classes) for w in mass]).reshape(shape)
        for labels, mass in ((targets, flat * hits), (predictions, flat), (targets, flat))
    ]
    return ClassCounts(*sums)


def balanced_accuracy(counts: ClassCounts) -> Score:
    """The mean recall over the classes that occur."""
    return _mean_of_defined(counts.recall)


def macro_f1(counts: ClassCounts) -> Score:
    """The mean F1 over the classes that occur or were answered."""
    return _mean_of_defined(counts.f1)


@dataclass(frozen=True, slots=True)
class Curve:
    """Cumulative counts (... points) from the highest score down, one point per distinct score, starting at (0, 0)."""

    tp: Array
    fp: Array
    thresholds: Array  # rows with a score at or above it are answered "positive"; the first is infinite


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows sorted once by falling score; any number of weightings then share the order."""

    order: Array
    hits: Array  # 1 for positive rows, in this order
    ends: Array  # the last place of each run of equal scores
    thresholds: Array

    def curve(self, weights: Weights = None) -> Curve:
        """Every operating point, equal scores taken together."""
        mass = np.ones(len(self.order)) if weights is None else weights[..., self.order].astype(np.float64)
        above, tp = np.cumsum(mass, -1), np.cumsum(mass * self.hits, -1)
        if len(self.ends) < len(self.order):
            above, tp = above[..., self.ends], tp[..., self.ends]
        start = np.zeros((*tp.shape[:-1], 1))
        return Curve(np.concatenate((start, tp), -1), np.concatenate((start, above - tp), -1), self.thresholds)


def ranking(scores: Array, positives: Array) -> Ranking:
    """The rows ranked by a score; ``positives`` (N) says which rows should stand on top."""
    order = np.argsort(-scores)
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(order) - 1)
    return Ranking(order, positives[order].astype(np.float64), ends, np.append(np.inf, ranked[ends]))


def roc_auc(points: Curve) -> Score:
    """The area under sensitivity over 1 - specificity: P(positive scored above negative) + P(equal) / 2."""
    area = (np.diff(points.fp) * (points.tp[..., 1:] + points.tp[..., :-1])).sum(-1) / 2
    return _ratio(area, points.tp[..., -1] * points.fp[..., -1])


def average_precision(points: Curve) -> Score:
    """sum_i (recall_i - recall_{i-1}) precision_i over falling thresholds, without interpolation."""
    tp = points.tp[..., 1:]
    precision = _ratio(tp, tp + points.fp[..., 1:], otherwise=0.0)
    return _ratio((np.diff(points.tp) * precision).sum(-1), tp[..., -1])


def sensitivity_at_specificity(points: Curve, specificity: float = 0.95) -> Score:
    """The largest sensitivity tp / P over the thresholds whose specificity 1 - fp / N is at least this."""
    limit = (1 - specificity) * points.fp[..., -1:] * (1 + 1e-12)  # 1 - 0.95 is not exact in binary
    sensitivity = _ratio(np.where(points.fp <= limit, points.tp, 0).max(-1), points.tp[..., -1])
    return np.where(points.fp[..., -1] > 0, sensitivity, np.nan)[()]


def nats(probabilities: Array, targets: Array, weights: Weights = None) -> Score:
    """The mean cross-entropy -ln p[target]; a probability of 0 counts as the smallest one of its type."""
    return _mean(_surprise(probabilities, targets), weights)


def brier(probabilities: Array, targets: Array) -> float:
    """mean_i sum_k (p_ik - [target_i = k])^2, halved for two classes, where both summands are equal."""
    p = probabilities.astype(np.float64)
    chosen = p[np.arange(len(targets)), targets]
    distance = (p**2).sum(1) - 2 * chosen + 1
    return float(distance.mean() / (2 if p.shape[1] == 2 else 1))


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Rows in bins of equal width over the stated probability: what was said, what came true, how many."""

    confidence: Array  # mean stated probability, nan in an empty bin
    share: Array  # share that came true, nan in an empty bin
    count: Array


def reliability_bins(confidence: Array, outcome: Array, bins: int = 15) -> ReliabilityBins:
    """Stated probabilities against outcomes (bool), in ``bins`` bins of equal width over [0, 1]."""
    stated = confidence.astype(np.float64)
    place = np.clip(np.ceil(stated * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are open below, closed above
    count = np.bincount(place, minlength=bins)
    said, came_true = (np.bincount(place, values, minlength=bins) for values in (stated, outcome))
    return ReliabilityBins(_ratio(said, count), _ratio(came_true, count), count)


def expected_calibration_error(probabilities: Array, targets: Array, bins: int = 15) -> float:
    """sum_b (n_b / N) |share_b - confidence_b| for the likeliest class."""
    table = reliability_bins(probabilities.max(1), probabilities.argmax(1) == targets, bins)
    filled = table.count > 0
    gap = np.abs(table.share - table.confidence)[filled]
    return float(np.dot(gap, table.count[filled]) / len(targets))


def answers(probabilities: Array, positive: int | None = None, threshold: float = 0.5) -> Array:
    """The answered classes: the likeliest, or of two classes the positive one from ``threshold`` on if not 0.5."""
    if probabilities.shape[1] != 2 or positive is None or threshold == 0.5:
        likeliest: Array = probabilities.argmax(1)
        return likeliest
    return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)


def classification_scorer(
    probabilities: Array, targets: Array, positive: int | None = None, threshold: float = 0.5
) -> Scorer:
    """Every classification score of these rows, as a function of weights; the rows are sorted once, here.

    Two classes: the curves speak of ``positive`` (class 1 unless stated), which is answered from ``threshold`` on; at
    0.5 the likelier class is answered, the first of equals. More classes: the curves are one against the rest, averaged
    over the classes, for up to 100 classes. A score that the rows do not define is nan.

    Raises:
        InputError: no rows, or probabilities and targets that do not belong together.
    """
    _check_rows(probabilities, targets)
    K = probabilities.shape[1]
    chosen = answers(probabilities, positive, threshold)
    surprise = _surprise(probabilities, targets)
    if K == 2:
        curved: list[int] = [1 if positive is None else positive]
    else:
        curved = list(range(K)) if 2 < K <= CURVE_CLASSES else []
    rankings = [ranking(np.ascontiguousarray(probabilities[:, label]), targets == label) for label in curved]

    def score(weights: Weights = None) -> dict[str, Score]:
        counts = class_counts(targets, chosen, K, weights)
        scores = {
            "accuracy": _ratio(counts.right.sum(-1), counts.support.sum(-1)),
            "balanced_accuracy": balanced_accuracy(counts),
            "macro_f1": macro_f1(counts),
            "nats": _mean(surprise, weights),
        }
        areas, precisions = [], []
        for ranked in rankings:
            points = ranked.curve(weights)
            areas.append(roc_auc(points))
            precisions.append(np.where(points.fp[..., -1] > 0, average_precision(points), np.nan))
            if K == 2:
                scores["sensitivity_at_specificity"] = sensitivity_at_specificity(points)
        if rankings:
            scores["roc_auc"] = _mean_of_defined(np.stack(areas, -1))
            scores["average_precision"] = _mean_of_defined(np.stack(precisions, -1))
        return scores

    return score


def classification_scores(
    probabilities: Array,
    targets: Array,
    positive: int | None = None,
    threshold: float = 0.5,
    weights: Weights = None,
) -> dict[str, float]:
    """The scores of ``classification_scorer``, as floats; one that the rows do not define is left out.

    Example:
        >>> scores = classification_scores(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 1]))
        >>> round(scores["accuracy"], 3), scores["roc_auc"]
        (0.667, 1.0)
    """
    return _plain(classification_scorer(probabilities, targets, positive, threshold)(weights))


def regression_scorer(predictions: Array, targets: Array) -> Scorer:
    """mse = mean (y - p)^2, rmse = its root, mae = mean |y - p|, r2 = 1 - mse / variance of y; a function of weights.

    ``r2`` is nan where the targets do not vary.

    Raises:
        InputError: no rows, or predictions and targets that do not belong together.
    """
    _check_rows(predictions, targets)
    y = targets.astype(np.float64)
    residual = y - predictions
    squared, absolute = residual**2, np.abs(residual)
    centred = y - np.median(y)  # so that the variance below does not cancel, and equal targets give exactly 0

    def score(weights: Weights = None) -> dict[str, Score]:
        mse = _mean(squared, weights)
        variance = _mean(centred**2, weights) - _mean(centred, weights) ** 2
        return {
            "mse": mse,
            "rmse": np.sqrt(mse),
            "mae": _mean(absolute, weights),
            "r2": 1 - _ratio(mse, variance),
        }

    return score


def regression_scores(predictions: Array, targets: Array, weights: Weights = None) -> dict[str, float]:
    """The scores of ``regression_scorer``, as floats; ``r2`` is left out where the targets do not vary."""
    return _plain(regression_scorer(predictions, targets)(weights))


def _surprise(probabilities: Array, targets: Array) -> Array:
    """-ln p[target] of each row."""
    chosen = probabilities[np.arange(len(targets)), targets]
    surprise: Array = -np.log(np.maximum(chosen, np.finfo(probabilities.dtype).tiny).astype(np.float64))
    return surprise


def _plain(scores: dict[str, Score]) -> dict[str, float]:
    """As floats, without the undefined ones; a diverged cross-entropy or error stays, so that it is seen."""
    optional = {"roc_auc", "average_precision", "sensitivity_at_specificity", "r2"}
    return {name: float(value) for name, value in scores.items() if name not in optional or np.isfinite(value)}


def _check_rows(outputs: Array, targets: Array) -> None:
    if len(outputs) != len(targets) or not len(targets):
        raise InputError(
            f"expected as many outputs as targets, one or more, got {len(outputs)} and {len(targets)}; "
            f"check that the split has rows and that its target column is filled"
        )


def _mean(values: Array, weights: Weights) -> Score:
    if weights is None:
        return values.mean()
    with np.errstate(invalid="ignore"):  # 0 times an infinite error of a diverged network
        return weights @ values / weights.sum(-1)


def _mean_of_defined(values: Array) -> Score:
    """The mean over the last axis without nan; nan where nothing is defined."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def _ratio(part: Array, whole: Array, otherwise: float = np.nan) -> Array:
    """part / whole, ``otherwise`` where the whole is not above 0."""
    positive = whole > 0
    quotient: Array = np.where(positive, part / np.where(positive, whole, 1), otherwise)[()]
    return quotient
