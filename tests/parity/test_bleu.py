"""BLEU and chrF from summed counts equal sacrebleu's, for whole corpora and for any weighting of their sentences."""

from __future__ import annotations

import random

import numpy as np
import pytest

from chainrule.functional.bleu import bleu, chrf
from chainrule.tasks.text_overlap import bleu_counts, chrf_counts

sacrebleu = pytest.importorskip("sacrebleu")

TEXT = "A man, in an orange hat isn't starring (at) something: 3.50 $ of Löwe's “naïve” — well-being & 猫 😀 ."
EXACT = 1e-9  # of scores up to 100: the same sums in another order


def corpora() -> dict[str, tuple[list[str], list[str]]]:
    draw = random.Random(0)

    def sentence(longest: int) -> str:
        return " ".join(draw.choices(TEXT.split(), k=draw.randint(1, longest)))

    truths = [sentence(20) for _ in range(60)]
    near = [" ".join(word for word in truth.split() if draw.random() < 0.8) for truth in truths]
    return {
        "near": (near, truths),
        "unrelated": ([sentence(12) for _ in truths], truths),
        "too long": ([f"{truth} {sentence(5)}" for truth in truths], truths),
        "equal": (truths, truths),
        "empty answers": (["" for _ in truths], truths),
        "nothing in common": (["zzz yyy xxx www" for _ in truths], ["a b c d e" for _ in truths]),
        "words alone": (["cat", "dog ran"], ["cat", "dog"]),
        "no word of four in a row": (["a b x c d y e f"], ["a b z c d w e f"]),
        "spaces at the ends": ([" a dog .  ", "  "], ["a dog .", "a cat  "]),
    }


@pytest.mark.parametrize("name", list(corpora()))
def test_a_corpus_scores_as_sacrebleu_says(name: str) -> None:
    answers, truths = corpora()[name]
    ours = float(bleu(bleu_counts(answers, truths).sum(0)))
    assert abs(ours - sacrebleu.corpus_bleu(answers, [truths]).score) < EXACT
    ours = float(chrf(chrf_counts(answers, truths).sum(0)))
    assert abs(ours - sacrebleu.corpus_chrf(answers, [truths]).score) < EXACT


def test_weights_are_repeated_sentences() -> None:
    answers, truths = corpora()["near"]
    weights = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, size=5)
    words, letters = weights @ bleu_counts(answers, truths), weights @ chrf_counts(answers, truths)
    for row, times in enumerate(weights):
        chosen = np.repeat(np.arange(60), times)
        drawn = [answers[i] for i in chosen], [[truths[i] for i in chosen]]
        assert abs(bleu(words)[row] - sacrebleu.corpus_bleu(*drawn).score) < EXACT
        assert abs(chrf(letters)[row] - sacrebleu.corpus_chrf(*drawn).score) < EXACT
