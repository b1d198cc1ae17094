"""Two columns of sentences that belong together: what does not fit is left out and counted, or stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.delimited import read_bytes
from chainrule.data.encoding import decode_text
from chainrule.data.kind import Finding
from chainrule.data.parallel.records import PairStore
from chainrule.errors import InputError

MOST_CHARACTERS = 20_000  # of a sentence; what is longer is none, and is left out
FEW = 5  # lines named
MANY_ALIKE = 0.1  # share of identical pairs from which on they are no names and numbers
SHOWN = 60  # characters of a line in a message


def read_lines(path: Path) -> tuple[list[str], list[Finding]]:
    """The lines of a text file, spaces at their ends gone, and what was noticed.

    Only a line feed ends a line, as in the tools that align texts; a carriage return before it goes with it.

    Raises:
        InputError: the file is empty or no text.
    """
    text, notes = decode_text(read_bytes(path), path.name)
    if not text.strip():
        raise InputError(f"{path.name} holds no text; expected a sentence a line")
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
    return lines, [Finding("warning", note) for note in notes]


def check_counts(sources: Sequence[str], targets: Sequence[str], names: tuple[str, str]) -> None:
    """Stop where the files have different numbers of lines.

    Raises:
        InputError: both numbers, and the line from which on they seem not to belong together.
    """
    if len(sources) == len(targets):
        return
    line = first_misfit(sources, targets)
    shown = [side[line - 1][:SHOWN] if line <= len(side) else "(nothing)" for side in (sources, targets)]
    raise InputError(
        f"{names[0]} has {len(sources):,} lines and {names[1]} has {len(targets):,}; line N of one must be the "
        f"translation of line N of the other. Up to line {line - 1:,} their lengths fit; look at line {line:,}: "
        f"{shown[0]!r} beside {shown[1]!r}"
    )


def first_misfit(sources: Sequence[str], targets: Sequence[str]) -> int:
    """The line, from 1, where one file most likely has a line more: lengths fit as they stand before, and moved after.

    Example:
        >>> first_misfit(["a" * 9, "b" * 30, "c" * 5, "d" * 50], ["A" * 9, "C" * 5, "D" * 50])
        2
    """
    long, short = (sources, targets) if len(sources) > len(targets) else (targets, sources)
    more = len(long) - len(short)
    lengths = [np.log1p(np.array([len(text) for text in side], dtype=np.float64)) for side in (long, short)]
    apart = lengths[0][: len(short)] - lengths[1]
    usual = np.median(apart) if len(short) else 0.0
    before = np.abs(apart - usual)
    after = np.abs(lengths[0][more:] - lengths[1] - usual)
    costs = np.concatenate(([0.0], np.cumsum(before))) + np.concatenate((np.cumsum(after[::-1])[::-1], [0.0]))
    return len(costs) - int(costs[::-1].argmin())


def pair_store(
    sources: Sequence[str], targets: Sequence[str], names: tuple[str, str], notes: Sequence[Finding] = (),
    word: str = "line",
) -> PairStore:  # fmt: skip
    """The pairs of two equally long columns without those that are no pair, and what was noticed.

    Raises:
        InputError: no pair is left.
    """
    lengths = np.array([[len(text) for text in side] for side in (sources, targets)], dtype=np.int64)
    empty, long = lengths == 0, lengths.max(0) > MOST_CHARACTERS
    found = [
        *notes,
        *_left_out(empty.all(0), f"{word}s are empty on both sides", "note", word),
        *_left_out(empty[0] & ~empty[1], f"{word}s are empty in {names[0]} only", "warning", word),
        *_left_out(empty[1] & ~empty[0], f"{word}s are empty in {names[1]} only", "warning", word),
        *_left_out(long, f"{word}s have more than {MOST_CHARACTERS:,} characters", "warning", word),
    ]
    kept = np.flatnonzero(~(empty.any(0) | long))
    if not len(kept):
        raise InputError(f"of {len(sources):,} {word}s none has a sentence in both {names[0]} and {names[1]}")
    first, second = ([side[place] for place in kept.tolist()] for side in (sources, targets))
    alike = np.array([one == other for one, other in zip(first, second, strict=True)])
    if alike.any():
        level = "warning" if alike.mean() > MANY_ALIKE else "note"
        text = f"{alike.sum():,} of {len(kept):,} pairs are the same in both languages; they teach to copy"
        found.append(Finding(level, text, tuple(f"{word} {kept[place] + 1}" for place in np.flatnonzero(alike)[:FEW])))
    return PairStore(*names, first, second, kept + 1, word, tuple(found))


def _left_out(rows: NDArray[Any], what: str, level: str, word: str) -> list[Finding]:
    places = np.flatnonzero(rows) + 1
    if not len(places):
        return []
    return [Finding(level, f"{len(places):,} {what} and are left out", tuple(f"{word} {n}" for n in places[:FEW]))]
