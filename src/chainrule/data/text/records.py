"""Texts as they were read, with their labels, and what was noticed on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.kind import Finding
from chainrule.data.tokens import words_of


@dataclass(frozen=True, kw_only=True, eq=False)
class TextStore:
    """Everything that was read; all selections share it."""

    texts: Sequence[str]
    ids: Sequence[str]
    labels: NDArray[Any] | None = None  # words, or float64
    label_name: str = "class"
    columns: tuple[str, ...] = ()  # that the texts stood in; (): they came from files or lists
    others: tuple[str, ...] = ()  # columns that are not used
    header: bool = True  # whether the columns had names of their own
    lines: bool = False  # whether each line of a plain file is a text
    groups: NDArray[Any] | None = None
    times: NDArray[Any] | None = None
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class TextRecords:
    """Some of the texts. Selecting copies row numbers only."""

    store: TextStore
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[str]:
        """ "row 17", counted from 1 as in the file, or the file's path."""
        return [self.store.ids[row] for row in self.rows.tolist()]

    @property
    def texts(self) -> list[str]:
        """The texts."""
        return [self.store.texts[row] for row in self.rows.tolist()]

    @property
    def groups(self) -> NDArray[Any] | None:
        """What data.group names."""
        return _chosen(self.store.groups, self.rows)

    @property
    def times(self) -> NDArray[Any] | None:
        """What data.time names."""
        return _chosen(self.store.times, self.rows)

    @property
    def labels(self) -> NDArray[Any] | None:
        """Words or float64; None where the source has none."""
        return _chosen(self.store.labels, self.rows)

    def select(self, rows: NDArray[np.int64]) -> TextRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def fingerprint(self) -> str:
        """SHA-256 over the texts, labels and order."""
        digest = hashlib.sha256()
        labels = self.labels
        for text in self.texts:
            content = text.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "little") + content)
        for label in [] if labels is None else labels.tolist():
            digest.update(f"\0{label}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One hash per text, equal for texts of the same words, however they are spaced and capitalised."""
        return np.array([_hash(text) for text in self.texts], dtype=np.uint64)

    def near_hashes(self) -> None:
        """Texts have no near duplicates but those of the same words."""


def all_records(store: TextStore) -> TextRecords:
    """The records of a whole store."""
    return TextRecords(store, np.arange(len(store.texts), dtype=np.int64))


def _chosen(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[rows]


def _hash(text: str) -> int:
    words = " ".join(words_of(text.lower())).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")
