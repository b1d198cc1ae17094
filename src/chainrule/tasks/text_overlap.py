"""What an answer in words shares with the truth, counted as sacrebleu counts it; ``functional/bleu.py`` sums it up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.functional.bleu import BLEU_COUNTS, CHRF_COUNTS, LETTER_ORDERS

Counts = NDArray[np.int64]


def bleu_counts(answers: Sequence[str], truths: Sequence[str]) -> Counts:
    """(N, 10) of each sentence: matches and n-grams of one to four words, words of the answer and of the truth.

    Words are cut apart by sacrebleu's tokenizer 13a, capitals kept.
    """
    metric = _bleu()
    rows = np.zeros((len(answers), BLEU_COUNTS), dtype=np.int64)
    for row, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        found = metric.sentence_score(answer, [truth])
        rows[row] = (*found.counts, *found.totals, found.sys_len, found.ref_len)
    return rows


def chrf_counts(answers: Sequence[str], truths: Sequence[str]) -> Counts:
    """(N, 18) of each sentence: for one to six letters the n-grams of the answer, of the truth, and of both."""
    grams = _sacrebleu().metrics.helpers.extract_all_char_ngrams
    rows = np.zeros((len(answers), CHRF_COUNTS), dtype=np.int64)
    for row, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        sides = zip(grams(answer, LETTER_ORDERS), grams(truth, LETTER_ORDERS), strict=True)
        counts = [(mine.total() if theirs else 0, theirs.total(), (mine & theirs).total()) for mine, theirs in sides]
        rows[row] = np.array(counts).flatten()
    return rows


@cache
def _bleu() -> Any:
    return _sacrebleu().metrics.bleu.BLEU(tokenize="13a", effective_order=True)  # counts are the same without


def _sacrebleu() -> Any:
    """The package sacrebleu."""
    try:
        import sacrebleu.metrics.bleu
        import sacrebleu.metrics.helpers
    except ImportError as error:
        raise InputError("scores of translations need sacrebleu; install it with: pip install sacrebleu") from error
    return sacrebleu
