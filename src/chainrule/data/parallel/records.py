"""Pairs of sentences as they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from chainrule.data.kind import Finding


class LineIds(Sequence[str]):
    """Names of lines, made when asked for: "line 17", counted from 1 as in the file."""

    def __init__(self, numbers: NDArray[np.int64], word: str) -> None:
        self.numbers, self.word = numbers, word

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> LineIds: ...
    def __getitem__(self, place: int | slice) -> str | LineIds:
        if isinstance(place, slice):
            return LineIds(self.numbers[place], self.word)
        return f"{self.word} {self.numbers[place]}"


@dataclass(frozen=True, eq=False)
class PairStore:
    """One source's sentences; every selection of records shares it."""

    source_name: str  # a language or a column: "de"
    target_name: str
    sources: Sequence[str]
    targets: Sequence[str] | None  # None: only to be translated
    numbers: NDArray[np.int64]  # the line that each pair stood in, from 1
    word: str = "line"  # what a pair is called: line or row
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class ParallelRecords:
    """Rows of a store."""

    store: PairStore
    rows: NDArray[np.int64]

    groups = None
    times = None

    @staticmethod
    def of(store: PairStore) -> ParallelRecords:
        """All of them."""
        return ParallelRecords(store, np.arange(len(store.sources), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> LineIds:
        """ "line 17", counted from 1 as in the file."""
        return LineIds(self.store.numbers[self.rows], self.store.word)

    @property
    def labels(self) -> NDArray[Any] | None:
        """The translations, as Python text."""
        return None if self.store.targets is None else np.array(self.targets, dtype=object)

    @property
    def sources(self) -> list[str]:
        """What is translated."""
        return [self.store.sources[row] for row in self.rows.tolist()]

    @property
    def targets(self) -> list[str]:
        """The translations; nothing where they are not known."""
        return [] if self.store.targets is None else [self.store.targets[row] for row in self.rows.tolist()]

    def select(self, rows: NDArray[np.int64]) -> ParallelRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def fingerprint(self) -> str:
        """SHA-256 over both sides and their order."""
        digest = hashlib.sha256()
        for side in (self.sources, self.targets):
            for text in side:
                content = _bytes_of(text)
                digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for equal sentences to be translated."""
        parts = b"".join(hashlib.blake2b(_bytes_of(text), digest_size=8).digest() for text in self.sources)
        return np.frombuffer(parts, dtype=np.uint64)

    def near_hashes(self) -> None:
        """None: near copies of sentences are not looked for."""


def _bytes_of(text: str) -> bytes:
    """UTF-8, also of unpaired surrogates, which texts from Python may hold."""
    return text.encode("utf-8", "surrogatepass")
