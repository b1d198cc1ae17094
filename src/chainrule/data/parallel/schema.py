"""The schema of parallel text: the tokenizers of both languages and how long a sentence may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.parallel.records import ParallelRecords
from chainrule.data.schema import SentenceTarget, from_json
from chainrule.data.tokens import Tokenizer, learn_tokenizer
from chainrule.errors import InputError

MOST_TOKENS = 8000  # of a vocabulary that nobody sized: words that come often are whole ones
LEAST_LENGTH, USUAL_LENGTHS = 32, 4  # a sentence may be so many times as long as nearly all are
LONGEST = 1024


@dataclass(frozen=True, kw_only=True)
class ParallelSchema:
    """Everything needed to turn sentences into tokens and tokens into sentences."""

    kind: Literal["parallel"] = "parallel"
    format: int = 1
    source: str  # what is translated: a language or a column
    source_tokens: Tokenizer
    target_tokens: Tokenizer
    max_tokens: int  # longer sentences are cut
    target: SentenceTarget | None
    notes: tuple[str, ...] = ()


def learn_schema(train: ParallelRecords, options: DataConfig) -> ParallelSchema:
    """Tokenizers and the longest length, from the train split.

    Raises:
        InputError: sentences without translations, or a vocabulary that is too small.
    """
    if not train.targets:
        raise InputError("these sentences have no translations to learn from; give both languages")
    scheme = options.tokenizer or "bpe"
    sides = {train.store.source_name: train.sources, train.store.target_name: train.targets}
    tokenizers = [_tokenizer(texts, scheme, options.vocab_size) for texts in sides.values()]
    lengths = [lengths_of(tokens, texts) for tokens, texts in zip(tokenizers, sides.values(), strict=True)]
    both = np.maximum(*lengths)
    usual = int(np.clip(USUAL_LENGTHS * np.percentile(both, 99), LEAST_LENGTH, LONGEST))
    most = options.max_tokens or max(LEAST_LENGTH, min(usual, int(both.max())))
    sizes = " and ".join(f"{len(tokens):,} of {name}" for tokens, name in zip(tokenizers, sides, strict=True))
    means = " and ".join(f"{length.mean():.1f}" for length in lengths)
    notes = [
        f"{scheme} tokens: {sizes}; {means} in a sentence on average (change: --set data.tokenizer=, data.vocab_size=)"
    ]
    if cut := int((both > most).sum()):
        notes.append(f"{cut:,} of {len(train):,} pairs are cut to {most} tokens (change: --set data.max_tokens=)")
    target = SentenceTarget(name=train.store.target_name, vocab_size=len(tokenizers[1]))
    return ParallelSchema(
        source=train.store.source_name, source_tokens=tokenizers[0], target_tokens=tokenizers[1], max_tokens=most,
        target=target, notes=tuple(notes),
    )  # fmt: skip


def _tokenizer(texts: Sequence[str], scheme: str, size: int) -> Tokenizer:
    """Of at most ``MOST_TOKENS`` where nobody gave a size; little text has fewer, its words that come twice whole."""
    return learn_tokenizer(texts, scheme, size or (0 if scheme == "characters" else MOST_TOKENS))


def lengths_of(tokens: Tokenizer, texts: Sequence[str]) -> NDArray[np.int64]:
    """The number of tokens of each text."""
    return np.array([len(ids) for ids in tokens.encode_all(texts)], dtype=np.int64)


def load_schema(data: Mapping[str, Any]) -> ParallelSchema:
    """The schema back from JSON.

    Raises:
        InputError: an unknown or absent key, or a newer format.
    """
    return from_json(ParallelSchema, data)
