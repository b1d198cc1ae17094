"""Which sources are texts to continue, and how they are read: files, folders of files, text in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import delimited
from chainrule.data.archive import is_junk
from chainrule.data.config import DataConfig
from chainrule.data.corpus.records import CorpusRecords, documents, lines, running
from chainrule.data.encoding import LOOKED_AT, decode_text
from chainrule.data.memory import free_memory
from chainrule.data.sources import SIDE_FILES, Source
from chainrule.data.text.read import recognises as is_labelled
from chainrule.errors import InputError

ENDING = ".txt"
LEAST = 64  # characters of a text that can be learned from
SHORT_LINE, FEW_WORDS = (
    40,
    3.0,
)  # lines that are documents: 95 of 100 are no longer, and they have so many words at most
BLANK = 0.01  # share of blank lines up to which lines are documents
MANY_FILES = 30  # from which on each file is a document
BYTES_IN_MEMORY = 8  # that a byte of a file may take: as text, as ids and while both are made


def recognises(source: Source) -> str | None:
    """Why this source is a text to continue ("running text"), in words, or None."""
    if is_labelled(source):
        return None
    if source.path is None:
        return _value_reason(source.value)
    if source.path.is_dir():
        files = _files(source.path)
        return f"a folder of {len(files):,} text files without classes" if files else None
    if delimited.suffix(source.path) != ENDING or delimited.sniff(source.path) is not None:
        return None
    try:
        head, _ = decode_text(delimited.read_bytes(source.path, LOOKED_AT))
    except InputError:
        return None
    if not head.strip():
        return None
    return "short lines of one shape, each a document" if are_documents(head) else "running text"


def _value_reason(value: Any) -> str | None:
    if isinstance(value, str) and value.strip():
        return "a text, each line a document" if are_documents(value) else "a running text"
    if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value):
        return f"{len(value):,} texts, each a document"
    return None


def are_documents(text: str) -> bool:
    """Whether every line is a document of its own, as a list of names is: short lines, few words, none blank."""
    found = text.strip("\n").split("\n")
    sizes = np.array([len(line.strip()) for line in found])
    words = sum(len(line.split()) for line in found) / len(found)
    enough = len(found) > 1 and float((sizes == 0).mean()) <= BLANK
    return enough and float(np.quantile(sizes, 0.95)) <= SHORT_LINE and words <= FEW_WORDS


def _files(folder: Path) -> list[Path]:
    """The text files of a folder that holds nothing else, by name."""
    children = [child for child in sorted(folder.iterdir()) if not is_junk(child.name)]
    files = [child for child in children if child.is_file() and not SIDE_FILES.match(child.name)]
    plain = [file for file in files if delimited.suffix(file) == ENDING]
    return plain if len(plain) == len(files) and not any(child.is_dir() for child in children) else []


def read(source: Source, options: DataConfig) -> dict[str, CorpusRecords]:
    """The records: documents, or the cells of a running text.

    Raises:
        InputError: no text, or too little of it; a file that is damaged or does not fit into memory.
    """
    if source.path is None:
        records = _of_value(source.value)
    elif source.path.is_dir():
        records = _of_folder(source.path)
    else:
        text, notes = read_text(source.path)
        records = of_text(text, notes)
    if records.num_characters < LEAST:
        name = source.original or "this text"
        raise InputError(
            f"{name} holds {records.num_characters} characters; expected {LEAST} or more to learn from, and thousands "
            "for a network that writes"
        )
    return {"all": records}


def of_text(text: str, notes: tuple[str, ...] = ()) -> CorpusRecords:
    """A text by what it looks like: a document a line, or running on."""
    return lines(text, notes) if are_documents(text) else running(text, notes)


def _of_value(value: Any) -> CorpusRecords:
    if isinstance(value, str):
        return of_text(value.replace("\r\n", "\n"))
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"a corpus is a text, a list of texts or the path of a .txt file, got {type(value).__name__}")
    kept = [one.strip() for one in value if one.strip()]
    notes = (f"{len(value) - len(kept)} empty texts are left out",) if len(kept) < len(value) else ()
    return documents(kept, notes=notes)


def _of_folder(folder: Path) -> CorpusRecords:
    files = _files(folder)
    if not files:
        raise InputError(f"{folder} holds no {ENDING} files, or other files and folders beside them")
    texts, notes = [], list[str]()
    for file in files:
        text, said = read_text(file)
        texts.append(text.strip())
        notes += said
    empty = [file.name for file, text in zip(files, texts, strict=True) if not text]
    if empty:
        notes.append(f"{len(empty)} empty files are left out, such as {empty[0]}")
    full = [(file.name, text) for file, text in zip(files, texts, strict=True) if text]
    if len(full) >= MANY_FILES:
        return documents([text for _, text in full], [name for name, _ in full], tuple(notes))
    if len(full) > 1:
        notes.append(f"{len(full)} files are one running text, in the order of their names")
    return of_text("\n\n".join(text for _, text in full), tuple(notes))


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a file, unpacked where it ends with .gz, with "\\n" at its lines' ends.

    Raises:
        InputError: it is no text, damaged, or larger than memory allows.
    """
    free, size = free_memory(), path.stat().st_size
    if size * BYTES_IN_MEMORY > free:
        raise InputError(
            f"{path.name} has {size:,} bytes, and a text takes up to {BYTES_IN_MEMORY} times as much memory, of which "
            f"{free:,} bytes are free; give a part of it"
        )
    text, notes = decode_text(delimited.read_bytes(path), path.name)
    if "\r" in text:
        notes = (*notes, f"line ends of {path.name} are read as \\n, however they are written")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, notes
