"""BLEU and chrF of a corpus from counts of its sentences, so that any choice or weighting of sentences can be scored.

Source: Papineni et al. 2002, doi:10.3115/1073083.1073135 (BLEU); Chen, Cherry 2014, W14-3346, method 3 (an order
without a match); Popovic 2015, W15-3049 (chrF, beta 2).
Reference: sacrebleu.corpus_bleu and corpus_chrf, compared in tests/parity/test_bleu.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ORDERS = 4  # of words, in BLEU
BLEU_COUNTS = 2 * ORDERS + 2  # matches of each order, n-grams of each order, words of the answer, words of the truth
LETTER_ORDERS = 6  # of characters, in chrF
CHRF_COUNTS = 3 * LETTER_ORDERS  # of each order n-grams of the answer, of the truth, and of both
BETA = 2  # how many times recall counts beside precision


def bleu(counts: Array) -> Array:
    """100 min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4) of summed counts (..., 10).

    p_n is the share of the answer's n-grams that stand in the truth, c and r are the words of answer and truth. The
    k-th order without a match has p_n = 1 / (2^k x its n-grams). No match at all, or an order without n-grams, is 0.

    Example:
        >>> round(float(bleu(np.array([4, 3, 2, 1, 5, 4, 3, 2, 5, 5]))), 2)
        66.87
    """
    counts = np.asarray(counts, dtype=np.float64)
    matches, grams = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    answer, truth = counts[..., -2], counts[..., -1]
    missing = np.cumsum((matches == 0) & (grams > 0), axis=-1)
    shares = np.where(matches > 0, matches, 0.5**missing) / np.where(grams > 0, grams, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.exp(np.minimum(0, 1 - truth / np.where(answer > 0, answer, 1)))
    whole = (grams > 0).all(-1) & (matches > 0).any(-1)
    score: Array = np.where(whole, 100 * brevity * np.exp(np.log(shares).mean(-1)), 0.0)
    return score


def chrf(counts: Array) -> Array:
    """100 (1 + b^2) P R / (b^2 P + R) of summed counts (..., 18): three for each order, as in ``CHRF_COUNTS``.

    P and R are the means over the orders that both sides have of the matches' share of the answer and of the truth.
    """
    table = np.asarray(counts, dtype=np.float64).reshape(*np.shape(counts)[:-1], LETTER_ORDERS, 3)
    answer, truth, both = (table[..., place] for place in range(3))
    there = (answer > 0) & (truth > 0)
    orders = np.maximum(1, there.sum(-1))
    precision, recall = (
        np.where(there, both / np.where(there, side, 1), 0).sum(-1) / orders for side in (answer, truth)
    )
    weighed = BETA**2 * precision + recall
    score: Array = 100 * (1 + BETA**2) * precision * recall / np.where(weighed > 0, weighed, 1)
    return score
