"""How strange a row is, and the score from which one is called an anomaly.

Source: the distance of a code beside the error of what is built from it: Denouden, Salay, Czarnecki, Abdelzad, Phan,
    Vernekar 2018, arXiv:1812.02765, section 3; nats less those that the input would cost itself, as grey pixels are
    dear however well they are built: Serrà et al. 2019, arXiv:1909.11480, section 3; order statistics: David, Nagaraja
    2003, Order Statistics, section 2.1.
Reference: torch.distributions, scipy.spatial and scipy.stats, compared in tests/unit/test_anomalies.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chainrule.functional.metrics import Weights
from chainrule.functional.spread import shrunk_covariance

Floats = NDArray[np.float64]


def bernoulli_divergence(logits: Tensor, truth: Tensor) -> Tensor:
    """KL(truth || sigmoid(logits)): what shares of white cost, less what they cost where they are known exactly.

    Example:
        >>> bernoulli_divergence(torch.zeros(2), torch.tensor([0.5, 1.0])).tolist()
        [0.0, 0.6931471824645996]
    """
    own = torch.special.entr(truth) + torch.special.entr(1 - truth)
    nats: Tensor = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    beyond: Tensor = nats - own
    return beyond.clamp(min=0)


def precision_of(points: Floats) -> Floats:
    """(D, D) the inverse of the (shrunk) covariance of points (N, D); 0 in a direction in which none differs."""
    return np.asarray(np.linalg.pinv(shrunk_covariance(points), hermitian=True), dtype=np.float64)


def distance(
    points: Float[Tensor, "N D"], mean: Float[Tensor, " D"], precision: Float[Tensor, "D D"]
) -> Float[Tensor, " N"]:
    """The squared Mahalanobis distance (c - m)' P (c - m) / D: 1 on average of the points that it was fitted to."""
    away = points - mean
    return torch.einsum("nd,de,ne->n", away, precision, away) / points.shape[1]


def usual_misfit(sums: Floats, known: Floats, least: float = 0.01) -> Floats:
    """(F,) what a number of each column usually misses, from sums over rows (N, F) and how many were known.

    None is taken for less than ``least`` of the mean: a column that is built exactly is no reason for alarm by itself.
    """
    counted = known.sum(0)
    usual = sums.sum(0) / np.maximum(counted, 1)
    found: Floats = np.maximum(usual, least * usual.mean())
    return np.where(found > 0, found, 1.0)


def threshold_of(scores: Floats, share: float) -> float:
    """The score from which rows like these are called anomalies with a chance of at most ``share``.

    It is the k-th highest, k = share x (N + 1) rounded down; of fewer rows than 1 / share - 1 the highest one.
    """
    ranked = np.sort(scores)[::-1]
    return max(float(ranked[called_of(len(ranked), share) - 1]), math.ulp(0.0))


def called_of(rows: int, share: float) -> int:
    """How many of the rows that a threshold is set by reach it."""
    return max(1, min(rows, math.floor(share * (rows + 1) + 1e-9)))


def false_alarm_bounds(rows: int, share: float, level: float = 0.95) -> tuple[float, float]:
    """Between which shares the false alarms of ``threshold_of`` lie, set by so many rows that are like those to come.

    The share above the k-th highest of N scores follows Beta(k, N - k + 1), whatever the scores are.

    Example:
        >>> low, high = false_alarm_bounds(19, 0.05)
        >>> f"{low:.4f} {high:.4f}"
        '0.0013 0.1765'
    """
    from scipy.special import betaincinv  # its import takes a quarter of a second

    called = called_of(rows, share)
    low, high = betaincinv(called, rows - called + 1, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def mean_of(values: NDArray[Any], weights: Weights) -> Any:
    """The mean of values (N,) by weights (..., N)."""
    return values.mean() if weights is None else (weights @ values) / weights.sum(-1)


def share_of(called: NDArray[np.bool_], among: NDArray[np.bool_], weights: Weights) -> Any:
    """The share of rows that are called, among some."""
    kept = among.astype(np.float64) if weights is None else weights * among
    total = kept.sum(-1)
    return np.where(total > 0, (kept * called).sum(-1) / np.maximum(total, 1), np.nan)  # a draw may have none of them
