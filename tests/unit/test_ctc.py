"""CTC's texts and error rates against the definitions written plainly: all paths, all edits."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from chainrule.functional.ctc import beam_search, best_path, collapse, ctc_nats, fits, needed_frames
from chainrule.functional.edit_distance import edit_distance, transcript_scorer, transcript_scores


def frames_of(T: int, K: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(2 * torch.randn(T, K, generator=generator, dtype=torch.float64), -1)


def all_texts(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """p(text) of every text, as the sum over every path."""
    T, K = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(K), repeat=T):
        p = float(torch.exp(sum(log_probs[t, c] for t, c in enumerate(path))))
        text = tuple(collapse(path))
        found[text] = found.get(text, 0.0) + p
    return found


def test_a_path_collapses_to_its_text() -> None:
    assert collapse([0, 1, 1, 0, 1, 2, 2, 0, 0]) == [1, 1, 2]
    assert collapse([0, 0]) == collapse([]) == []
    assert collapse([1, 2, 1]) == [1, 2, 1]


def test_the_fewest_frames_of_a_text() -> None:
    for text in product((1, 2), repeat=4):
        shortest = min(
            T for T in range(1, 8) if any(collapse(path) == list(text) for path in product(range(3), repeat=T))
        )
        assert needed_frames(text) == shortest
    texts = torch.tensor([[1, 1, 2], [1, 2, 0], [0, 0, 0]])
    assert fits(torch.tensor([3, 2, 0]), texts).tolist() == [False, True, True]
    assert fits(torch.tensor([4, 1, 0]), texts).tolist() == [True, False, True]


@pytest.mark.parametrize(("T", "K", "seed"), [(1, 3, 0), (4, 3, 1), (5, 3, 2), (6, 2, 3), (4, 4, 4)])
def test_a_wide_beam_gives_every_text_its_exact_probability(T: int, K: int, seed: int) -> None:
    log_probs = frames_of(T, K, seed)
    truth = all_texts(log_probs)
    found = beam_search(log_probs.numpy(), width=10_000)
    assert {one.text for one in found} == set(truth)
    for one in found:
        assert np.exp(one.log_prob) == pytest.approx(truth[one.text], rel=1e-12)
    assert found[0].text == max(truth, key=lambda text: truth[text])
    assert [one.log_prob for one in found] == sorted((one.log_prob for one in found), reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_never_claims_more_than_there_is(seed: int) -> None:
    log_probs = frames_of(5, 3, seed)
    truth = all_texts(log_probs)
    for one in beam_search(log_probs.numpy(), width=3, least=0.05):
        assert np.exp(one.log_prob) <= truth[one.text] + 1e-12


def test_the_beam_finds_a_text_that_the_best_path_misses() -> None:
    log_probs = torch.log(torch.tensor([[0.6, 0.4], [0.6, 0.4]], dtype=torch.float64))
    assert best_path(log_probs[None], torch.tensor([2])) == [[]]
    assert beam_search(log_probs.numpy())[0].text == (1,)


def test_a_long_row_does_not_underflow() -> None:
    log_probs = torch.log_softmax(torch.randn(3000, 5, generator=torch.Generator().manual_seed(0)), -1)
    found = beam_search(log_probs.numpy(), width=4)
    assert len(found) == 4
    assert all(np.isfinite(one.log_prob) and one.log_prob < -1000 for one in found)


def test_no_frames_spell_the_empty_text() -> None:
    assert [(one.text, one.log_prob) for one in beam_search(np.zeros((0, 3)))] == [((), 0.0)]


def test_frames_that_are_sure_give_one_text() -> None:
    log_probs = np.log(np.eye(3)[[1, 1, 0, 1, 2]] + 1e-300)
    assert beam_search(log_probs)[0].text == (1, 1, 2)
    assert beam_search(log_probs)[0].log_prob == pytest.approx(0.0, abs=1e-9)


def test_the_best_path_looks_at_each_rows_own_frames() -> None:
    classes = torch.tensor([[1, 1, 0, 1, 2], [2, 2, 1, 1, 1], [0, 0, 0, 3, 3]])
    log_probs = torch.log_softmax(9.0 * torch.nn.functional.one_hot(classes, 4), -1)
    assert best_path(log_probs, torch.tensor([5, 2, 3])) == [[1, 1, 2], [2], []]
    for row, length in ((0, 4), (1, 5), (2, 5)):
        told = best_path(log_probs[row : row + 1], torch.tensor([length]))
        assert told == [collapse(classes[row, :length].tolist())]


def test_what_stands_beyond_a_rows_frames_changes_nothing() -> None:
    log_probs = torch.stack([frames_of(6, 4, 0), frames_of(6, 4, 1)])
    texts, lengths = torch.tensor([[1, 2], [3, 0]]), torch.tensor([6, 4])
    changed = log_probs.clone()
    changed[1, 4:] = torch.log_softmax(torch.randn(2, 4, dtype=torch.float64), -1)
    assert torch.equal(ctc_nats(log_probs, lengths, texts), ctc_nats(changed, lengths, texts))
    alone = ctc_nats(log_probs[1:, :4], lengths[1:], texts[1:, :1])
    torch.testing.assert_close(ctc_nats(log_probs, lengths, texts)[1:], alone, rtol=1e-12, atol=0)


def test_a_text_that_does_not_fit_is_infinite_and_teaches_nothing() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    texts, lengths = torch.tensor([[1, 1, 2], [1, 2, 3]]), torch.tensor([3, 3])
    nats = ctc_nats(torch.log_softmax(logits, -1), lengths, texts)
    assert nats.isinf().tolist() == [True, False]
    nats[nats.isfinite()].sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() > 0


# edits


@cache
def edits(answer: str, truth: str) -> int:
    """The definition: the last items are equal, or one of three edits was the last."""
    if not answer or not truth:
        return len(answer) + len(truth)
    return min(
        edits(answer[:-1], truth[:-1]) + (answer[-1] != truth[-1]), edits(answer[:-1], truth) + 1,
        edits(answer, truth[:-1]) + 1,
    )  # fmt: skip


def test_edits_equal_their_definition() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        first, second = ("".join(generator.choice(list("abc"), generator.integers(0, 8))) for _ in range(2))
        assert edit_distance(first, second) == edits(first, second) == edit_distance(second, first)
    assert edit_distance("", "") == 0
    assert edit_distance(["three", "one"], ["three", "nine", "one"]) == 1


def test_error_rates_are_edits_of_all_texts_per_character_and_word() -> None:
    errors, characters = np.array([2, 0, 3]), np.array([4, 6, 0])
    word_errors, words = np.array([1, 0, 1]), np.array([1, 2, 0])
    nats = np.array([2.0, 4.0, np.inf])
    scores = transcript_scores(errors, characters, word_errors, words, nats)
    assert scores == {"cer": 0.5, "wer": pytest.approx(2 / 3), "exact": pytest.approx(1 / 3), "nats": 0.6}


def test_weights_are_multiplicities_of_rows() -> None:
    generator = np.random.default_rng(1)
    columns = [generator.integers(low, 9, 12) for low in (0, 1, 0, 1)] + [generator.random(12)]
    weights = generator.multinomial(12, np.full(12, 1 / 12), size=5)
    drawn = transcript_scorer(*columns)(weights)
    for place, row in enumerate(weights):
        again = [np.repeat(column, row) for column in columns]
        for name, score in transcript_scores(*again).items():
            assert drawn[name][place] == pytest.approx(score)


def test_texts_without_characters_have_no_rate() -> None:
    scores = transcript_scores(*(np.zeros(2) for _ in range(5)))
    assert np.isnan(scores["cer"])
    assert scores["exact"] == 1.0
