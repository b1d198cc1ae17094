"""Scores of look-alike search: each row asks for the rows that are nearest to it among all others.

Source: precision and average precision of a ranking: Manning, Raghavan, Schuetze 2008, "Introduction to information
retrieval", section 8.4; alignment and uniformity: Wang, Isola 2020, arXiv:2005.10242, equations 2 and 3.
Reference: sklearn.metrics.average_precision_score and sklearn.neighbors, compared in tests/unit/test_retrieval.py.
Differs: a class with fewer than k other rows is asked for as many as it has, so that 1 can be reached; a row without
another one of its class does not ask. Beyond ``MOST_ROWS`` rows a random part stands for all, and average precision,
which has to rank every row, is taken over ``MOST_RANKED`` of the questions.

Letters: ``N`` rows, ``D`` numbers in a place. Nearness is the cosine. Work is done in blocks of questions, so that
memory grows with N alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Weights = NDArray[Any] | None

MOST_ROWS = 10_000  # that are compared with each other
MOST_RANKED = 2_000  # questions whose whole ranking is looked at
MOST_PAIRED = 2_000  # rows whose altered versions are compared
BLOCK = 512  # questions at once


def some_of(count: int, most: int, seed: int = 0) -> Array:
    """All row numbers, or ``most`` of them drawn without replacement, in rising order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def unit(places: Array) -> Tensor:
    """Places of length 1, as float32."""
    return F.normalize(torch.from_numpy(np.asarray(places, dtype=np.float32)), dim=1)


def nearest(places: Array, asked: Array, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(Q, k) the rows nearest to the rows ``asked`` among all others, the nearest first, and their cosines.

    Example:
        >>> rows, cosines = nearest(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]), np.array([0]), 2)
        >>> rows.tolist()
        [[2, 1]]
    """
    all_places = unit(places)
    k = min(k, len(all_places) - 1)
    found = [_others(all_places, part).topk(k, dim=1) for part in torch.split(torch.from_numpy(asked), BLOCK)]
    if not found:
        return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
    return torch.cat([top.indices for top in found]).numpy(), torch.cat([top.values for top in found]).numpy()


def _others(places: Tensor, asked: Tensor) -> Tensor:
    """(Q, N) cosines of rows asked with all rows; with themselves minus infinity."""
    cosines = places[asked] @ places.T
    cosines[torch.arange(len(asked)), asked] = -torch.inf
    return cosines


def precisions(places: Array, targets: Array, k: int = 10) -> dict[str, NDArray[np.float64]]:
    """Of each row (N,) "precision_at_1", "precision_at_k" and "average_precision"; nan where it does not ask.

    precision_at_k is the share of rows of the same class among the k nearest, average precision the mean over the rows
    of the class, from the nearest on, of i / rank of the i-th one. Equal cosines are one rank, the last of them.

    Example:
        >>> found = precisions(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]), np.array([0, 1, 0]), k=1)
        >>> found["precision_at_1"].tolist(), found["average_precision"].tolist()
        ([1.0, nan, 1.0], [1.0, nan, 1.0])
    """
    N = len(targets)
    chosen = some_of(N, MOST_ROWS)
    labels = targets[chosen]
    _, class_of, count = np.unique(labels, return_inverse=True, return_counts=True)
    others = count[class_of] - 1  # of the same class
    asking = np.flatnonzero(others)
    seen, _ = nearest(places[chosen], asking, k)
    same = labels[seen] == labels[asking, None]
    wanted = np.minimum(k, others[asking])
    counted = same & (np.arange(same.shape[1]) < wanted[:, None])
    found = {name: np.full(N, np.nan) for name in ("precision_at_1", f"precision_at_{k}", "average_precision")}
    found["precision_at_1"][chosen[asking]] = same[:, 0] if len(asking) else 0.0
    found[f"precision_at_{k}"][chosen[asking]] = counted.sum(1) / wanted
    ranked = asking[some_of(len(asking), MOST_RANKED)]
    found["average_precision"][chosen[ranked]] = _average_precisions(unit(places[chosen]), labels, ranked)
    return found


def _average_precisions(places: Tensor, labels: Array, asked: Array) -> NDArray[np.float64]:
    found = []
    for part in torch.split(torch.from_numpy(asked), BLOCK):
        cosines = _others(places, part).numpy()
        for row, values in zip(part.tolist(), cosines, strict=True):
            relevant = labels == labels[row]
            relevant[row] = False
            ranked = np.sort(values)
            hits = np.sort(values[relevant])
            ranks = len(ranked) - np.searchsorted(ranked, hits)  # rows at least as near as each hit
            found.append(((len(hits) - np.searchsorted(hits, hits)) / ranks).mean())
    return np.array(found)


def versions(
    places: Array, altered: Array, projected: Array, projected_altered: Array, temperature: float
) -> dict[str, NDArray[np.float64]]:
    """Of each row (N,), nan where it is not among those compared, what needs no labels but an altered version of it.

    "found_again": 1 where the row nearest to the altered version is the row itself. "alignment": the squared distance
    of both. "closeness": the mean over the other rows of exp(-2 squared distance). "nt_xent": the mean of both terms of
    equation 1 of arXiv:2002.05709, between the projections of all rows compared and of their altered versions.
    """
    N = len(places)
    chosen = some_of(N, MOST_PAIRED)
    here, there = unit(places[chosen]), unit(altered[chosen])
    z, z_altered = unit(projected[chosen]), unit(projected_altered[chosen])
    parts: list[dict[str, Tensor]] = []
    for asked in torch.split(torch.arange(len(chosen)), BLOCK):
        cosines = _others(here, asked)
        others = max(1, len(chosen) - 1)
        parts.append({
            "found_again": ((there[asked] @ here.T).argmax(1) == asked).double(),
            "alignment": (here[asked] - there[asked]).double().square().sum(1),
            "closeness": (4 * (cosines.double() - 1)).exp().sum(1) / others,
            "nt_xent": _nt_xent(z, z_altered, asked, temperature),
        })  # fmt: skip
    found = {name: np.full(N, np.nan) for name in parts[0]} if parts else {}
    for name, values in found.items():
        values[chosen] = torch.cat([part[name] for part in parts]).numpy()
    return found


def _nt_xent(first: Tensor, second: Tensor, asked: Tensor, temperature: float) -> Tensor:
    """The mean of both versions' terms."""
    own = (first[asked] * second[asked]).sum(1) / temperature
    terms = []
    for one, other in ((first, second), (second, first)):
        logits = torch.cat((_others(one, asked), one[asked] @ other.T), dim=1) / temperature
        terms.append(logits.logsumexp(1) - own)
    return torch.stack(terms).double().mean(0)


def mean_of(values: Array, weights: Weights) -> Any:
    """The mean of values (N,) that are known, by weights (..., N); nan where none is."""
    known = np.isfinite(values)
    weights = known.astype(np.float64) if weights is None else weights * known
    total = weights.sum(-1)
    return np.where(total > 0, (weights @ np.where(known, values, 0.0)) / np.where(total > 0, total, 1), np.nan)[()]
