"""Texts as they were read: documents, or the cells that a running text is divided by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

SHORT = 64  # characters of a document below which an equal one is no copy: a first name occurs more than once
CELL, FEWEST_CELLS = 128, 100  # characters of running text that a split does not divide, and how many of them there are
AT_ONCE = 1 << 17  # characters of running text that are encoded together, up to the end of their last line
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CorpusStore:
    """One text in memory and where its records begin and end."""

    text: str
    bounds: Ints  # (N, 2)
    documents: bool
    numbers: Ints | None = None  # of the lines that documents stand in
    names: tuple[str, ...] = ()  # of the files that documents stand in
    notes: tuple[str, ...] = ()

    def name(self, row: int) -> str:
        """Where a person finds a record again."""
        if self.names:
            return self.names[row]
        if self.documents:
            return f"document {row + 1}" if self.numbers is None else f"line {self.numbers[row]}"
        start, end = self.bounds[row].tolist()
        return f"characters {start + 1:,} to {end:,}"


class Ids(Sequence[str]):
    """Names of records, made when asked for."""

    def __init__(self, store: CorpusStore, rows: Ints) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Ids: ...
    def __getitem__(self, place: int | slice) -> str | Ids:
        if isinstance(place, slice):
            return Ids(self.store, self.rows[place])
        return self.store.name(int(self.rows[place]))


@dataclass(frozen=True, eq=False)
class CorpusRecords:
    """Documents, or cells of a running text; selecting copies row numbers only."""

    store: CorpusStore
    rows: Ints

    groups = None
    labels = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def documents(self) -> bool:
        """Whether records are documents."""
        return self.store.documents

    @property
    def ids(self) -> Ids:
        """ "line 17" or "characters 129 to 256"."""
        return Ids(self.store, self.rows)

    @property
    def times(self) -> NDArray[Any] | None:
        """The places of a running text's cells, so that it is divided in order; documents have none."""
        return None if self.documents else self.rows

    @property
    def num_characters(self) -> int:
        """Of all records."""
        bounds = self.store.bounds[self.rows]
        return int((bounds[:, 1] - bounds[:, 0]).sum())

    def select(self, rows: NDArray[np.int64]) -> CorpusRecords:
        """The records of these rows, in this order."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def text(self, row: int) -> str:
        """One record."""
        start, end = self.store.bounds[self.rows[row]].tolist()
        return self.store.text[start:end]

    def texts(self) -> list[str]:
        """Documents one by one; running text in pieces that end with a line."""
        if self.documents:
            return [self.text(row) for row in range(len(self))]
        return [piece for stretch in self._stretches() for piece in _pieces(stretch)]

    def joined(self) -> str:
        """All of it as one text, documents a line each."""
        return "\n".join(self.texts()) if self.documents else "".join(self._stretches())

    def _stretches(self) -> list[str]:
        """The running text between gaps in the rows."""
        gaps = np.flatnonzero(np.diff(self.rows) != 1) + 1
        spans = [part for part in np.split(self.rows, gaps) if len(part)]
        return [self.store.text[self.store.bounds[p[0], 0] : self.store.bounds[p[-1], 1]] for p in spans]

    def fingerprint(self) -> str:
        """SHA-256 over all records in order."""
        digest = hashlib.sha256(b"documents" if self.documents else b"running")
        for text in self.texts():
            digest.update(f"{len(text)}\0".encode() + text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One hash per record; short documents and cells are no copies of each other, so their place counts too."""
        found = np.empty(len(self), dtype=np.uint64)
        for row in range(len(self)):
            text = self.text(row)
            place = "" if self.documents and len(text) >= SHORT else f"{self.rows[row]}\0"
            content = (place + text).encode("utf-8", "surrogatepass")
            found[row] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        return found

    def near_hashes(self) -> None:
        """Texts have no perceptual hash."""


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + AT_ONCE) + 1
        end = end if 0 < end <= start + 2 * AT_ONCE else min(len(text), start + 2 * AT_ONCE)
        yield text[start:end]
        start = end


def running(text: str, notes: tuple[str, ...] = ()) -> CorpusRecords:
    """A running text in cells of up to 128 characters, a hundred of them or more."""
    cell = max(1, min(CELL, len(text) // FEWEST_CELLS))
    starts = np.arange(0, len(text), cell, dtype=np.int64)
    bounds = np.stack((starts, np.minimum(starts + cell, len(text))), axis=1)
    return CorpusRecords(CorpusStore(text, bounds, documents=False, notes=notes), np.arange(len(starts)))


def lines(text: str, notes: tuple[str, ...] = ()) -> CorpusRecords:
    """Every line that is not blank is a document, without the spaces around it."""
    bounds, numbers, start = [], [], 0
    for number, line in enumerate(text.split("\n"), 1):
        plain = line.strip()
        if plain:
            begin = start + line.index(plain)
            bounds.append((begin, begin + len(plain)))
            numbers.append(number)
        start += len(line) + 1
    store = CorpusStore(text, _table(bounds), documents=True, numbers=np.array(numbers, np.int64), notes=notes)
    return CorpusRecords(store, np.arange(len(bounds)))


def documents(texts: Sequence[str], names: Sequence[str] = (), notes: tuple[str, ...] = ()) -> CorpusRecords:
    """Each text is a document."""
    ends = np.cumsum([len(text) for text in texts])
    bounds = np.stack((ends - [len(text) for text in texts], ends), axis=1)
    store = CorpusStore("".join(texts), bounds.astype(np.int64), documents=True, names=tuple(names), notes=notes)
    return CorpusRecords(store, np.arange(len(texts)))


def _table(bounds: list[tuple[int, int]]) -> Ints:
    return np.array(bounds, dtype=np.int64).reshape(-1, 2)
