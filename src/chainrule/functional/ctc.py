"""Connectionist temporal classification: a text from one distribution per frame, without saying which frame is what.

A path names a class for each frame, 0 being the blank. B(path) is the text: repeated classes become one, then blanks
go. p(text) = sum over all paths with B(path) = text of the product of their classes' probabilities.

Source: Graves, Fernandez, Gomez, Schmidhuber 2006, "Connectionist temporal classification", ICML, equations 1-3
(paths), section 3.2 (best path and prefix search) and 4.1 (the sum). Prefix beam search: Hannun, Maas, Jurafsky, Ng
2014, arXiv:1408.2873, algorithm 1.
Reference: sums over all paths, tests/unit/test_ctc.py and tests/parity/test_ctc.py.
Differs: the beam has no language model (alpha = beta = 0 there); probabilities of a frame's prefixes are scaled to sum
to 1 and their logarithm is kept, instead of sums of logarithms.

Letters: ``T`` frames, ``K`` classes with the blank, ``S`` longest text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

BLANK = 0


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One text that the frames may spell."""

    text: tuple[int, ...]  # classes without blanks
    log_prob: float  # of all its paths that the search has followed


def collapse(path: Sequence[int]) -> list[int]:
    """B of the source: repeated classes become one, then blanks go.

    Example:
        >>> collapse([1, 1, 0, 1, 2, 2, 0])
        [1, 1, 2]
    """
    return [c for place, c in enumerate(path) if c != BLANK and (place == 0 or c != path[place - 1])]


def needed_frames(text: Sequence[int]) -> int:
    """The fewest frames that can spell a text: one for each class, and a blank between equal neighbours.

    Example:
        >>> needed_frames([5, 5, 7])
        4
    """
    return len(text) + sum(a == b for a, b in pairwise(text))


def fits(lengths: Int[Tensor, " B"], texts: Int[Tensor, "B S"]) -> Bool[Tensor, " B"]:
    """Whether each row has the frames that its text needs, see ``needed_frames``.

    Args:
        texts: classes of each row, then blanks.
    """
    known = texts != BLANK
    repeats = (known[:, 1:] & (texts[:, 1:] == texts[:, :-1])).sum(1)
    return lengths >= known.sum(1) + repeats


def ctc_nats(
    log_probs: Float[Tensor, "B T K"], lengths: Int[Tensor, " B"], texts: Int[Tensor, "B S"]
) -> Float[Tensor, " B"]:
    """-log p(text) of each row; infinite, with a gradient of 0, where its frames are too few for its text.

    Args:
        lengths: frames of each row; what stands beyond them is not looked at.
        texts: classes of each row, then blanks.
    """
    sizes = (texts != BLANK).sum(1)
    nats = F.ctc_loss(log_probs.transpose(0, 1), texts, lengths, sizes, BLANK, "none", zero_infinity=True)
    return torch.where(fits(lengths, texts), nats, torch.inf)


def best_path(log_probs: Float[Tensor, "B T K"], lengths: Int[Tensor, " B"]) -> list[list[int]]:
    """The text of the likeliest path of each row: the likeliest class of every frame, collapsed."""
    classes = log_probs.argmax(-1)
    frames = torch.arange(classes.shape[1], device=classes.device)
    before = F.pad(classes[:, :-1], (1, 0), value=BLANK)
    kept = (classes != BLANK) & ((classes != before) | (frames == 0)) & (frames < lengths[:, None])
    rows, told = classes.cpu().numpy(), kept.cpu().numpy()
    return [row[keep].tolist() for row, keep in zip(rows, told, strict=True)]


def beam_search(log_probs: NDArray[np.floating], width: int = 16, least: float = 0.0) -> list[Hypothesis]:
    """The likeliest texts of one row's frames (T, K), at most ``width``, the best one first.

    A prefix adds up all its paths, apart for those that end in a blank: only from them a class may follow itself. With
    a width of all prefixes and ``least`` 0 the result is exact.

    Args:
        width: prefixes that are kept after each frame.
        least: probability of a frame's class from which it is followed; the likeliest one always is.

    Example:
        >>> frames = np.log([[0.6, 0.4], [0.6, 0.4]])  # the best path is blank, blank: 0.36; "1" has 0.64
        >>> [(one.text, round(math.exp(one.log_prob), 2)) for one in beam_search(frames)]
        [((1,), 0.64), ((), 0.36)]
    """
    prefixes = _Prefixes()
    ends: dict[int, tuple[float, float]] = {_Prefixes.EMPTY: (1.0, 0.0)}  # prefix -> (ends in blank, ends in its class)
    scale = 0.0
    for frame in np.exp(log_probs.astype(np.float64)):
        followed = np.flatnonzero((frame >= least) | (frame == frame.max()))
        classes = [(c, p) for c, p in zip(followed.tolist(), frame[followed].tolist(), strict=True) if c != BLANK]
        ends = _kept(_one_frame(ends, prefixes, float(frame[BLANK]), frame, classes), width)
        total = sum(blank + other for blank, other in ends.values())
        if not total > 0:
            return []
        ends = {prefix: (blank / total, other / total) for prefix, (blank, other) in ends.items()}
        scale += math.log(total)
    found = [(blank + other, prefixes.text(prefix)) for prefix, (blank, other) in ends.items()]
    return [
        Hypothesis(text, math.log(p) + scale) for p, text in sorted(found, key=lambda one: (-one[0], one[1])) if p > 0
    ]


def _one_frame(
    ends: dict[int, tuple[float, float]], prefixes: _Prefixes, blank: float, frame: NDArray[np.float64],
    classes: list[tuple[int, float]],
) -> dict[int, tuple[float, float]]:  # fmt: skip
    """The probabilities of all prefixes after one more frame."""
    after: dict[int, tuple[float, float]] = {}
    for prefix, (in_blank, in_class) in ends.items():
        both, last = in_blank + in_class, prefixes.last[prefix]
        own = after.get(prefix, (0.0, 0.0))
        stays = in_class * float(frame[last]) if last != BLANK else 0.0  # the last class, once more
        after[prefix] = (own[0] + both * blank, own[1] + stays)
        for c, p in classes:
            longer = prefixes.longer(prefix, c)
            one, two = after.get(longer, (0.0, 0.0))
            after[longer] = (one, two + p * (in_blank if c == last else both))
    return after


def _kept(ends: dict[int, tuple[float, float]], width: int) -> dict[int, tuple[float, float]]:
    """The likeliest prefixes; of equal ones those that were met first."""
    if len(ends) <= width:
        return ends
    return dict(sorted(ends.items(), key=lambda end: -(end[1][0] + end[1][1]))[:width])


@dataclass(slots=True)
class _Prefixes:
    """Texts that share their beginnings, each named by a number."""

    EMPTY: ClassVar[int] = 0
    last: list[int] = field(default_factory=lambda: [BLANK])
    _before: list[int] = field(default_factory=lambda: [0])
    _numbers: dict[tuple[int, int], int] = field(default_factory=dict)

    def longer(self, prefix: int, c: int) -> int:
        """The number of the prefix with one class more."""
        number = self._numbers.setdefault((prefix, c), len(self.last))
        if number == len(self.last):
            self.last.append(c)
            self._before.append(prefix)
        return number

    def text(self, prefix: int) -> tuple[int, ...]:
        """The classes of a prefix."""
        classes = []
        while prefix != self.EMPTY:
            classes.append(self.last[prefix])
            prefix = self._before[prefix]
        return tuple(reversed(classes))
