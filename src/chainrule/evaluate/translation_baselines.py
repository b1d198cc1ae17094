"""What methods without a network score for translation: the sentence copied, and a dictionary word by word.

Source: the dictionary is IBM model 1, Brown et al. 1993, J93-2003, section 4.1: how often words stand in each other's
sentences, made sharper by expectation maximisation. Word order stays as it is and nothing is tuned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.parallel.samples import ParallelSamples
from chainrule.data.parallel.schema import ParallelSchema
from chainrule.data.samples import Samples
from chainrule.data.tokens import words_of
from chainrule.evaluate.baselines import rows_within
from chainrule.tasks.text_overlap import bleu_counts, chrf_counts
from chainrule.tasks.translate import references_of

LEARNED = 30_000  # pairs of the train split
SCORED = 2_000  # sentences of the test split
ITERATIONS = 5
MOST_WORDS = 60  # of a sentence, that are looked at
SEEN = 1_000  # sentences that are read at once
Score = Callable[[dict[str, NDArray[Any]]], dict[str, float]]


def translation_baselines(train: Samples, test: Samples, schema: ParallelSchema, score: Score) -> list[dict[str, Any]]:
    """Each baseline: its "name", scores, "rows" it learned from, "seconds" and "note", as ``baselines`` gives them."""
    assert isinstance(train, ParallelSamples)
    assert isinstance(test, ParallelSamples)
    sources, truths = _texts(test, schema, rows_within(len(test), SCORED))
    learned = rows_within(len(train), LEARNED)
    note = f"scored on {len(truths):,} of {len(test):,} sentences" if len(truths) < len(test) else ""
    ways: list[tuple[str, int, Callable[[], list[str]]]] = [
        ("copy of the source", 0, lambda: sources),
        ("word-by-word dictionary", len(learned), lambda: _by_dictionary(*_texts(train, schema, learned), sources)),
    ]
    entries = []
    for name, rows, fit in ways:
        start = time.perf_counter()
        answers = fit()
        scores = score({"bleu": bleu_counts(answers, truths), "chrf": chrf_counts(answers, truths)})
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **scores, "rows": rows, "seconds": seconds, "note": note})
    return entries


def _texts(samples: ParallelSamples, schema: ParallelSchema, rows: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    """The sentences and their translations."""
    sources, truths = list[str](), list[str]()
    for part in torch.split(torch.from_numpy(rows), SEEN):
        batch = samples.batch(part)
        sources += [schema.source_tokens.decode(ids) for ids in batch.inputs[0].tolist()]
        truths += references_of(batch)
    return sources, truths


def _by_dictionary(learned: Sequence[str], truths: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Every word replaced by its likeliest translation; unknown ones are copied."""
    pairs = [(words_of(one), words_of(other)) for one, other in zip(learned, truths, strict=True)]
    found = dictionary(pairs)
    return [" ".join(found.get(word, word) for word in words_of(text)) for text in sources]


def dictionary(pairs: Sequence[tuple[Sequence[str], Sequence[str]]], iterations: int = ITERATIONS) -> dict[str, str]:
    """The likeliest translation of each word, by IBM model 1 with an empty word.

    Example:
        >>> found = dictionary([(["das", "Haus"], ["the", "house"]), (["das", "Buch"], ["the", "book"])])
        >>> found["das"], found["Buch"]
        ('the', 'book')
    """
    first, second = ({word: place for place, word in enumerate(_known(pairs, side), 1)} for side in (0, 1))
    left, right, moments, count = [], [], [], 0
    for ours, theirs in pairs:
        a = np.array([0, *(first[word] for word in ours[:MOST_WORDS])])  # 0 is the empty word
        b = np.array([second[word] for word in theirs[:MOST_WORDS]], dtype=np.int64)
        left.append(np.tile(a, len(b)))
        right.append(np.repeat(b, len(a)))
        moments.append(np.repeat(np.arange(count, count + len(b)), len(a)))
        count += len(b)
    width = len(second) + 1
    keys, place = np.unique(np.concatenate(left) * width + np.concatenate(right), return_inverse=True)
    moment, word = np.concatenate(moments), keys // width
    share: NDArray[Any] = np.ones(len(keys))
    for _ in range(iterations):
        each = share[place]
        each = each / np.bincount(moment, each)[moment]  # of a target word, to each source word beside it
        share = np.bincount(place, each)
        share = share / np.bincount(word, share)[word]
    best = np.lexsort((share, word))
    best = best[np.append(np.diff(word[best]) > 0, True)]
    ours, theirs = list(first), list(second)
    return {ours[w - 1]: theirs[t - 1] for w, t in zip(word[best], keys[best] % width, strict=True) if w}


def _known(pairs: Sequence[tuple[Sequence[str], Sequence[str]]], side: int) -> list[str]:
    return sorted({word for pair in pairs for word in pair[side][:MOST_WORDS]})
