"""How far a score would move on another sample of the same size: bootstrap intervals over rows or groups.

Source: Efron and Tibshirani 1993, ch. 13 (percentile bootstrap); Davison and Hinkley 1997, sec. 3.8 (whole groups are
drawn); Bickel, Goetze, van Zwet 1997 (draws from fewer rows, rescaled); Clopper and Pearson 1934 (nothing wrong seen).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tasks.task import Rows, resampled

Score = Callable[[Rows], dict[str, float]]
Scorer = Callable[[Any], dict[str, Any]]  # weights (draws N) -> each score (draws,)

SHARES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "average_precision",
    "sensitivity_at_specificity",
    "found",
    "clean_kept",
    "exact",
    "detected",
    "false_alarms",
    "token_accuracy",
    "identification",
    "true_accept_at_1",
    "eer",
)
CURVES = ("roc_auc", "average_precision")
FEWEST_DRAWS = 200  # the 2.5 % quantile then still has 5 draws beyond it
FEWEST_ROWS = 2000  # of a large sample, what one draw sees at least
WORK = 10_000_000  # values looked at in all draws together: about a second
CHUNK = 250_000  # weights held at once: two megabytes


def interval(
    score: Score,
    rows: Rows,
    groups: NDArray[Any] | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    prepare: Callable[[Rows], Scorer] | None = None,
) -> dict[str, tuple[float, float]]:
    """The percentile bootstrap interval of every metric of ``score(rows)``.

    With ``groups`` (N) whole groups are drawn. Large samples get fewer draws, then draws from a part of the rows whose
    spread is rescaled by sqrt(part / all); both depend on the sizes only, never on the clock. A share that is exactly
    0 or 1 gets the exact binomial bound instead of a point. A metric that most draws do not define is left out, and
    so is everything where there are fewer than two rows or groups.

    ``prepare(rows)`` gives the same scores for a matrix of multiplicities at once, such as
    ``metrics.classification_scorer``; without it each draw calls ``score`` on resampled rows.
    """
    N = len(next(iter(rows.values())))
    _, member = (N, np.arange(N)) if groups is None else np.unique(groups, return_inverse=True)
    units = int(member.max()) + 1 if N else 0
    if units < 2:
        return {}

    generator = np.random.default_rng(seed)
    values_per_row = sum(values.size for values in rows.values()) / N
    draws = int(np.clip(WORK / (N * values_per_row), min(FEWEST_DRAWS, draws), draws))
    share = min(1.0, max(FEWEST_ROWS, WORK / (draws * values_per_row)) / N)
    part, part_member, part_units = rows, member, units
    if share < 1:
        part_units = min(units, max(30, round(share * units)))
        chosen = np.sort(generator.choice(units, part_units, replace=False))
        keep = np.flatnonzero(np.isin(member, chosen))
        part, part_member = resampled(rows, keep), np.searchsorted(chosen, member[keep])

    scorer = _one_by_one(score, part) if prepare is None else prepare(part)
    table = _draw(scorer, part_member, part_units, draws, generator)
    whole = score(rows)
    return {
        name: _bounds(name, value, table[name], (part_units / units) ** 0.5, level, _doubtful(name, rows, units, N))
        for name, value in whole.items()
        if name in table and np.isfinite(table[name]).mean() > 0.5
    }


def _one_by_one(score: Score, rows: Rows) -> Scorer:
    """A scorer that calls ``score`` on the resampled rows of each draw."""

    def scorer(weights: NDArray[np.int64]) -> dict[str, Any]:
        scores = [score(resampled(rows, np.repeat(np.arange(len(w)), w))) for w in weights]
        names = {name for one in scores for name in one}
        return {name: np.array([one.get(name, np.nan) for one in scores]) for name in names}

    return scorer


def _draw(
    scorer: Scorer, member: NDArray[np.int64], units: int, draws: int, generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Each score of every draw of ``units`` groups with replacement; ``member`` is each row's group."""
    size = max(1, CHUNK // len(member))
    parts: list[dict[str, Any]] = []
    for start in range(0, draws, size):
        count = min(size, draws - start)
        chosen = generator.integers(units, size=(count, units))
        weights = np.stack([np.bincount(row, minlength=units) for row in chosen])
        parts.append(scorer(weights if len(member) == units else weights[:, member]))
    names = {name for part in parts for name in part}
    missing = [np.full(len(next(iter(part.values()))), np.nan) for part in parts]
    return {
        name: np.concatenate([part.get(name, gap) for part, gap in zip(parts, missing, strict=True)]) for name in names
    }


def _bounds(
    name: str, value: float, drawn: NDArray[np.float64], shrink: float, level: float, trials: int
) -> tuple[float, float]:
    """The quantiles of the draws, moved from the part's centre and spread to those of all rows."""
    tail = (1 - level) / 2
    if name in SHARES and value in (0.0, 1.0):
        lowest = tail ** (1 / trials)  # Clopper and Pearson, all of ``trials`` right
        return (lowest, 1.0) if value == 1.0 else (0.0, 1 - lowest)
    defined = drawn[np.isfinite(drawn)]
    low, high = np.quantile(defined, (tail, 1 - tail))
    if shrink < 1:
        centre = defined.mean()
        low, high = value + shrink * (low - centre), value + shrink * (high - centre)
    return float(min(low, value)), float(max(high, value))


def _doubtful(name: str, rows: Rows, units: int, N: int) -> int:
    """The independent trials a perfect share rests on: all of them, or for averages over classes the rarest class."""
    targets, present = rows.get("targets"), rows.get("present")
    if present is not None and name in ("found", "clean_kept"):
        return max(1, round(float((present == (name == "found")).sum()) * units / N))
    strange = rows.get("strange")
    if strange is not None and name in (*CURVES, "detected", "false_alarms"):
        kinds = (int(strange.sum()), int((~strange).sum()))
        counted = min(kinds) if name in CURVES else kinds[name == "false_alarms"]
        return max(1, round(counted * units / N))
    if name == "accuracy" or targets is None or not np.issubdtype(targets.dtype, np.integer):
        return units
    counts = np.unique(targets, return_counts=True)[1]
    return max(1, round(float(counts.min()) * units / N))
