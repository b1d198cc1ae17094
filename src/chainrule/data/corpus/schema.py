"""What a language model remembers of its text, and how it is learned from the train split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.data.config import DataConfig
from chainrule.data.corpus.records import CorpusRecords
from chainrule.data.schema import TokensTarget, from_json
from chainrule.data.tokens import SPECIALS, Tokenizer, learn_tokenizer
from chainrule.errors import InputError

NAME = "corpus"
TASK = "language"
MOST_CHARACTERS = 512  # different ones; a text with more (Chinese, emoji in plenty) is cut into pieces of bytes
LARGE = 10_000_000  # characters from which a window is twice as long
WINDOWS = (128, 256)  # tokens, of a small and of a large text
LEAST_WINDOWS = 8  # that a short train split is cut into
CHARACTERS_PER_PIECE, PIECES = 1000, (512, 8192)  # size of the vocabulary of bpe, and its bounds


@dataclass(frozen=True, kw_only=True)
class CorpusSchema:
    """How a text becomes ids, and ids text."""

    kind: str = NAME
    target: TokensTarget
    tokenizer: Tokenizer
    window: int  # tokens that go through the network at once
    documents: bool  # whether the text is many documents, each with an end; otherwise it runs on
    tokens: int  # of the train split
    notes: tuple[str, ...] = ()  # what was decided, and why


def learn_schema(train: CorpusRecords, options: DataConfig) -> CorpusSchema:
    """The vocabulary and the window, from the train split.

    Raises:
        InputError: another task than language, words as tokens, or a text of a single character.
    """
    if options.task not in ("", TASK):
        raise InputError(
            f"--task {options.task} needs labels, and running text has none; use --task {TASK}, or give texts with "
            "labels: a table with a column of texts, or a folder of .txt files for each class"
        )
    different = set(train.joined())
    if len(different) < 2:
        only = next(iter(different), "")
        raise InputError(f"the text to learn from holds nothing but {only!r}; expected at least two characters")
    scheme, why = _scheme(len(different), options)
    size = options.vocab_size or (_pieces(train.num_characters) if scheme == "bpe" else 0)
    tokenizer = learn_tokenizer(train.texts(), scheme, size)
    tokens = sum(map(len, tokenizer.encode_all(train.texts()))) + (len(train) if train.documents else 0)
    window = options.window or WINDOWS[train.num_characters >= LARGE]
    if window < 2:
        raise InputError(f"data.window must be 2 tokens or more, got {window}")
    window = min(window, max(2, tokens // LEAST_WINDOWS))
    return CorpusSchema(
        target=TokensTarget(vocab_size=len(tokenizer)), tokenizer=tokenizer, window=window, documents=train.documents,
        tokens=tokens, notes=(why.format(len(tokenizer) - len(SPECIALS)), _windows(window, tokens)),
    )  # fmt: skip


def load_schema(data: Mapping[str, Any]) -> CorpusSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(CorpusSchema, data)


def _scheme(different: int, options: DataConfig) -> tuple[str, str]:
    """How the text is cut, and why, with a place for the number of tokens."""
    asked = options.tokenizer
    if asked == "words":
        raise InputError(
            "data.tokenizer=words forgets spaces and line ends, which a text is continued with; use characters or bpe"
        )
    if asked == "characters" or (not asked and different <= MOST_CHARACTERS):
        return "characters", "tokens are {:,} characters (change: --set data.tokenizer=bpe)"
    why = "" if asked else f", because the text has {different:,} different characters"
    return (
        "bpe",
        f"tokens are {{:,}} pieces of bytes, found by byte pair encoding{why} (change: --set data.vocab_size=)",
    )


def _pieces(characters: int) -> int:
    low, high = PIECES
    return max(low, min(high, characters // CHARACTERS_PER_PIECE))


def _windows(window: int, tokens: int) -> str:
    return (
        f"the network sees {window} tokens at once, and carries its state from window to window in training; scored "
        f"tokens have at least {window // 2} before them; train has {tokens:,} (change: --set data.window=)"
    )
