"""The way back from the tokens that a network builds to texts."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from chainrule.data.text.schema import TextSchema


def texts_of(tokens: NDArray[Any], schema: TextSchema) -> list[str]:
    """Each row of tokens (N, T) as a text; what fills it up is left out."""
    return [schema.tokenizer.decode(row) for row in tokens.astype(int).tolist()]
