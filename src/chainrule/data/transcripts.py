"""Texts of what is said: whether labels are such, the characters they are written in, and their classes."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.schema import TranscriptTarget, class_names
from chainrule.errors import InputError

FEW_TEXTS = 50  # up to so many distinct ones are classes
OFTEN = 5  # rows of each text on average from which they are classes
LOOKED_AT = 5_000  # labels, evenly spread
UNKNOWN = -1  # among encoded texts: a character that the train split does not have
STRANGE = "\ufffd"  # how it is written
NAMED = 8  # characters in a message
MOST_CHARACTERS = 500  # beyond it there are hardly a few utterances of each


def are_texts(labels: NDArray[Any]) -> bool:
    """Whether labels look like sentences: half of them have two words or more, and they hardly repeat.

    Example:
        >>> are_texts(np.array([f"number {n}" for n in range(60)])), are_texts(np.array(["yes", "no"] * 30))
        (True, False)
    """
    if labels.dtype.kind not in "OU":
        return False
    step = max(1, len(labels) // LOOKED_AT)
    texts = [text for text in transcripts(labels[::step]) if text]
    distinct = len(set(texts))
    return (
        distinct > FEW_TEXTS and OFTEN * distinct > len(texts) and 2 * sum(" " in text for text in texts) > len(texts)
    )


def transcripts(labels: NDArray[Any]) -> list[str]:
    """Labels as texts: composed characters (NFC), one space between words, none at the ends; a missing one is "".

    Example:
        >>> transcripts(np.array(["  three \\n one ", None, 4.0], dtype=object))
        ['three one', '', '4']
    """
    return [" ".join(unicodedata.normalize("NFC", name).split()) for name in class_names(labels).tolist()]


def learn_transcripts(labels: NDArray[Any] | None, name: str, first_id: str) -> tuple[TranscriptTarget, str]:
    """The characters of the train split's texts, in code order, and what they are in words.

    Raises:
        InputError: no texts, all of them equal or empty, or more characters than can be learned.
    """
    if labels is None:
        raise InputError(
            f"the recordings, the first {first_id!r}, have no texts to learn; expected a CSV with a column of paths "
            f"and one of what is said (--target COLUMN)"
        )
    texts = transcripts(labels)
    counts = Counter(character for text in texts for character in text)
    if len(set(texts)) == 1 or not counts:
        raise InputError(f"all {len(texts)} texts of {name!r} are {texts[0]!r}; expected at least two different ones")
    if len(counts) > MOST_CHARACTERS:
        raise InputError(
            f"the texts of {name!r} are written in {len(counts):,} different characters; expected at most "
            f"{MOST_CHARACTERS}: a network of characters cannot learn so many, write the texts in a phonetic spelling"
        )
    characters = tuple(sorted(counts))
    shown = "".join("_" if character == " " else character for character in characters)
    words = {word for text in texts for word in text.split()}
    reason = (
        f"text, {len(set(texts)):,} different ones of {len(words):,} words and {len(characters)} characters: "
        f"{shown if len(shown) <= 60 else shown[:60] + '...'} (change: --task classify)"
    )
    if labels.dtype.kind in "iuf":
        reason += "; they came as numbers, so zeros at their beginning are lost: quote or spell them out"
    return TranscriptTarget(name=name, characters=characters), reason


def encode_texts(labels: NDArray[Any] | None, target: TranscriptTarget) -> list[NDArray[np.int64]] | None:
    """Each text as classes, character k of the target as k + 1, ``UNKNOWN`` where the target does not have it."""
    if labels is None:
        return None
    classes = {character: place for place, character in enumerate(target.characters, start=1)}
    return [
        np.array([classes.get(character, UNKNOWN) for character in text], dtype=np.int64)
        for text in transcripts(labels)
    ]


def padded(texts: Sequence[NDArray[np.int64]]) -> Tensor:
    """(B, S) classes, blanks (0) after the end of each text; S is 1 where all are empty."""
    rows = np.zeros((len(texts), max(1, *map(len, texts))), dtype=np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return torch.from_numpy(rows)


def unknown_characters(labels: NDArray[Any], target: TranscriptTarget) -> tuple[str, list[int]]:
    """What the target does not have, in words, and the rows with such characters; "" where it has all."""
    known = set(target.characters)
    texts = transcripts(labels)
    counts = Counter(character for text in texts for character in text if character not in known)
    rows = [row for row, text in enumerate(texts) if not known.issuperset(text)]
    if not rows:
        return "", []
    named = ", ".join(repr(character) for character, _ in counts.most_common(NAMED))
    named += ", ..." if len(counts) > NAMED else ""
    text = f"{sum(counts.values())} characters of {len(rows)} texts are not among those learned ({named})"
    return f"{text}: each of them counts as an error", rows


def written(classes: Sequence[int], target: TranscriptTarget) -> str:
    """The text that classes stand for, without blanks; what is unknown as ``STRANGE``."""
    return "".join(STRANGE if c == UNKNOWN else target.characters[c - 1] for c in classes if c)
