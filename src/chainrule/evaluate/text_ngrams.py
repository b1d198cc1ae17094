"""What counting scores on a text: how often each token comes, and what followed the last four.

Source: interpolated Kneser-Ney smoothing as in Chen, Goodman 1999, doi:10.1006/csla.1999.0128, equation 18, with one
discount for each order, n1 / (n1 + 2 n2) (equation 15). With c(hw) how often token w followed context h, and at lower
orders the number of different tokens that precede hw instead:

    p(w|h) = max(c(hw) - D, 0) / c(h) + D N(h) / c(h) p(w|h'),  N(h) = number of different tokens after h,

h' being h without its first token; a context that was never seen leaves p(w|h'); below the single tokens stands 1 / V.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import Samples

Score = Callable[[dict[str, NDArray[Any]]], dict[str, float]]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ORDER = 5  # tokens of an n-gram
MOST_TOKENS = 5_000_000  # of the train split that are counted, and of the test split that are scored
LEAST_DISCOUNT = 0.1  # where no n-gram came once, so that unseen ones keep a share
LARGEST = 2**62  # of a number that stands for an n-gram


@dataclass(frozen=True)
class Counted:
    """One order: its n-grams as sorted numbers, with what the equation asks of each of them and of its context."""

    grams: Ints  # w_1 V^(n - 1) + ... + w_n
    counts: Ints
    contexts: Ints  # w_1 V^(n - 2) + ... + w_(n - 1)
    totals: Ints  # c(h)
    kinds: Ints  # N(h)
    discount: float

    @staticmethod
    def of(grams: Ints, counts: Ints, vocab_size: int) -> Counted:
        """The table of these sorted n-grams."""
        contexts, starts = np.unique(grams // vocab_size, return_index=True)
        once, twice = (int((counts == number).sum()) for number in (1, 2))
        discount = once / (once + 2 * twice) if once else LEAST_DISCOUNT
        kinds = np.diff(np.append(starts, len(grams)))
        return Counted(grams, counts, contexts, np.add.reduceat(counts, starts), kinds, discount)

    def mix(self, asked: Ints, vocab_size: int, lower: Floats) -> Floats:
        """p(w|h) of the n-grams asked for, from p(w|h') ``lower``."""
        counts = _looked_up(self.grams, self.counts, asked)
        totals = _looked_up(self.contexts, self.totals, asked // vocab_size)
        kinds = _looked_up(self.contexts, self.kinds, asked // vocab_size)
        seen = np.maximum(1, totals)
        mixed = (np.maximum(counts - self.discount, 0) + self.discount * kinds * lower) / seen
        return np.where(totals > 0, mixed, lower)


def _looked_up(keys: Ints, values: Ints, asked: Ints) -> Ints:
    """The value of each key asked for; 0 where there is none."""
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[places] == asked, values[places], 0)


def ngrams_of(tokens: Ints, order: int, vocab_size: int) -> Ints:
    """Every run of ``order`` tokens as a number, by its last token's place."""
    count = len(tokens) - order + 1
    grams = np.zeros(max(0, count), dtype=np.int64)
    for place in range(order):
        grams = grams * vocab_size + tokens[place : place + count]
    return grams


class KneserNey:
    """Interpolated Kneser-Ney estimates of the next token, from one row of tokens."""

    def __init__(self, tokens: Ints, order: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        grams, counts = np.unique(ngrams_of(tokens, order, vocab_size), return_counts=True)
        self.orders: list[Counted] = [Counted.of(grams, counts, vocab_size)]
        for size in range(order - 1, 0, -1):  # each n-gram as often as different tokens precede it
            grams, counts = np.unique(grams % vocab_size**size, return_counts=True)
            self.orders.insert(0, Counted.of(grams, counts, vocab_size))

    def probabilities(self, tokens: Ints) -> Floats:
        """p of each token but the first from those before it; near the start from the shorter contexts there are."""
        found = np.full(len(tokens), 1 / self.vocab_size)
        for order, counted in enumerate(self.orders, 1):
            asked = ngrams_of(tokens, order, self.vocab_size)
            if len(asked):
                found[order - 1 :] = counted.mix(asked, self.vocab_size, found[order - 1 :])
        return found[1:]


def text_baselines(train: Samples, test: Samples, score: Score) -> list[dict[str, Any]]:
    """Single tokens and n-grams: "name", scores, "rows" they learned from, "seconds" and "note"."""
    from chainrule.data.corpus.samples import CorpusSamples

    assert isinstance(train, CorpusSamples)
    assert isinstance(test, CorpusSamples)
    vocab_size = len(train.sizes)
    learned, asked = (samples.tokens[: min(samples.num_tokens, MOST_TOKENS) + 1] for samples in (train, test))
    longest = max(2, next(n for n in range(ORDER, 0, -1) if vocab_size**n < LARGEST))
    notes = [f"of {name}" for s, name in ((train, "train"), (test, "test")) if s.num_tokens > MOST_TOKENS]
    note = f"the first {MOST_TOKENS:,} tokens {' and '.join(notes)}" if notes else ""
    entries = []
    for order, name in ((1, "single tokens"), (longest, f"{longest}-grams, Kneser-Ney")):
        start = time.perf_counter()
        shares = KneserNey(learned.astype(np.int64), order, vocab_size).probabilities(asked.astype(np.int64))
        rows = _rows(-np.log(shares), test.sizes[asked[1:]], test.window)
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **score(rows), "rows": len(train), "seconds": seconds, "note": note})
    return entries


def _rows(nats: Floats, sizes: Ints, window: int) -> dict[str, NDArray[Any]]:
    """Sums of every window, as a language task measures them."""
    starts = np.arange(0, len(nats), window)
    sums = {"nats": nats, "tokens": np.ones_like(nats), "characters": sizes[:, 0], "bytes": sizes[:, 1]}
    return {name: np.add.reduceat(values, starts) for name, values in sums.items()}
