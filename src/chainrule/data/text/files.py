"""Texts from plain files: class folders with a text in each file, or a file for each class with a text a line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chainrule.data import delimited
from chainrule.data.archive import is_junk
from chainrule.data.encoding import decode_text
from chainrule.data.kind import Finding
from chainrule.data.labels import FEW
from chainrule.data.sources import MEDIA, SIDE_FILES, SPLIT_WORDS, TABLES
from chainrule.data.text.records import TextStore
from chainrule.data.text.tables import kept
from chainrule.data.tokens import words_of
from chainrule.errors import InputError

ENDING = ".txt"
HEAD_BYTES = 1 << 14
MOST_CLASS_FILES = 50
FEWEST_LINES, FEWEST_WORDS, MOST_BLANK = 3, 2.5, 0.02  # of a file that has a text on each line
UNLABELLED = ("unsup", "unlabeled", "unlabelled")  # folders of texts without a class, as IMDb's
LANGUAGE = re.compile(r"[a-z]{2}([-_][a-z]{2})?", re.IGNORECASE)  # parallel texts end with such names


def class_folders(root: Path) -> dict[str, Path]:
    """The folders of a root that hold plain text files, two or more; none where it holds anything else in earnest."""
    folders = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and not is_junk(p.name)}
    found = {name: path for name, path in folders.items() if any(True for _ in text_files(path))}
    if len(found) < 2 or any(name.lower() in SPLIT_WORDS for name in found):
        return {}
    others = sum(name.lower().endswith((*MEDIA, *TABLES)) for path in folders.values() for name in os.listdir(path))
    texts = sum(1 for path in found.values() for _ in text_files(path))
    return found if texts > 10 * others else {}


def text_files(folder: Path) -> Iterator[Path]:
    """The plain text files below a folder, by name."""
    for path in sorted(folder.rglob("*")):
        junk = any(is_junk(part) for part in path.relative_to(folder).parts)
        if not junk and delimited.suffix(path) == ENDING and not SIDE_FILES.match(path.name) and path.is_file():
            yield path


def class_files(root: Path) -> dict[str, Path]:
    """Files that are called alike but for one word, their class, each with a text on every line; none otherwise."""
    files = [p for p in sorted(root.iterdir()) if not is_junk(p.name) and not SIDE_FILES.match(p.name)]
    if not 2 <= len(files) <= MOST_CLASS_FILES or not all(p.is_file() for p in files):
        return {}
    parts = [re.split(r"[^\w]+|_", re.sub(r"(?i)(\.txt)?(\.gz)?$", "", p.name)) for p in files]
    if len({len(words) for words in parts}) > 1:
        return {}
    differing = [place for place, words in enumerate(zip(*parts, strict=True)) if len(set(words)) > 1]
    if len(differing) != 1:
        return {}
    names = [words[differing[0]] for words in parts]
    odd = all(LANGUAGE.fullmatch(n) for n in names) or any(n.lower() in SPLIT_WORDS or n.isdigit() for n in names)
    if odd or len(set(names)) < len(names) or any(p.suffix.lower() in (*MEDIA, *TABLES, ".zip") for p in files):
        return {}
    return dict(zip(names, files, strict=True)) if all(_has_lines_of_text(path) for path in files) else {}


def _has_lines_of_text(path: Path) -> bool:
    try:
        head = delimited.read_bytes(path, HEAD_BYTES)
        text, _ = decode_text(head[: head.rfind(b"\n") + 1] if len(head) == HEAD_BYTES else head, path.name)
    except InputError:
        return False
    lines = text.rstrip("\n").split("\n")
    blank = sum(not line.strip() for line in lines)
    words = np.mean([len(words_of(line)) for line in lines])
    return len(lines) >= FEWEST_LINES and blank <= MOST_BLANK * len(lines) and float(words) >= FEWEST_WORDS


def read_class_folders(folders: dict[str, Path]) -> TextStore:
    """A text for each file, its folder's name the label."""
    texts, ids, labels = list[str](), list[str](), list[str]()
    said: dict[str, list[str]] = {}
    left = [name for name in folders if name.lower() in UNLABELLED]
    for name, folder in folders.items():
        for path in [] if name in left else text_files(folder):
            text, notes = decode_text(delimited.read_bytes(path), "a file")
            for note in notes:
                said.setdefault(note, []).append(f"{name}/{path.relative_to(folder).as_posix()}")
            texts.append(text)
            ids.append(f"{name}/{path.relative_to(folder).as_posix()}")
            labels.append(name)
    notes_ = [Finding("warning", f"{len(w)} files: {n.replace('a file', 'the file')}", tuple(w[:FEW]))
              for n, w in said.items()]  # fmt: skip
    if left:
        notes_.append(Finding("note", f"the folder {left[0]!r} holds texts without a label and is left out"))
    return kept(TextStore(texts=texts, ids=ids, labels=np.array(labels), notes=tuple(notes_)))


def read_class_files(files: dict[str, Path]) -> TextStore:
    """A text for each line, its file's class the label."""
    texts, ids, labels = list[str](), list[str](), list[str]()
    notes: list[Finding] = []
    for name, path in files.items():
        lines, said = lines_of(path)
        notes += [Finding("warning", note) for note in said]
        texts += lines
        ids += [f"{path.name} line {place + 1}" for place in range(len(lines))]
        labels += [name] * len(lines)
    return kept(TextStore(texts=texts, ids=ids, labels=np.array(labels), lines=True, notes=tuple(notes)))


def lines_of(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """The lines of a plain file, and what was noticed."""
    text, notes = decode_text(delimited.read_bytes(path), path.name)
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n"), notes
