"""Scores of telling people apart by the likeness of pairs of photos, and of finding one among others, in plain numpy.

Source: ISO/IEC 19795-1:2021 (false accept and false reject rates, rank-1 identification); Daugman 2000, "Biometric
decision landscapes", section 2 (decidability).
Reference: sklearn.metrics.roc_curve, compared in tests/unit/test_verify.py.
Differs: the equal error rate is read off the ROC curve with straight lines between its points. Of many rows some
pairs are drawn, by a seed.

Letters: ``N`` rows, ``D`` numbers in an embedding, ``P`` pairs; ``same`` pairs are of one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.functional.metrics import (
    Array,
    Curve,
    Ranking,
    Score,
    Scorer,
    Weights,
    ranking,
    roc_auc,
    sensitivity_at_specificity,
)

MOST_PAIRS = 100_000  # of one sort that are compared; all of them up to 447 rows
GALLERIES = 50  # draws of one photo of each person, over which identification is averaged
FALSE_ACCEPT = 0.01  # at which ``true_accept_at_1`` is read

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows with their likeness."""

    first: Ints  # (P,) rows
    second: Ints
    same: NDArray[np.bool_]
    likeness: Floats  # the cosine of both embeddings

    def ranked(self) -> Ranking:
        """The pairs from the most alike down; those of one person should stand on top."""
        return ranking(self.likeness, self.same)


@dataclass(frozen=True, slots=True)
class Operating:
    """A threshold with what it does: pairs of at least this likeness count as one person."""

    threshold: float
    false_accept: float  # share of pairs of two people that reach it
    false_reject: float  # share of pairs of one person that do not


def unit(embeddings: Array) -> Floats:
    """The same directions with length 1; zeros stay."""
    rows = embeddings.astype(np.float64)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))


def pairs_of(embeddings: Array, people: Array, most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """All pairs of rows; at most so many of one person and of two, drawn by ``seed`` where there are more.

    Example:
        >>> found = pairs_of(np.eye(3), np.array([7, 7, 8]))
        >>> found.first.tolist(), found.second.tolist(), found.same.tolist()
        ([0, 0, 1], [1, 2, 2], [True, False, False])
    """
    N = len(people)
    if most >= N * (N - 1) // 2:
        first, second = np.triu_indices(N, 1)
    else:
        generator = np.random.default_rng(seed)
        same, other = _same_pairs(people, most, generator), _other_pairs(people, most, generator)
        first, second = np.concatenate((same[0], other[0])), np.concatenate((same[1], other[1]))
    rows = unit(embeddings)
    likeness = np.einsum("pd,pd->p", rows[first], rows[second])
    return Pairs(first, second, people[first] == people[second], likeness)


def _same_pairs(people: Array, most: int, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of one person: each row with the next one of that person in a random order, the one after it, and on."""
    order = generator.permutation(len(people))
    order = order[np.argsort(people[order], kind="stable")]
    found: list[tuple[Ints, Ints]] = []
    count = 0
    for step in range(1, len(order)):
        together = np.flatnonzero(people[order[:-step]] == people[order[step:]])
        if not len(together) or count >= most:
            break
        found.append((order[together], order[together + step]))
        count += len(together)
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = (np.concatenate(side)[:most] for side in zip(*found, strict=True))
    return first, second


def _other_pairs(people: Array, most: int, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of two people, any pair as likely as another; some may come twice."""
    first, second = generator.integers(len(people), size=(2, 2 * most))
    apart = np.flatnonzero(people[first] != people[second])[:most]
    return first[apart], second[apart]


def equal_error_rate(points: Curve) -> Score:
    """The share of errors of either sort at the threshold where both shares are equal: EER = FAR = FRR.

    FAR = fp / pairs of two people, FRR = 1 - tp / pairs of one person; nan where there are no pairs of one sort.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        accepted = points.fp / points.fp[..., -1:]
        gap = accepted - (1 - points.tp / points.tp[..., -1:])  # rises from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(gap, at, -1)[..., 0] for at in (before, after))
    start, end = (np.take_along_axis(accepted, at, -1)[..., 0] for at in (before, after))
    share = np.where(high > low, -low / np.where(high > low, high - low, 1), 0)
    return (start + share * (end - start))[()]


def operating_point(pairs: Pairs, false_accept: float) -> Operating:
    """The lowest threshold at which at most this share of the pairs of two people count as one person.

    It lies half-way between the last likeness that is accepted and the next one.

    Example:
        >>> likeness = np.array([0.9, 0.7, 0.5, 0.1])
        >>> pairs = Pairs(np.arange(4), np.arange(4), np.array([True, True, False, False]), likeness)
        >>> operating_point(pairs, false_accept=0.4)
        Operating(threshold=0.6, false_accept=0.0, false_reject=0.0)
    """
    points = pairs.ranked().curve()
    place = int(np.flatnonzero(points.fp <= false_accept * points.fp[-1] * (1 + 1e-12))[-1])
    levels = points.thresholds
    above = float(levels[place]) if place else min(1.0, float(levels[1])) + 1e-6  # nobody is accepted
    below = float(levels[place + 1]) if place + 1 < len(levels) else -1.0
    threshold = (above + below) / 2 if place else above
    return at_threshold(pairs, round(threshold, 6) if above - below > 1e-4 else threshold)


def at_threshold(pairs: Pairs, threshold: float) -> Operating:
    """What a threshold does to these pairs; nan where there are none of one sort."""
    taken = pairs.likeness >= threshold
    same, other = int(pairs.same.sum()), int((~pairs.same).sum())
    return Operating(
        threshold,
        float(taken[~pairs.same].mean()) if other else float("nan"),
        float(1 - taken[pairs.same].mean()) if same else float("nan"),
    )


def identified(embeddings: Array, people: Array, draws: int = GALLERIES, seed: int = 0) -> Floats:
    """(N,) how often each row's most alike gallery photo is of its own person, where one of each person is drawn.

    A row does not count while it stands in the gallery itself; nan where it is the only one of its person.
    """
    rows, generator = unit(embeddings), np.random.default_rng(seed)
    codes = np.unique(people, return_inverse=True)[1].reshape(-1)
    right, asked = np.zeros(len(rows)), np.zeros(len(rows))
    for _ in range(draws):
        order = generator.permutation(len(rows))
        gallery = order[np.unique(codes[order], return_index=True)[1]]  # one of each person, in the order of codes
        others = np.setdiff1d(np.arange(len(rows)), gallery)
        right[others] += (rows[others] @ rows[gallery].T).argmax(1) == codes[others]
        asked[others] += 1
    alone = np.bincount(codes)[codes] == 1
    return np.where((asked > 0) & ~alone, right / np.maximum(asked, 1), np.nan)


def verification_scorer(embeddings: Array, people: Array, seed: int = 0) -> Scorer:
    """Every score of telling these people apart, as a function of weights per row, equal within a person.

    A person drawn twice counts as two people whose photos are never compared with each other's: pairs of one person
    weigh as often as that one was drawn, pairs of two people the product. The gallery stays whole.
    """
    pairs = pairs_of(embeddings, people, seed=seed)
    ranked = pairs.ranked()
    found = identified(embeddings, people, seed=seed)
    known = np.isfinite(found)

    def score(weights: Weights = None) -> dict[str, Score]:
        if weights is not None and weights.ndim > 1:  # a matrix of pairs would be larger than memory
            each = [score(row) for row in weights]
            return {name: np.array([one[name] for one in each]) for name in each[0]}
        mass = None
        if weights is not None:
            mass = weights[pairs.first] * np.where(pairs.same, 1.0, weights[pairs.second])
        points = ranked.curve(mass)
        return {
            "eer": equal_error_rate(points),
            "roc_auc": roc_auc(points),
            "true_accept_at_1": sensitivity_at_specificity(points, 1 - FALSE_ACCEPT),
            "identification": _mean(found[known], None if weights is None else weights[known]),
            "decidability": decidability(pairs, mass),
        }

    return score


def decidability(pairs: Pairs, weights: Weights = None) -> Score:
    """How far apart both sorts of pairs lie: |mean_same - mean_other| / sqrt((variance_same + variance_other) / 2)."""
    means, variances = [], []
    for kept in (pairs.same, ~pairs.same):
        mass = kept.astype(np.float64) if weights is None else weights * kept
        mean = _mean(pairs.likeness, mass)
        means.append(mean)
        variances.append(_mean((pairs.likeness - mean) ** 2, mass))
    spread = np.sqrt((variances[0] + variances[1]) / 2)
    return abs(means[0] - means[1]) / spread if spread > 0 else np.nan


def _mean(values: Array, weights: Weights) -> Any:
    """The mean by weights (N,); nan where they sum to 0."""
    total = len(values) if weights is None else weights.sum()
    if not total > 0:
        return np.nan
    return (values.sum() if weights is None else weights @ values) / total
