"""Decoded media files as records: what images, recordings and videos share, whatever their content is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.labels import FEW, label_findings
from chainrule.data.media import (
    FilesBelow,
    MediaFiles,
    Medium,
    folder_files,
    folder_reason,
    list_files,
    path_table,
    table_files,
    unlabelled_files,
)
from chainrule.data.memory import Memory
from chainrule.data.sources import Source, open_source
from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MediaStore(ABC):
    """One source's content; every selection of records shares it. Each medium adds what it decodes."""

    ids: Sequence[str]
    labels: NDArray[Any] | None = None
    label_name: str = "class"
    label_pattern: str = ""  # the regular expression that found labels in the names
    groups: NDArray[Any] | None = None
    group_reason: str = ""
    times: NDArray[Any] | None = None
    memory: Memory = field(default_factory=Memory)  # what the content and the tensors made from it may take
    skipped: tuple[tuple[str, str], ...] = ()  # (id, reason)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what was unusual -> ids
    ignored: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @abstractmethod
    def digest(self, row: int) -> str:
        """What tells this row's content from another's: of the file's bytes, or of an array's values."""


S = TypeVar("S", bound=MediaStore)
R = TypeVar("R", bound="MediaRecords[Any]")
Reader = Callable[[DataConfig], dict[str, R]]


class MediaRecords(ABC, Generic[S]):
    """Rows of a store, as the Records protocol asks."""

    def __init__(self, store: S, rows: NDArray[np.int64] | None = None) -> None:
        self.store = store
        self.rows = np.arange(len(store.ids)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The files' relative paths, or ``image 17``, counted from 0 as in the array."""
        return tuple(self.store.ids[row] for row in self.rows.tolist())

    @property
    def labels(self) -> NDArray[Any] | None:
        """Class names, class numbers or numbers, as they came."""
        return None if self.store.labels is None else self.store.labels[self.rows]

    @property
    def groups(self) -> NDArray[Any] | None:
        """What must stay on one side of the split, such as a patient or a source video."""
        return None if self.store.groups is None else self.store.groups[self.rows]

    @property
    def times(self) -> NDArray[Any] | None:
        """Moments from a column the user named."""
        return None if self.store.times is None else self.store.times[self.rows]

    def select(self, rows: NDArray[np.int64]) -> Self:
        """The records of these rows, sharing the content."""
        return type(self)(self.store, self.rows[rows])

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and content (file bytes, or the values of arrays)."""
        digest, labels = sha256(), self.labels
        for place, row in enumerate(self.rows.tolist()):
            label = "" if labels is None else str(labels[place])
            digest.update(f"{self.store.ids[row]}\0{label}\0{self.store.digest(row)}\n".encode())
        return digest.hexdigest()

    @abstractmethod
    def hashes(self) -> NDArray[np.uint64]:
        """Equal for equal content."""

    @abstractmethod
    def near_hashes(self) -> NDArray[np.uint64] | None:
        """Near for content that looks alike; None where that is not looked for."""


def read_by(found: tuple[str, Reader[R]] | None, source: Source, options: DataConfig, wanted: str) -> dict[str, R]:
    """The records by what a kind found to read ``source`` with.

    Args:
        wanted: the noun of the kind and what it accepts, for the message.

    Raises:
        InputError: it found nothing; or as the reader does.
    """
    if found is None:
        raise InputError(f"{source.original or 'this data'} is not {wanted}")
    return found[1](options)


def files_reader(
    path: Path, medium: Medium, decode: Callable[[MediaFiles, DataConfig], R]
) -> tuple[str, Reader[R]] | None:
    """Why a table or a folder is of this medium, in words, and what reads the files that it names or holds."""
    table = path_table(path, medium)
    if table is not None:
        reason = f"table of {len(table.table):,} rows whose column {table.paths!r} holds paths of {medium.name}"
        return reason, lambda options: {
            part: decode(files, options) for part, files in table_files(table, options).items()
        }
    found = folder_reason(path, medium) if path.is_dir() else None
    if found is None:
        return None
    return found, lambda options: {"all": decode(folder_files(path, medium, options), options)}


def input_files(one: str | Path, medium: Medium) -> MediaFiles | None:
    """The files that a path for prediction stands for: itself, all in a folder, or those that a table names."""
    path = Path(one).expanduser()
    if path.is_file() and medium.holds(path):
        return MediaFiles(paths={str(one): path})
    root = open_source(one).path
    if root is not None and root.is_dir():
        return MediaFiles(paths=FilesBelow(root, list_files(root, medium).files))
    table = None if root is None else path_table(root, medium)
    return None if table is None else unlabelled_files(table)


def joined(stores: Sequence[MediaStore]) -> dict[str, Any]:
    """Ids, notes and remarks of all stores, as fields of one for prediction."""
    remarks: dict[str, tuple[str, ...]] = {}
    for store in stores:
        for remark, names in store.remarks.items():
            remarks[remark] = remarks.get(remark, ()) + names
    return {
        "ids": tuple(name for store in stores for name in store.ids),
        "notes": tuple(dict.fromkeys(note for store in stores for note in store.notes)),
        "remarks": remarks,
    }


def media_findings(
    records: MediaRecords[Any], medium: Medium, noun: str, warned: tuple[str, ...] = (), classes: bool = True
) -> list[Finding]:
    """Skipped and unusual files, empty or tiny classes, and groups.

    Args:
        noun: one record, such as "image".
        warned: beginnings of the remarks that are warnings.
        classes: whether labels may be classes, of which a single record is too few.
    """
    store: MediaStore = records.store
    found = [Finding("note", note) for note in store.notes]
    if store.skipped:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in store.skipped[:FEW])
        text = f"{len(store.skipped)} {medium.name} cannot be read and are left out: {reasons}"
        found.append(Finding("warning", text, tuple(name for name, _ in store.skipped[:FEW])))
    for name in store.empty_classes:
        found.append(Finding("warning", f"class folder {name!r} holds no {medium.name}; it is no class"))
    for remark, names in store.remarks.items():
        level = "warning" if remark.startswith(warned) else "note"
        found.append(Finding(level, f"{len(names)} {noun}s: {remark}", names[:FEW]))
    if store.ignored:
        found.append(Finding("note", f"{len(store.ignored)} other files or folders ignored", store.ignored[:FEW]))
    if store.group_reason and store.groups is not None:
        count = len(set(store.groups.tolist()))
        found.append(Finding("note", f"{count} groups kept whole in the split, by {store.group_reason}"))
    return found + (label_findings(records.labels, noun) if classes else [])
