"""Whether a table is parallel text: two columns of sentences and nothing else."""

from __future__ import annotations

import polars as pl

LOOKED_AT = 200  # rows that decide
WORDS = 3.0  # of a sentence on average
DISTINCT = 0.5  # share of different sentences


def sentence_columns(frame: pl.DataFrame) -> str | None:
    """Why a table is parallel text, in words: it has two columns, and both hold sentences that hardly repeat.

    Example:
        >>> german, english = ["ein Hund bellt", "es regnet jetzt"], ["a dog barks", "it is raining"]
        >>> sentence_columns(pl.DataFrame({"de": german, "en": english}))
        "two columns of sentences, 'de' and 'en'"
    """
    if frame.width != 2 or any(dtype != pl.String for dtype in frame.dtypes):
        return None
    for column in frame.columns:
        cells = [cell for cell in frame[column].head(LOOKED_AT).to_list() if cell]
        words = sum(len(cell.split()) for cell in cells) / max(1, len(cells))
        if words < WORDS or len(set(cells)) < DISTINCT * len(cells) or len(cells) < 2:
            return None
    return f"two columns of sentences, {frame.columns[0]!r} and {frame.columns[1]!r}"
