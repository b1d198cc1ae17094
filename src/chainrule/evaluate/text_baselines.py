"""What counting words scores on texts: the commonest answer, and logistic regression on TF-IDF.

Source: Salton, Buckley 1988, doi:10.1016/0306-4573(88)90021-0 (TF-IDF); Wang, Manning 2012, "Baselines and bigrams:
simple, good sentiment and topic classification" (pairs of words).
Reference: sklearn's TfidfVectorizer and LogisticRegression, which do the work.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.schema import ClassTarget, LabelsTarget, NumberTarget, Target
from chainrule.data.text.samples import TextSamples
from chainrule.data.tokens import words_of
from chainrule.evaluate.baselines import rows_within

Array = NDArray[Any]
Rows = dict[str, Array]
Score = Callable[[Rows], dict[str, float]]

MOST_TEXTS = 50_000  # of the train split that a baseline is fitted on
MOST_PAIRS = 200_000  # words and pairs of words that are counted
INVERSE_PENALTY = 10.0  # C: weak, as there are many rare words
STEPS = 300


def word_baselines(train: TextSamples, test: TextSamples, target: Target, score: Score) -> list[dict[str, Any]]:
    """Each with "name", the metrics on test, "rows", "seconds" and "note" ("" if there is nothing to say)."""
    assert train.targets is not None
    assert test.targets is not None
    rows = rows_within(len(train), MOST_TEXTS)
    note = f"fitted on {len(rows):,} of {len(train):,} texts" if len(rows) < len(train) else ""
    texts, targets = [train.texts[row] for row in rows.tolist()], train.targets.numpy()[rows]
    number = isinstance(target, NumberTarget)
    named = ("mean" if number else "majority class", f"TF-IDF + {'ridge' if number else 'logistic'} regression")
    fits: tuple[Callable[[], tuple[Array, str]], ...] = (
        lambda: (_constant(targets, len(test), target), ""),
        lambda: _linear(texts, targets, test.texts, target),
    )
    entries = []
    for name, fit in zip(named, fits, strict=True):
        start = time.perf_counter()
        try:
            outputs, said = fit()
            key = "predictions" if number else "probabilities"
            metrics = score({key: outputs, "targets": test.targets.numpy()})
        except (ValueError, ArithmeticError, MemoryError) as error:
            metrics, said = {}, f"could not be fitted: {error}"
        seconds = round(time.perf_counter() - start, 4)
        notes = "; ".join(filter(None, (note, said)))
        entries.append({"name": name, **metrics, "rows": len(rows), "seconds": seconds, "note": notes})
    return entries


def _constant(targets: Array, count: int, target: Target) -> Array:
    """The mean, or the shares of the classes or labels, for every row."""
    if isinstance(target, ClassTarget):
        shares = np.bincount(targets, minlength=len(target.classes)) / len(targets)
        return np.tile(shares, (count, 1))
    return np.tile(targets.mean(0), (count, 1)) if targets.ndim == 2 else np.full(count, targets.mean())


def _linear(texts: Sequence[str], targets: Array, test: Sequence[str], target: Target) -> tuple[Array, str]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(
        tokenizer=words_of, token_pattern=None, ngram_range=(1, 2), min_df=2 if len(texts) > 1000 else 1,
        max_features=MOST_PAIRS, sublinear_tf=True,
    )  # fmt: skip
    x, x_test = counted.fit_transform(texts), counted.transform(test)
    if isinstance(target, NumberTarget):
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1.0).fit(x, targets.astype(np.float64)).predict(x_test), ""
    if isinstance(target, LabelsTarget):
        columns = [_shares(x, targets[:, k] > 0.5, x_test, 2) for k in range(targets.shape[1])]
        return np.stack([shares[:, 1] for shares, _ in columns], 1), next((said for _, said in columns if said), "")
    assert isinstance(target, ClassTarget)
    return _shares(x, targets, x_test, len(target.classes))


def _shares(x: Any, targets: Array, x_test: Any, classes: int) -> tuple[Array, str]:
    """(N classes) probabilities, 0 for classes that the train rows do not have."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found = np.unique(targets).astype(int)
    shares = np.zeros((x_test.shape[0], classes))
    if len(found) == 1:
        shares[:, found[0]] = 1
        return shares, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=STEPS).fit(x, targets)
    shares[:, found] = model.predict_proba(x_test)
    settled = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return shares, "" if settled else f"stopped after {STEPS} iterations, before it had settled"
