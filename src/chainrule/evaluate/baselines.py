"""What a method without a network scores on the same rows: majority or mean, linear, gradient boosting.

Source: scikit-learn's DummyClassifier, LogisticRegression, Ridge and HistGradientBoosting, at fixed settings. They are
a yardstick, not a contest: nothing is tuned, the cost is bounded by the sizes, and every limit met is said in ``note``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Score = Callable[[Array, Array], dict[str, float]]  # probabilities (N K) or predictions (N,), targets -> metrics

MAX_ROWS = 50_000  # of the train split, drawn without replacement
MAX_VALUES = 20_000_000  # of the matrix the linear model sees: 160 megabytes in float64
MAX_COLUMNS = 5_000  # the ones that vary most
LINEAR_WORK = 2e10  # multiplications, a few seconds
BOOSTING_WORK = 4e8  # (rows + bins of all leaves) x columns x trees, a few seconds
TREE_BINS = 31 * 256  # leaves x bins
FEWEST_ROUNDS = 10
BOOSTING_COLUMNS = 300  # the first ones
MAX_CATEGORIES = 254  # per column, the limit of histogram boosting; rarer ones count as missing


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One split as the baselines see it. ``numbers`` and ``codes`` together are the raw table, for boosting."""

    targets: Array  # (N,) class indices, or numbers in their own unit
    vector: Array | None = None  # (N F) float, standardised and one-hot, for the linear model
    numbers: Array | None = None  # (N A) float, nan where missing
    codes: Array | None = None  # (N C) int, categories

    def select(self, rows: Array) -> Inputs:
        """These rows."""
        cut = [None if x is None else x[rows] for x in (self.vector, self.numbers, self.codes)]
        return Inputs(targets=self.targets[rows], vector=cut[0], numbers=cut[1], codes=cut[2])


def baselines(
    task: Literal["classify", "regress"],
    train: Inputs,
    test: Inputs,
    score: Score,
    num_classes: int = 0,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Fit each baseline on ``train`` and score it on ``test`` with the network's own score function.

    ``threads`` are boosting's; more than there are idle cores make it many times slower.

    Each entry has "name", the metrics, "rows" (train rows used), "seconds" and "note" ("" if there is nothing to say).
    A baseline that cannot be fitted on these data has its reason in "note" and no metrics.
    """
    rows = rows_within(len(train.targets), max_rows, seed)
    sampled = f"fitted on {len(rows):,} of {len(train.targets):,} rows" if len(rows) < len(train.targets) else ""
    train = train.select(rows) if sampled else train
    K = num_classes if task == "classify" else 0
    fits: list[tuple[str, Callable[[], tuple[Array, int, str]]]] = [
        ("majority class" if K else "mean", lambda: (_constant(train, test, K), len(rows), ""))
    ]
    varies = len(np.unique(train.targets)) > 1
    if varies and train.vector is not None and train.vector.shape[1]:
        fits.append(("logistic regression" if K else "ridge regression", lambda: _linear(train, test, K, seed)))
    if varies and (train.numbers is not None or train.codes is not None):
        fits.append(("gradient boosting", lambda: _boosting(train, test, K, seed, threads)))

    entries = []
    for name, fit in fits:
        start = time.perf_counter()
        try:
            outputs, used, note = fit()
            metrics = score(outputs, test.targets)
        except (ValueError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            metrics, used, note = {}, len(rows), f"could not be fitted: {error}"
        notes = "; ".join(part for part in (sampled, note) if part)
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **metrics, "rows": used, "seconds": seconds, "note": notes})
    return entries


def strongest(entries: Sequence[dict[str, Any]], metric: str, mode: Literal["min", "max"]) -> dict[str, Any] | None:
    """The baseline with the best value of ``metric``; None where none has one."""
    known = [entry for entry in entries if metric in entry and np.isfinite(entry[metric])]
    best = max if mode == "max" else min
    return best(known, key=lambda entry: float(entry[metric])) if known else None


def rows_within(count: int, limit: int, seed: int = 0) -> Array:
    """All row numbers, or ``limit`` of them drawn without replacement, in rising order."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _constant(train: Inputs, test: Inputs, K: int) -> Array:
    """The class shares of the train split, or its mean, for every row."""
    if not K:
        return np.full(len(test.targets), train.targets.mean())
    shares = np.bincount(train.targets, minlength=K) / len(train.targets)
    return np.tile(shares, (len(test.targets), 1))


def _linear(train: Inputs, test: Inputs, K: int, seed: int) -> tuple[Array, int, str]:
    """Logistic regression (L2, C = 1) or ridge (alpha = 1) on the vector."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    assert train.vector is not None
    assert test.vector is not None
    x, x_test, notes = *_widest(train.vector, test.vector), []
    if x.shape[1] < train.vector.shape[1]:
        notes.append(f"on the {x.shape[1]:,} of {train.vector.shape[1]:,} columns that vary most")
    rows = rows_within(len(x), max(1000, MAX_VALUES // x.shape[1]), seed)
    if len(rows) < len(x):
        notes.append(f"on {len(rows):,} rows")
    x, y = np.nan_to_num(x[rows].astype(np.float64)), train.targets[rows]
    x_test = np.nan_to_num(x_test.astype(np.float64))
    if not K:
        return Ridge(alpha=1.0).fit(x, y).predict(x_test), len(rows), "; ".join(notes)
    steps = int(np.clip(LINEAR_WORK / (x.size * 2 * K), 20, 300))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(max_iter=steps).fit(x, y)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        notes.append(f"stopped after {steps} iterations, before it had settled")
    return _all_classes(model, x_test, K), len(rows), "; ".join(notes)


def _boosting(train: Inputs, test: Inputs, K: int, seed: int, threads: int) -> tuple[Array, int, str]:
    """Histogram gradient boosting; missing numbers and categories as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    x, x_test, categorical = _raw_table(train, test)
    notes = []
    if x.shape[1] > BOOSTING_COLUMNS:
        x, x_test, categorical = (part[..., :BOOSTING_COLUMNS] for part in (x, x_test, categorical))
        notes.append(f"on the first {BOOSTING_COLUMNS:,} columns")
    histograms = x.shape[1] * (K if K > 2 else 1)  # of one round: a tree for each class, a histogram for each column
    affordable = int(BOOSTING_WORK / (FEWEST_ROUNDS * histograms)) - TREE_BINS
    if affordable < min(len(x), 1000):
        raise ValueError(f"{K} classes and {x.shape[1]} columns are too many for a quick fit")
    rows = rows_within(len(x), affordable, seed)
    if len(rows) < len(x):
        notes.append(f"on {len(rows):,} rows")
    x, y = x[rows], train.targets[rows]
    most = 200 if len(x) > 1000 else 100
    rounds = int(np.clip(BOOSTING_WORK / ((len(x) + TREE_BINS) * histograms), FEWEST_ROUNDS, most))
    if rounds < most:
        notes.append(f"stopped after {rounds} rounds")
    settings: dict[str, Any] = {
        "max_iter": rounds,
        "categorical_features": categorical,
        "min_samples_leaf": int(np.clip(len(x) // 20, 1, 20)),
        "early_stopping": len(x) > 10_000 and (not K or np.unique(y, return_counts=True)[1].min() > 1),
        "random_state": seed,
    }
    with threadpool_limits(threads, user_api="openmp"):
        if not K:
            outputs = HistGradientBoostingRegressor(**settings).fit(x, y).predict(x_test)
        else:
            outputs = _all_classes(HistGradientBoostingClassifier(**settings).fit(x, y), x_test, K)
    return outputs, len(x), "; ".join(notes)


def _all_classes(model: Any, x: Array, K: int) -> Array:
    """Probabilities (N K), 0 for classes that the train rows do not have."""
    probabilities = np.zeros((len(x), K))
    probabilities[:, model.classes_] = model.predict_proba(x)
    return probabilities


def _widest(train: Array, test: Array) -> tuple[Array, Array]:
    """At most ``MAX_COLUMNS`` columns, the ones with the largest variance on the train rows."""
    if train.shape[1] <= MAX_COLUMNS:
        return train, test
    keep = np.sort(np.argsort(-np.nan_to_num(train[:1000]).var(0), kind="stable")[:MAX_COLUMNS])
    return train[:, keep], test[:, keep]


def _raw_table(train: Inputs, test: Inputs) -> tuple[Array, Array, Array]:
    """Numbers and categories side by side (nan = missing), and which columns are categories."""
    parts: list[Array] = []
    test_parts: list[Array] = []
    categorical: list[bool] = []
    if train.numbers is not None and test.numbers is not None:
        filled = np.isfinite(train.numbers).any(0)
        for source, kept in ((train.numbers, parts), (test.numbers, test_parts)):
            kept.append(np.where(np.isfinite(source), source, np.nan)[:, filled].astype(np.float64))
        categorical += [False] * int(filled.sum())
    if train.codes is not None and test.codes is not None:
        for column in range(train.codes.shape[1]):
            values, counts = np.unique(train.codes[:, column], return_counts=True)
            common = np.sort(values[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]])
            parts.append(_ranked(train.codes[:, column], common)[:, None])
            test_parts.append(_ranked(test.codes[:, column], common)[:, None])
        categorical += [True] * train.codes.shape[1]
    return np.concatenate(parts, 1), np.concatenate(test_parts, 1), np.array(categorical)


def _ranked(codes: Array, common: Array) -> Array:
    """The place of each code among the common ones; nan for all others."""
    place = np.searchsorted(common, codes).clip(max=len(common) - 1)
    return np.where(common[place] == codes, place, np.nan)
