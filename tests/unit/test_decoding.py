"""Greedy and beam search over small step functions, against all sequences and against a search written plainly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from chainrule.functional.decoding import Decoded, State, beam_search, greedy, length_penalty

BEGIN, END = 2, 3
Table = Callable[[tuple[int, ...]], Tensor]  # tokens so far, the beginning among them -> log-probabilities (V,)


def table_of(seed: int, V: int, sharp: float = 1.5) -> Table:
    """Log-probabilities that depend on everything before, drawn once for each beginning."""
    seen: dict[tuple[int, ...], Tensor] = {}

    def look(tokens: tuple[int, ...]) -> Tensor:
        if tokens not in seen:
            draw = torch.Generator().manual_seed(hash((seed, tokens)) % 2**31)
            seen[tokens] = torch.log_softmax(sharp * torch.randn(V, generator=draw, dtype=torch.float64), 0)
        return seen[tokens]

    return look


def step_of(tables: list[Table]) -> tuple[Callable[[Tensor, State], tuple[Tensor, State]], State]:
    """A step whose state is the number of the sentence and all tokens before, one table for each sentence."""

    def step(last: Tensor, state: State) -> tuple[Tensor, State]:
        number, before = state
        tokens = torch.cat((before, last[:, None]), 1)
        rows = zip(number.tolist(), tokens.tolist(), strict=True)
        return torch.stack([tables[which](tuple(row)) for which, row in rows]), (number, tokens)

    return step, (torch.arange(len(tables)), torch.zeros(len(tables), 0, dtype=torch.int64))


def total(look: Table, tokens: tuple[int, ...]) -> float:
    whole = (BEGIN, *tokens)
    return sum(float(look(whole[:place])[whole[place]]) for place in range(1, len(whole)))


def answers(found: Decoded) -> list[tuple[int, ...]]:
    pairs = zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
    return [tuple(row[:length]) for row, length in pairs]


def ended(V: int, most: int) -> list[tuple[int, ...]]:
    """Every sequence of at most so many tokens that ends with the end."""
    others = [token for token in range(V) if token != END]
    return [(*body, END) for length in range(most) for body in itertools.product(others, repeat=length)]


def plain_beam(look: Table, V: int, most: int, beams: int, alpha: float) -> tuple[int, ...]:
    """One sentence, lists instead of tensors, every sequence searched to its longest length."""
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for place in range(1, most + 1):
        tokens = range(V) if place < most else [END]
        candidates = [
            (sum_ + float(look((BEGIN, *body))[token]), (*body, token)) for sum_, body in alive for token in tokens
        ]
        candidates.sort(key=lambda pair: -pair[0])
        done += [(s / length_penalty(place, alpha), body) for s, body in candidates[:beams] if body[-1] == END]
        alive = [pair for pair in candidates if pair[1][-1] != END][:beams]
        if len(done) >= beams or not alive:
            break
    return max(done)[1]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(alpha: float) -> None:
    V, most = 4, torch.tensor([4, 2, 3, 1])
    tables = [table_of(seed, V) for seed in range(len(most))]
    step, state = step_of(tables)
    found = beam_search(step, state, most, begin=BEGIN, end=END, beams=60, alpha=alpha)
    for look, longest, answer, log_prob in zip(tables, most.tolist(), answers(found), found.log_probs, strict=True):
        best = max(ended(V, longest), key=lambda tokens: total(look, tokens) / length_penalty(len(tokens), alpha))
        assert answer == best
        assert float(log_prob) == pytest.approx(total(look, best), abs=1e-12)


@pytest.mark.parametrize("beams", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_narrow_beam_equals_the_plain_search(beams: int, alpha: float) -> None:
    V, most = 6, torch.tensor([7, 3, 7, 5, 1, 7, 6, 7])
    tables = [table_of(seed, V) for seed in range(len(most))]
    step, state = step_of(tables)
    found = answers(beam_search(step, state, most, begin=BEGIN, end=END, beams=beams, alpha=alpha))
    assert found == [
        plain_beam(look, V, longest, beams, alpha) for look, longest in zip(tables, most.tolist(), strict=True)
    ]


def test_one_beam_is_greedy_search() -> None:
    most = torch.tensor([9, 1, 4, 12, 9, 9])
    tables = [table_of(seed, 7, sharp=3.0) for seed in range(len(most))]
    step, state = step_of(tables)
    first = greedy(step, state, most, begin=BEGIN, end=END)
    second = beam_search(step, state, most, begin=BEGIN, end=END, beams=1, alpha=0.6)
    assert answers(first) == answers(second)
    torch.testing.assert_close(first.log_probs, second.log_probs)
    for look, tokens, log_prob in zip(tables, answers(first), first.log_probs, strict=True):
        assert float(log_prob) == pytest.approx(total(look, tokens), abs=1e-12)


def test_every_sequence_ends_within_its_length() -> None:
    """A step that never wants to end has to; what stands after the end is the end."""
    most = torch.tensor([3, 1, 5])

    def step(last: Tensor, state: State) -> tuple[Tensor, State]:
        return torch.log_softmax(torch.tensor([[0.0, 9.0, 0.0, -9.0]]).expand(len(last), 4), 1), state

    state = (torch.zeros(3, 1),)
    for found in (
        greedy(step, state, most, begin=BEGIN, end=END),
        beam_search(step, state, most, begin=BEGIN, end=END, beams=3),
    ):
        assert found.lengths.tolist() == [3, 1, 5]
        assert found.tokens.tolist() == [[1, 1, 3, 3, 3], [3, 3, 3, 3, 3], [1, 1, 1, 1, 3]]


def test_sentences_do_not_see_each_other() -> None:
    most = torch.tensor([6, 6, 2, 6])
    tables = [table_of(seed, 5) for seed in range(4)]
    step, state = step_of(tables)
    together = answers(beam_search(step, state, most, begin=BEGIN, end=END, beams=3))
    alone = []
    for number in range(4):
        one = tuple(part[number : number + 1] for part in state)
        alone += answers(beam_search(step, one, most[number : number + 1], begin=BEGIN, end=END, beams=3))
    assert together == alone


def test_nothing_to_decode() -> None:
    step, _ = step_of([table_of(0, 4)])
    none = torch.zeros(0, dtype=torch.int64)
    state = (none, torch.zeros(0, 0, dtype=torch.int64))
    assert len(greedy(step, state, none, begin=BEGIN, end=END).tokens) == 0
    assert len(beam_search(step, state, none, begin=BEGIN, end=END, beams=2).tokens) == 0


def test_the_penalty_of_length_is_the_papers() -> None:
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(7, 1.0) == pytest.approx(2.0)
    assert length_penalty(7, 0.0) == 1
