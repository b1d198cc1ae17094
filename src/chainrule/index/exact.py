"""Exact nearest neighbours, block by block, of vectors that may lie on the disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.index.blocks import Metric, Vectors, distances

BLOCK_BYTES = 8 << 20  # of vectors that are looked at together
HALF_ULP = 2.0**-24  # of float32: the largest relative error of one rounding


def nearest(
    vectors: Vectors, squares: NDArray[np.float32], longest: float, query: NDArray[np.float32], k: int,
    metric: Metric,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
    """The rows of the k vectors nearest to ``query`` with their distances, nearest first, equals by their row.

    Products in float32 find every row that may be among them, by the bound on its rounding errors; those few are
    measured again in float64. So the answer does not depend on blocks, threads or the order of sums.

    Args:
        vectors: (N, D), of length 1 or 0 for the cosine.
        squares, longest: (N,) squared lengths, and the length of the longest.
        query: (D,)
    """
    N, D = vectors.shape
    k = min(k, N)
    error = 2 * (D + 4) * HALF_ULP * longest * (longest + 2 * float(np.linalg.norm(query)))
    rows, far = np.empty(0, dtype=np.int64), np.empty(0)
    step = max(k, BLOCK_BYTES // (4 * D))
    own = float(np.square(query.astype(np.float64)).sum())
    for start in range(0, N, step):
        near = _near(vectors[start : start + step], squares[start : start + step], query, metric)
        shift = 0.0 if metric == "cosine" else own
        limit = far[-1] - shift if len(rows) == k else float(np.partition(near, k - 1)[k - 1]) + error
        found = np.flatnonzero(near <= limit + error)
        if len(found):
            rows = np.concatenate((rows, found + start))
            far = np.concatenate((far, distances(vectors[found + start], query, metric)))
            kept = np.lexsort((rows, far))[:k]
            rows, far = rows[kept], far[kept]
    return rows, far


def _near(
    vectors: Vectors, squares: NDArray[np.float32], query: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Distances in float32, the squared ones without the query's own square."""
    # As fast as memory gives the vectors; the threads of a BLAS would wait for each other on a busy machine.
    products: NDArray[np.float32] = np.einsum("nd,d->n", vectors, query)
    return -products if metric == "cosine" else squares - 2 * products
