"""What goes into an index, block by block, and what far means in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError

Metric = Literal["cosine", "euclidean"]
Vectors = NDArray[np.float32]  # (N, D)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some rows of an index."""

    vectors: Vectors
    names: Sequence[str]
    labels: Sequence[str] | None = None  # "": not known
    marks: NDArray[np.uint64]  # (N,) equal for equal inputs


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Each vector divided by its length; one of length zero, which points nowhere, stays as it is.

    Example:
        >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def distances(vectors: Vectors, query: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    """How far each vector (N, D) is from a query (D,): minus the cosine, or the squared distance."""
    wide = vectors.astype(np.float64)
    if metric == "cosine":
        return np.asarray(
            -(wide * query).sum(axis=1)
        )  # no product of matrices: equal vectors have equal distances, wherever
    return np.asarray(np.square(wide - query).sum(axis=1))


def likeness(far: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Likenesses from distances, the higher the more alike: the cosine, or 1 / (1 + distance)."""
    if metric == "cosine":
        return np.clip(-far, -1.0, 1.0)
    return np.asarray(1 / (1 + np.sqrt(far)))


def check_finite(vectors: NDArray[np.floating], names: Sequence[str]) -> None:
    """Refuse vectors with numbers that are not finite, or whose squares are not: they are near to nothing.

    Raises:
        InputError: there is one; names its row.
    """
    with np.errstate(over="ignore"):
        good = np.isfinite(np.square(vectors, dtype=np.float32).sum(axis=1))
    if not good.all():
        bad = np.flatnonzero(~good)
        raise InputError(
            f"the embedding of {names[int(bad[0])]!r} has numbers that are not finite or far too large"
            f"{f', as those of {len(bad) - 1} others' if len(bad) > 1 else ''}; look at the input, or train again with "
            "a lower --lr"
        )
