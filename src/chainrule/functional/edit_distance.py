"""How far an answered text is from the true one: the fewest insertions, deletions and substitutions between them.

Source: Levenshtein 1966; Wagner, Fischer 1974, "The string-to-string correction problem", doi:10.1145/321796.321811,
section 4. Error rates of a corpus: the edits of all its texts divided by their characters (CER) or words (WER).
Reference: the recursion of the definition written plainly, tests/unit/test_ctc.py.
Differs: a score that no row defines is nan without a warning. ``weights`` (... N) are multiplicities of rows, as in
``metrics``: one vector gives one score, a matrix one score per bootstrap draw.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from chainrule.functional.metrics import Array, Score, Scorer, Weights


def edit_distance(answer: Sequence[Hashable], truth: Sequence[Hashable]) -> int:
    """The fewest single edits that turn one sequence into the other.

    Row i of the table D holds the distances between the first i items of ``answer`` and all beginnings of ``truth``:
    D[i, j] = min(D[i-1, j] + 1, D[i-1, j-1] + [answer_i != truth_j], D[i, j-1] + 1). The last of the three runs along
    the row, so D[i, j] - j is a running minimum.

    Example:
        >>> edit_distance("kitten", "sitting"), edit_distance(["two", "one"], ["one"])
        (3, 1)
    """
    codes: dict[Any, int] = {}
    first, second = ([codes.setdefault(item, len(codes)) for item in items] for items in (answer, truth))
    wanted, places = np.array(second, dtype=np.int64), np.arange(len(second) + 1)
    distances = places.copy()
    for number, item in enumerate(first, start=1):
        substituted = distances[:-1] + (wanted != item)
        row = np.minimum(distances + 1, np.concatenate(([number], substituted)))
        distances = np.minimum.accumulate(row - places) + places
    return int(distances[-1])


def transcript_scores(
    character_errors: Array, characters: Array, word_errors: Array, words: Array, nats: Array, weights: Weights = None
) -> dict[str, Score]:
    """The scores of ``transcript_scorer`` for these weights.

    Example:
        >>> scores = transcript_scores(*map(np.array, ([1, 0], [3, 5], [1, 0], [1, 2], [4.0, 4.0])))
        >>> {name: round(float(score), 3) for name, score in scores.items()}
        {'cer': 0.125, 'wer': 0.333, 'exact': 0.5, 'nats': 1.0}
    """
    return transcript_scorer(character_errors, characters, word_errors, words, nats)(weights)


def transcript_scorer(
    character_errors: Array, characters: Array, word_errors: Array, words: Array, nats: Array
) -> Scorer:
    """Every score of these texts, as a function of weights. All arguments are (N,).

    ``cer`` and ``wer`` are edits of all texts per character and per word of the true ones, and may exceed 1; ``exact``
    is the share of texts without an error; ``nats`` is -log p(text) per character over the texts where it is finite.
    """
    known = np.isfinite(nats)
    ratios = {
        "cer": (character_errors, characters),
        "wer": (word_errors, words),
        "exact": (character_errors == 0, np.ones(len(characters))),
        "nats": (np.where(known, nats, 0.0), np.where(known, characters, 0)),
    }

    def score(weights: Weights = None) -> dict[str, Score]:
        mass = np.ones(len(characters)) if weights is None else weights.astype(np.float64)
        return {name: _share(mass @ part, mass @ whole) for name, (part, whole) in ratios.items()}

    return score


def _share(part: Array, whole: Array) -> Score:
    """part / whole, nan where the whole is not above 0."""
    positive = whole > 0
    return np.where(positive, part / np.where(positive, whole, 1), np.nan)[()]
