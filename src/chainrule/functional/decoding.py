"""From a function that gives the next token's log-probabilities to whole sequences: greedy and beam search.

Source: the length penalty of Wu et al. 2016, arXiv:1609.08144, equation 14.
Differs: no coverage penalty; a sequence that reaches its longest length must end there, so that all are compared as
whole ones.

Letters: B sentences, K beams, N = B x K rows of a step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

State = tuple[Tensor, ...]  # whatever a step carries on, each (N, ...)
Step = Callable[[Tensor, State], tuple[Tensor, State]]  # last tokens (N,), state -> log-probabilities (N, V), state


@dataclass(frozen=True, slots=True)
class Decoded:
    """The sequence found for each sentence."""

    tokens: Int[Tensor, "B T"]  # without the beginning; after its end a row is filled with the end
    lengths: Int[Tensor, " B"]  # with the end
    log_probs: Float[Tensor, " B"]  # of the whole sequence, the end included


def length_penalty(length: float | Tensor, alpha: float) -> float | Tensor:
    """lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha: what a log-probability is divided by; alpha 0 leaves it as it is.

    Example:
        >>> length_penalty(1, 0.6)
        1.0
    """
    return ((5 + length) / 6) ** alpha


@torch.no_grad()
def greedy(step: Step, state: State, most: Int[Tensor, " B"], *, begin: int, end: int) -> Decoded:
    """The likeliest token, step by step, until the end; a sequence has at most ``most`` tokens, its end included."""
    B = len(most)
    rows = torch.arange(B, device=most.device)
    tokens = torch.full((B, int(most.max()) if B else 0), end, device=most.device)
    lengths, total = most.clone(), torch.zeros(B, device=most.device)
    last = torch.full((B,), begin, device=most.device)
    for place in range(tokens.shape[1]):
        log_probs, state = step(last, state)
        log_probs = _ending(log_probs, place + 1 >= most[rows], end)
        best, last = log_probs.max(-1)
        total = total.to(best.dtype).index_add(0, rows, best)
        tokens[rows, place] = last
        lengths[rows[last == end]] = place + 1
        going = (last != end).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(rows):
            rows, last, state = rows[going], last[going], _select(state, going)
    return Decoded(tokens[:, : int(lengths.max())] if B else tokens, lengths, total)


@torch.no_grad()
def beam_search(
    step: Step, state: State, most: Int[Tensor, " B"], *, begin: int, end: int, beams: int, alpha: float = 0.6
) -> Decoded:
    """The best ended sequence that a search over ``beams`` beginnings at a time finds for each sentence.

    A candidate that ends counts if it is among the ``beams`` likeliest of its step; the likeliest ones that go on are
    kept. A sentence is done when ``beams`` sequences have ended, or when none that goes on can still become the best:
    its log-probability only falls and its penalty is at most the longest one's. One beam is greedy search.

    Args:
        most: how many tokens each sentence's sequence may have, its end included; 1 or more.
        alpha: of ``length_penalty``; sequences are compared by log-probability / penalty.
    """
    B, device = len(most), most.device
    state = _select(state, torch.arange(B, device=device).repeat_interleave(beams))
    search = _Search.of(B, beams, int(most.max()) if B else 0, begin, end, device)
    longest = length_penalty(most.double(), alpha)
    assert isinstance(longest, Tensor)
    rows = torch.arange(B, device=device)  # sentences that are not done
    for place in range(search.tokens.shape[2]):
        log_probs, state = step(search.last[rows].flatten(), state)
        log_probs = _ending(log_probs, (place + 1 >= most[rows]).repeat_interleave(beams), end)
        parents = search.extend(rows, log_probs.view(len(rows), beams, -1), place, alpha)
        state = _select(state, parents)
        bound = search.alive[rows, 0] / longest[rows]
        going = ((search.ended[rows] < beams) & (bound > search.best[rows])).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(rows):
            kept = going[:, None] * beams + torch.arange(beams, device=device)
            rows, state = rows[going], _select(state, kept.flatten())
    return search.found()


@dataclass(slots=True)
class _Search:
    """Beginnings that go on and the best ended sequence, of every sentence."""

    end: int
    tokens: Tensor  # (B, K, T) of what goes on
    last: Tensor  # (B, K)
    alive: Tensor  # (B, K) log-probabilities, falling; -inf: no such beginning
    answer: Tensor  # (B, T) of the best ended sequence
    length: Tensor  # (B,)
    log_prob: Tensor  # (B,)
    best: Tensor  # (B,) its score
    ended: Tensor  # (B,) how many have ended

    @staticmethod
    def of(B: int, beams: int, longest: int, begin: int, end: int, device: torch.device) -> _Search:
        """Before the first step one beginning is there, the empty one."""
        alive = torch.full((B, beams), -torch.inf, dtype=torch.float64, device=device)
        alive[:, 0] = 0
        least = torch.full((B,), -torch.inf, dtype=torch.float64, device=device)
        return _Search(
            end, torch.full((B, beams, longest), end, device=device), torch.full((B, beams), begin, device=device),
            alive, torch.full((B, longest), end, device=device), torch.zeros(B, dtype=torch.int64, device=device),
            least.clone(), least, torch.zeros(B, dtype=torch.int64, device=device),
        )  # fmt: skip

    def extend(self, rows: Tensor, log_probs: Tensor, place: int, alpha: float) -> Tensor:
        """Go one step further in these sentences; gives the row of the step that each new beginning came from."""
        R, beams, V = log_probs.shape
        each, words = log_probs.topk(min(2 * beams, V))  # of a beginning's candidates no more can be among the best
        totals = (self.alive[rows][..., None] + each).flatten(1)
        scores, chosen = totals.topk(min(2 * beams, totals.shape[1]))  # one of each beginning's ends, so enough go on
        parents, tokens = chosen // each.shape[2], words.flatten(1).gather(1, chosen)
        ends = tokens == self.end
        self._keep_best(rows, scores, parents, ends, place, alpha)
        going = scores.masked_fill(ends, -torch.inf)
        order = going.topk(beams).indices
        self.alive[rows] = going.gather(1, order)
        origin = parents.gather(1, order)
        self.tokens[rows] = self.tokens[rows].gather(1, origin[..., None].expand(-1, -1, self.tokens.shape[2]))
        self.last[rows] = tokens.gather(1, order)
        self.tokens[rows, :, place] = self.last[rows]
        return (origin + torch.arange(R, device=rows.device)[:, None] * beams).flatten()

    def _keep_best(self, rows: Tensor, scores: Tensor, parents: Tensor, ends: Tensor, place: int, alpha: float) -> None:
        """Count what ends among the first candidates, and keep the best of it where it beats what ended before."""
        beams = self.alive.shape[1]
        now = ends[:, :beams] & torch.isfinite(scores[:, :beams])
        totals = scores[:, :beams].masked_fill(~now, -torch.inf)
        total, which = totals.max(1)
        score = total / length_penalty(place + 1, alpha)
        better = (score > self.best[rows]).nonzero()[:, 0]
        place_of, origin = rows[better], parents[better, which[better]]
        self.answer[place_of] = self.tokens[place_of, origin]
        self.answer[place_of, place] = self.end
        self.length[place_of], self.best[place_of] = place + 1, score[better]
        self.log_prob[place_of] = total[better]
        self.ended[rows] += now.sum(1)

    def found(self) -> Decoded:
        """The best of each sentence."""
        longest = int(self.length.max()) if len(self.length) else 0
        return Decoded(self.answer[:, :longest], self.length, self.log_prob)


def _ending(log_probs: Tensor, must: Tensor, end: int) -> Tensor:
    """The log-probabilities, of which only the end is left in rows that must end now."""
    if not must.any():
        return log_probs
    only = torch.full_like(log_probs, -torch.inf)
    only[:, end] = log_probs[:, end]
    return torch.where(must[:, None], only, log_probs)


def _select(state: State, rows: Tensor) -> State:
    return tuple(part.index_select(0, rows) for part in state)
