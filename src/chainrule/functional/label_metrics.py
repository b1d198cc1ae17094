"""Scores of answers with any number of labels a row, in plain numpy, each with its equation.

Source: Zhang, Zhou 2014, "A review on multi-label learning algorithms", doi:10.1109/TKDE.2013.39, section 2.2.
Reference: sklearn.metrics, compared in tests/unit/test_multilabel.py.
Differs: a macro average is taken over the labels that occur or were answered; average precision over those that occur.
``weights`` (... N) are multiplicities, as in functional/metrics.py.

Letters: ``N`` rows, ``K`` labels; ``tp``, ``fp``, ``fn`` count rows of one label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.functional.metrics import CURVE_CLASSES, Scorer, Weights, average_precision, ranking

Array = NDArray[Any]


def labels_scorer(probabilities: Array, targets: Array, threshold: float = 0.5) -> Scorer:
    """Every score of these rows (N K), as a function of weights; targets are 1 where a row has a label, otherwise 0.

    - macro_f1: mean over labels of 2 tp / (2 tp + fp + fn); micro_f1: the same of the sums over all labels
    - average_precision: mean over labels, up to 100 of them
    - exact: share of rows whose labels are all right
    - hamming: share of single answers that are wrong
    - nats: mean over rows of the cross-entropy summed over labels

    Raises:
        InputError: no rows, or probabilities and targets that do not belong together.
    """
    if probabilities.shape != targets.shape or not len(targets):
        raise InputError(
            f"expected as many answers as targets, one row or more, got {probabilities.shape} and {targets.shape}"
        )
    true, said = targets > 0.5, probabilities >= threshold
    parts = [part.astype(np.float64) for part in (true & said, ~true & said, true & ~said)]
    wrong = (true != said).astype(np.float64)
    p = np.clip(np.where(true, probabilities, 1 - probabilities).astype(np.float64), 1e-38, 1)
    rows = np.stack((-np.log(p).sum(1), (wrong == 0).all(1), wrong.mean(1)), 1)
    rankings = [ranking(np.ascontiguousarray(probabilities[:, k]), true[:, k]) for k in range(true.shape[1])]
    rankings = rankings if len(rankings) <= CURVE_CLASSES else []

    def score(weights: Weights = None) -> dict[str, Any]:
        mass = np.ones(len(true)) if weights is None else weights.astype(np.float64)
        tp, fp, fn = (mass @ part for part in parts)  # (... K)
        nats, exact, hamming = np.moveaxis(mass @ rows / mass.sum(-1)[..., None], -1, 0)
        scores = {
            "macro_f1": _mean_of_defined(_ratio(2 * tp, 2 * tp + fp + fn)),
            "micro_f1": _ratio(2 * tp.sum(-1), (2 * tp + fp + fn).sum(-1)),
            "exact": exact, "hamming": hamming, "nats": nats,
        }  # fmt: skip
        if rankings:
            areas = np.stack([average_precision(ranked.curve(weights)) for ranked in rankings], -1)
            scores["average_precision"] = _mean_of_defined(areas)
        return scores

    return score


def labels_scores(probabilities: Array, targets: Array, threshold: float = 0.5) -> dict[str, float]:
    """The scores of ``labels_scorer`` as floats; one that the rows do not define is left out.

    Example:
        >>> labels_scores(np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 0], [0, 1]]))["micro_f1"]
        0.8
    """
    scores = labels_scorer(probabilities, targets, threshold)(None)
    return {name: float(value) for name, value in scores.items() if name == "nats" or np.isfinite(value)}


def _mean_of_defined(values: Array) -> Any:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def _ratio(part: Array, whole: Array) -> Any:
    there = whole > 0
    return np.where(there, part / np.where(there, whole, 1), np.nan)[()]
