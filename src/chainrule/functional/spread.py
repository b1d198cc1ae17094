"""How points lie: a covariance that few points can bear, and the directions they spread in.

Source: shrinkage: Chen, Wiesel, Eldar, Hero 2010, doi:10.1109/TSP.2010.2053029, equation 23 (oracle approximating
    shrinkage); principal components: Pearson 1901, doi:10.1080/14786440109462720.
Reference: sklearn.covariance.OAS and sklearn.decomposition.PCA, compared in tests/parity/test_spread.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_SHRUNK, MOST_POINTS = 512, 1000


def shrunk_covariance(points: Floats) -> Floats:
    """(D, D) the covariance S of points (N, D), drawn towards mean(diag S) x I, the more so the fewer they are.

    Example:
        >>> shrunk_covariance(np.array([[1.0, 0.0], [-1.0, 0.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    N, D = points.shape
    centred = points - points.mean(0)
    covariance: Floats = centred.T @ centred / N
    level = float(np.trace(covariance)) / D
    squares = float((covariance**2).mean())
    below = (N + 1) * (squares - level**2 / D)
    share = 1.0 if below <= 0 else min(1.0, (squares + level**2) / below)
    shrunk: Floats = (1 - share) * covariance + share * level * np.eye(D)
    return shrunk


def spread_of(points: Floats, most: int) -> Floats:
    """(R, D) the matrix A by which standard normal numbers (R,) become spread like points (N, D), in up to ``most``
    directions: A^T A is the shrunk covariance, or beyond 512 numbers a point the plain one of at most 1,000 points.
    """
    N, D = points.shape
    if D > MOST_SHRUNK:
        few = points[np.linspace(0, N - 1, min(N, MOST_POINTS)).astype(np.int64)]
        _, sizes, directions = np.linalg.svd(few - few.mean(0), full_matrices=False)
        spread: Floats = (sizes / len(few) ** 0.5)[:, None] * directions
    else:
        values, vectors = np.linalg.eigh(shrunk_covariance(points))
        spread = (vectors * np.sqrt(values.clip(min=0))).T[::-1]
    return spread[:most].copy()


def principal_components(points: Floats, count: int = 2) -> tuple[Floats, Floats]:
    """Points (N, D) in the directions of their largest spread (N, count), and the share of all variance in each.

    Directions that there are not are 0; the sign is such that the largest weight of a direction is positive.
    """
    centred = points - points.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    taken = directions[:count]
    largest = np.abs(taken).argmax(1)
    taken = taken * np.sign(taken[np.arange(len(taken)), largest])[:, None]
    variance = sizes**2
    shares = variance[:count] / (variance.sum() or 1.0)
    missing = count - len(taken)
    return np.pad(centred @ taken.T, ((0, 0), (0, missing))), np.pad(shares, (0, missing))
