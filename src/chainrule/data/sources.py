"""From what a person typed to something on disk or in memory: paths, archives, known names, frames and arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from chainrule.data.archive import is_junk, unpack
from chainrule.data.known import (
    KNOWN,
    PACKAGED,
    TRUTH_TABLES,
    KnownSet,
    cache_folder,
    canonical,
    datasets,
    downloaded,
    local_sets,
)
from chainrule.errors import InputError, nearest

__all__ = [
    "KnownSet", "Source", "dataset", "datasets", "is_junk", "lone_folder", "open_source", "path_of", "path_or_text",
    "split_word", "suffix", "walk",
]  # fmt: skip

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm", ".pbm")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
MEDIA = (*PICTURES, *SOUNDS, *VIDEOS)
SIDE_FILES = re.compile(r"(readme|licen[cs]e|citation)\b|(classes|labels)\.txt$", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A source, resolved and unpacked, not yet recognised."""

    name: str  # short, fit for a folder's name: "titanic"
    original: str  # as typed; "" for data handed over in memory
    path: Path | None = None  # file or folder; a zip is unpacked; a folder with one data file is that file
    value: Any = None  # a DataFrame, (X, y) arrays or a dict of them
    parts: Mapping[str, Source] = field(default_factory=dict)  # "train", "valid", "test" where it came divided
    notes: tuple[str, ...] = ()  # what was decided on the way and should be said
    second: Path | None = None  # of parallel text given as two files, the one with the translations


def open_source(source: Any) -> Source:
    """The source behind a path, a known name, or data in memory.

    A path wins over a known name, and says so. A zip of a folder is unpacked for as long as the process lives. What has
    more than one line is a text.

    Raises:
        InputError: nothing of that name, an unsafe or broken zip, or a folder of several data files.

    Example:
        >>> open_source("xor").name
        'xor'
    """
    if isinstance(source, Source):
        return source
    if is_pair(source):
        return _open_pair(*source)
    if not isinstance(source, (str, Path)):
        if source is None:
            raise InputError("no source was given; give a path, the name of a known set, a DataFrame or arrays")
        return _open_value(source)
    if not is_named(source):
        return Source(name="text", original="", value=source)
    text = str(source)
    path = path_of(text)
    if path is not None:
        opened = _open_path(path, text)
        if canonical(text) not in {entry.name for entry in datasets()}:
            return opened
        note = f"{text!r} is the path {path.resolve()}; the known set of that name is not used"
        return replace(opened, notes=(note, *opened.notes))
    return _open_name(text, Path(text))


def is_named(source: Any) -> bool:
    """Whether this is a path or a name, not data in memory: a text of several lines is data."""
    return isinstance(source, Path) or (isinstance(source, str) and "\n" not in source)


def is_pair(source: Any) -> bool:
    """Whether these are two sources that belong together line by line."""
    return isinstance(source, list) and len(source) == 2 and all(isinstance(part, str | Path) for part in source)


def path_of(given: str | Path) -> Path | None:
    """The file or folder that is called so; None where nothing is: a text, a known name or a mistake.

    Example:
        >>> path_of("a gorgeous, witty film") is path_of("") is path_of("~nobody's film") is None
        True
    """
    if not str(given).strip() or "\n" in str(given):
        return None
    try:
        path = Path(given).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # longer than a name can be, "~" of nobody, a zero byte
        return None


def path_or_text(given: str | Path) -> Path | None:
    """The file or folder that an input of a network for texts names; None where it is a text itself.

    Raises:
        InputError: it looks like the name of a file, and none is called so.
    """
    path = path_of(given)
    if path is None and (isinstance(given, Path) or _like_a_file(given)):
        raise InputError(f"there is no file {str(given)!r}; a text is given as it is, with spaces between its words")
    return path


def _like_a_file(text: str) -> bool:
    named = not re.search(r"\s", text.strip()) and len(text) < 1000
    return named and (suffix(Path(text)) in (*TABLES, ".txt") or ("/" in text and Path(text).suffix != ""))


def _open_pair(first: str | Path, second: str | Path) -> Source:
    """Two files that belong together line by line."""
    opened, other = open_source(first), open_source(second)
    if opened.path is None or other.path is None or not (opened.path.is_file() and other.path.is_file()):
        raise InputError(f"SOURCE SOURCE2 are two text files, line by line; got {str(first)!r} and {str(second)!r}")
    return replace(opened, second=other.path)


def _open_value(value: Any) -> Source:
    """Data in memory; a dict of train, valid and test with a source each comes divided."""
    source = Source(name="data", original="", value=value)
    divided = isinstance(value, Mapping) and "train" in value and set(value) <= set(SPLIT_WORDS.values())
    if divided and all(_is_source(part) for part in value.values()):
        return replace(source, value=None, parts={word: open_source(part) for word, part in value.items()})
    if isinstance(value, tuple) and len(value) == 2 and all(hasattr(part, "__len__") for part in value):
        rows, answers = len(value[0]), len(value[1])
        if rows != answers:
            raise InputError(f"(X, y): X has {rows} rows and y has {answers}; there must be one answer per row")
    return source


def _is_source(value: Any) -> bool:
    """Whether this is a path, (X, y), a frame or a matrix, not a single column."""
    return isinstance(value, str | Path | tuple | Mapping) or hasattr(value, "columns") or getattr(value, "ndim", 1) > 1


def dataset(name: str) -> KnownSet:
    """The known set of this name; ``-`` and ``_`` are equal.

    Raises:
        InputError: there is none; names the nearest.
    """
    known = {entry.name: entry for entry in datasets()}
    if canonical(name) not in known:
        raise InputError(f"there is no known data set {name!r}; {nearest(canonical(name), list(known))}")
    return known[canonical(name)]


def suffix(path: Path) -> str:
    """The file's suffix in lower case without ``.gz``: ``.csv`` for ``A.CSV.gz``."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def split_word(name: str) -> str:
    """ "train", "valid" or "test" where exactly one of them stands as a word in the name, otherwise ""."""
    words = {SPLIT_WORDS[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in SPLIT_WORDS}
    return words.pop() if len(words) == 1 else ""


def is_idx(path: Path) -> bool:
    """Whether the name says idx, as MNIST's files do: ``train-images-idx3-ubyte.gz``."""
    return re.search(r"[-.]idx\d?([-.]|$)", path.name.lower().removesuffix(".gz")) is not None


def _open_name(text: str, path: Path) -> Source:
    name = canonical(text)
    if name in TRUTH_TABLES:
        return Source(name=name, original=text)
    if name in PACKAGED:
        return Source(name=name, original=text, value=PACKAGED[name](), notes=(f"{name}: packaged with scikit-learn",))
    local = local_sets().get(name)
    if local is not None:
        return replace(_open_path(local, text), name=name, notes=(f"{name}: found at {local}",))
    if name in KNOWN:
        folder = downloaded(KNOWN[name])
        return replace(_open_path(folder, text), name=name, notes=(f"{name}: kept in {cache_folder()}",))
    raise InputError(_not_found(text, path))


def _not_found(text: str, path: Path) -> str:
    if "://" in text:
        return f"{text!r} is an address; download it yourself and give the file's path"
    if not path.parent.is_dir():
        return f"{text!r} does not exist: there is no folder {str(path.parent)!r}"
    beside = [child.name for child in path.parent.iterdir() if not is_junk(child.name)]
    files = [str(path.with_name(name)) for name in get_close_matches(path.name, beside, n=3, cutoff=0.5)]
    names = get_close_matches(canonical(text), [entry.name for entry in datasets()], n=3, cutoff=0.5)
    close = list(dict.fromkeys(files + names))[:3]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`chainrule datasets` lists the known ones"
    return f"{text!r} is neither a file or folder here nor a known data set; {hint}"


def _open_path(path: Path, original: str) -> Source:
    source = Source(name=_short_name(path), original=original, path=path)
    if path.is_dir():
        return _open_folder(source, path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is neither a file nor a folder")
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty (0 bytes)")
    if path.suffix.lower() == ".zip":
        return _open_folder(source, unpack(path))
    if re.search(r"\.(tar(\.\w+)?|tgz|rar|7z)$", path.name.lower()):
        raise InputError(
            f"{str(path)!r} is an archive that is not opened here; unpack it and give its folder, or a zip"
        )
    return source


def _short_name(path: Path) -> str:
    """The name without its suffixes; of a file that is only called "train", its folder's."""
    resolved = path.resolve()
    stem = resolved.name
    if resolved.is_file():
        stem = re.sub(r"(\.[A-Za-z][A-Za-z0-9]{0,7}){1,2}$", "", resolved.name)
        if stem.lower() in SPLIT_WORDS:
            stem = resolved.parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "data"


def _open_folder(source: Source, folder: Path) -> Source:
    """What a folder stands for: its only child folder, its parts, its only data file, or itself."""
    folders, files = _children(folder)
    data_files = _data_files(files)
    if not folders and not files:
        raise InputError(f"{source.original!r} holds no files")
    if len(folders) == 1 and not data_files and not _media(files):
        return _open_folder(source, folders[0])
    parts = {} if _in_languages(data_files) else _parts(folders, data_files)
    if parts:
        used = set(parts.values())
        left = tuple(f"{path.name}: not used" for path in data_files if path not in used)
        opened = {word: _open_part(source, path) for word, path in parts.items()}
        return replace(source, path=folder, parts=opened, notes=left)
    if sum(_holds_media(child) for child in folders) >= 2 or any(is_idx(path) for path in files):
        return replace(source, path=folder)
    if len(data_files) == 1:
        beside = [path for path in files if path != data_files[0] and suffix(path) not in MEDIA]  # a table names those
        side = tuple(f"{path.name}: taken as a side file" for path in beside)
        return replace(_open_path(data_files[0], source.original), name=source.name, notes=side[:5])
    if len(data_files) > 1 and all(suffix(path) != ".txt" for path in data_files):
        names = ", ".join(path.name for path in data_files)
        raise InputError(
            f"{source.original!r} holds several data files ({names}); give the path of one of them, "
            f"or name them train, valid and test where they are one set"
        )
    return replace(source, path=folder)


def lone_folder(source: Source) -> Path | None:
    """The folder above the source's own where that one is all it holds, so that ``open_source`` passed it over."""
    if source.path is None or not source.path.is_dir() or source.parts:
        return None
    folders, files = _children(source.path.parent)
    return source.path.parent if len(folders) == 1 and not _data_files(files) and not _media(files) else None


def _open_part(source: Source, path: Path) -> Source:
    """One split: a file, a folder that holds one data file, or a folder as it is, even of a single class."""
    part = Source(name=source.name, original=str(path), path=path)
    if path.is_file():
        return replace(_open_path(path, str(path)), name=source.name)
    folders, files = _children(path)
    data_files = _data_files(files)
    if len(data_files) == 1 and not folders and not _media(files):
        return replace(_open_path(data_files[0], str(path)), name=source.name)
    return part


def _children(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, by name, without what operating systems leave behind."""
    children = sorted(child for child in folder.iterdir() if not is_junk(child.name))
    return [child for child in children if child.is_dir()], [child for child in children if child.is_file()]


def _data_files(files: list[Path]) -> list[Path]:
    """The tables and arrays; zips only where there are none of these, plain text only where there are no zips."""
    kept = [path for path in files if not SIDE_FILES.match(path.name)]
    by_kind = ([path for path in kept if suffix(path) in kind] for kind in ((*TABLES, ".npz"), (".zip",), (".txt",)))
    return next((found for found in by_kind if found), [])


def _media(files: list[Path]) -> list[Path]:
    return [path for path in files if suffix(path) in MEDIA]


def _holds_media(folder: Path) -> bool:
    return any(
        Path(name).suffix.lower() in MEDIA and not is_junk(name) for _, _, names in walk(folder) for name in names
    )


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """``os.walk`` that follows links to folders, each folder once, so that a link to a folder above it ends."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        yield folder, folders, files


def _in_languages(files: list[Path]) -> bool:
    """Whether text files come in several languages: train.de.txt beside train.en.txt."""
    found = [re.fullmatch(r"(.+)\.[a-z]{2}([-_][A-Za-z]{2,4})?\.txt(\.gz)?", path.name) for path in files]
    stems = [match[1] for match in found if match]
    return len(set(stems)) < len(stems)


def _parts(folders: list[Path], files: list[Path]) -> dict[str, Path]:
    """The folder or file of each split; nothing where there is no train, or nothing beside it."""
    found: dict[str, Path] = {}
    for path in files:
        word = split_word(path.name.lower().split(".")[0])
        if not word:
            continue
        if word in found and suffix(path) in TABLES:
            raise InputError(
                f"{found[word].name} and {path.name} are both called {word}; give one file per split, inputs and "
                f"target together"
            )
        found[word] = path
    for path in folders:
        word = SPLIT_WORDS.get(path.name.lower(), "")
        listed = word in found and found[word].suffix == ".txt" and _holds_media(path)  # a list of the folder's files
        if word and (word not in found or listed or sum(_holds_media(child) for child in _children(path)[0]) >= 2):
            found[word] = path
    if "train" not in found or len(found) == 1:
        return {}
    return {word: found[word] for word in sorted(found, key=["train", "valid", "test"].index)}
