"""Two puzzles of long memory: nothing but what was seen many steps ago gives the answer.

Source: Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, experiment 4 (adding); Arjovsky, Shah, Bengio
    2016, arXiv:1511.06464, sections 5.1 and 5.2 (copying, and adding in the form used here).
"""

from __future__ import annotations

import torch
from torch import Tensor

from chainrule.errors import InputError

BLANK, ASK = 0, 1  # of the copy puzzle: the token between, and the one that asks for the answer


def adding(rows: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frames (rows, steps, 2) of a number in 0..1 and a mark, and targets (rows,): the sum of the two marked numbers.

    One mark is in the first half, one in the second. Who answers 1 always is wrong by 1/6 in the mean square.

    Raises:
        InputError: fewer than two steps.

    Example:
        >>> frames, sums = adding(4, 10, torch.Generator().manual_seed(0))
        >>> torch.equal((frames[..., 0] * frames[..., 1]).sum(1), sums)
        True
    """
    if steps < 2:
        raise InputError(f"the adding puzzle needs 2 steps or more, got {steps}")
    numbers, marks = torch.rand(rows, steps, generator=generator), torch.zeros(rows, steps)
    half = steps // 2
    for start, size in ((0, half), (half, steps - half)):
        marks.scatter_(1, start + torch.randint(size, (rows, 1), generator=generator), 1.0)
    return torch.stack((numbers, marks), -1), (numbers * marks).sum(1)


def copying(
    rows: int, blanks: int, generator: torch.Generator, *, symbols: int = 8, length: int = 10
) -> tuple[Tensor, Tensor]:
    """Tokens (rows, length + blanks + length) and the tokens to answer: the first ``length``, when asked at the end.

    Tokens from 2 on are the symbols; 0 stands between, 1 asks. Who knows all but the symbols has a loss of
    length log(symbols) / steps nats a step.

    Raises:
        InputError: no blank, no symbol or nothing to copy.

    Example:
        >>> tokens, answers = copying(1, 3, torch.Generator().manual_seed(0), length=2)
        >>> tokens.tolist(), answers.tolist()
        ([[6, 9, 0, 0, 1, 0, 0]], [[0, 0, 0, 0, 0, 6, 9]])
    """
    if min(blanks, symbols, length) < 1:
        raise InputError(f"the copy puzzle needs 1 or more of each, got {blanks=}, {symbols=}, {length=}")
    seen = torch.randint(2, 2 + symbols, (rows, length), generator=generator)
    tokens = torch.full((rows, length + blanks + length), BLANK)
    answers = tokens.clone()
    tokens[:, :length], answers[:, -length:] = seen, seen
    tokens[:, length + blanks - 1] = ASK
    return tokens, answers
