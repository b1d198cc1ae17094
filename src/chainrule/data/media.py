"""Files of pictures, sound or video before they are decoded: class folders, loose files, tables of paths and labels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.archive import is_junk
from chainrule.data.config import DataConfig
from chainrule.data.delimited import ROW_NAME, as_written, read_bytes, read_delimited, sniff
from chainrule.data.encoding import BOMS
from chainrule.data.file_groups import file_groups, matches_of
from chainrule.data.sources import PICTURES, SOUNDS, SPLIT_WORDS, TABLES, VIDEOS, suffix, walk
from chainrule.errors import InputError, nearest

PAIRED_FOLDERS = {"mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "gt", "groundtruth"}
LABEL_COLUMNS = ("label", "class", "target", "category", "y", "diagnosis")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence", "words")
TEXT_TASK = "transcribe"  # whose answer such a column holds
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
FIRST_PART = r"^([^_.-]+)"  # of a file's name
FIRST_CELLS = 60  # of a table, among which names of files are looked for
LONGEST_NAME = 200  # that a file may have there
FEW_FOLDERS = 20  # in which they are looked for
MOST_LABELS = 100  # that first parts of names may have


@dataclass(frozen=True, kw_only=True)
class Medium:
    """One sort of media file."""

    name: str  # plural, for messages: "images"
    endings: tuple[str, ...]

    def holds(self, path: Path) -> bool:
        """Whether the file's name is of this medium."""
        return path.suffix.lower() in self.endings and not is_junk(path.name)


IMAGES = Medium(name="images", endings=PICTURES)
SOUND_FILES = Medium(name="sound files", endings=SOUNDS)
VIDEO_FILES = Medium(name="videos", endings=VIDEOS)
ALL_MEDIA = (IMAGES, SOUND_FILES, VIDEO_FILES)


@dataclass(frozen=True)
class Listing:
    """The files of a medium below a folder by relative path, and what was passed over."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]


class FilesBelow(Mapping[str, Path]):
    """Files by their path below a folder, made into a ``Path`` when asked for: a million of those take 0.4 GB."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, name: str) -> Path:
        return self.root / name


@dataclass(frozen=True, kw_only=True)
class MediaFiles:
    """Files by the name that a person can find again, with what folders or a table say of each; nothing decoded."""

    paths: Mapping[str, Path]
    labels: NDArray[Any] | None = None
    label_name: str = "class"
    label_pattern: str = ""  # the regular expression over names that found labels where nothing else tells them
    groups: NDArray[Any] | None = None
    group_reason: str = ""
    times: NDArray[Any] | None = None
    ignored: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()

    def facts(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Labels, groups and times of these rows and the rest as it is, as fields of a store; the paths left out."""
        picked = {name: getattr(self, name) for name in ("labels", "groups", "times")}
        return {
            **{name: None if values is None else values[rows] for name, values in picked.items()},
            "label_name": self.label_name, "label_pattern": self.label_pattern, "group_reason": self.group_reason,
            "ignored": self.ignored, "empty_classes": self.empty_classes,
        }  # fmt: skip


@dataclass(frozen=True)
class PathTable:
    """A table whose column ``paths`` names files."""

    table: pl.DataFrame
    paths: str
    folder: Path
    find: Callable[[str], Path | None] = field(repr=False)
    written: Callable[[str], pl.Series] = field(repr=False)  # a column's cells as they stand in the file


def list_files(root: Path, medium: Medium) -> Listing:
    """Every file of the medium below ``root`` in order of path; hidden ones, other files and masks are passed over.

    ``a_mask.png`` beside ``a.png`` is a mask, not another image.
    """
    found: list[str] = []
    ignored: list[str] = []
    for folder, folders, files in walk(root):
        at = Path(folder).relative_to(root)
        ignored += [(at / name).as_posix() + "/" for name in folders if is_junk(name)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        stems = {name.rsplit(".", 1)[0] for name in files}
        for name in sorted(files):
            mask_of = re.fullmatch(r"(.+)[-_]mask(?:[-_]\d+)?", name.rsplit(".", 1)[0], re.IGNORECASE)
            if medium.holds(Path(name)) and not (mask_of and mask_of[1] in stems):
                found.append((at / name).as_posix())
            else:
                ignored.append((at / name).as_posix())
    return Listing(tuple(sorted(found)), tuple(ignored))


def folder_reason(root: Path, medium: Medium) -> str | None:
    """Why a folder is of this medium, in words, or None."""
    folders = [child for child in sorted(root.iterdir()) if child.is_dir() and not is_junk(child.name)]
    if any(child.name.lower() in PAIRED_FOLDERS for child in folders):
        return None
    listing = list_files(root, medium)
    others = sum(any(other.holds(Path(name)) for other in ALL_MEDIA if other != medium) for name in listing.ignored)
    if not listing.files or others > len(listing.files):
        return None
    classes = {name.split("/")[0] for name in listing.files if "/" in name}
    if classes:
        return f"{len(classes)} class folders with {len(listing.files):,} {medium.name}"
    return f"a folder of {len(listing.files):,} {medium.name} without class folders"


def folder_files(root: Path, medium: Medium, options: DataConfig) -> MediaFiles:
    """The files of class folders, named by the first folder below ``root``; otherwise loose files.

    ``options.target`` is a regular expression over the names whose first group is the label. Without it loose files are
    labelled by the first part of their names where all follow one scheme (``name_pattern``), or not at all.

    Raises:
        InputError: a pattern for labels or groups that misses files, or an option that names a column.
    """
    refuse_columns(options, medium, ("time", "drop"))
    listing = list_files(root, medium)
    names = [name for name in listing.files if "/" in name] or list(listing.files)
    kept = set(names)
    in_folders = "/" in (names[0] if names else "")
    folders = sorted(child.name for child in root.iterdir() if child.is_dir() and not is_junk(child.name))
    filled = {name.split("/")[0] for name in names}
    pattern = options.target or ("" if in_folders else name_pattern(names))
    labels = [name.split("/")[0] for name in names] if in_folders else None
    if pattern:
        labels = matches_of(
            names, pattern, "--target", "label. It names a column where there is a table; class folders need none"
        )
    groups, reason = file_groups(names, options.group)
    return MediaFiles(
        paths=FilesBelow(root, names),
        labels=None if labels is None else np.array(labels, dtype=object), label_pattern=pattern,
        groups=groups, group_reason=reason,
        ignored=listing.ignored + tuple(name for name in listing.files if name not in kept),
        empty_classes=tuple(name for name in folders if in_folders and not pattern and name not in filled),
    )  # fmt: skip


def name_pattern(names: Sequence[str]) -> str:
    """The pattern of labels in loose files whose names follow one scheme, such as ``7_jackson_32.wav``; "" for none.

    All have as many parts between ``_``, ``-`` and ``.``, and the first part takes 2 to 100 values, two files or more
    of each, that are neither words for splits nor for masks.
    """
    parts = [re.split(r"[_.-]", name.rsplit(".", 1)[0]) for name in names]
    counts = Counter(words[0] for words in parts)
    one_scheme = len({len(words) for words in parts}) == 1 and len(parts[0]) > 1
    if not one_scheme or not 2 <= len(counts) <= MOST_LABELS or min(counts.values()) < 2:
        return ""
    if any(not word or word.lower() in {*SPLIT_WORDS, *PAIRED_FOLDERS} for word in counts):
        return ""
    return FIRST_PART


def label_reason(pattern: str) -> str:
    """How labels were found in names, in words; "" where folders or a table have them."""
    if pattern == FIRST_PART:
        return "labels are the first part of the file names; class folders, a CSV or --target 'REGEX' say otherwise"
    return f"labels are what --target {pattern!r} finds in the file names" if pattern else ""


def refuse_columns(
    options: DataConfig, medium: Medium, columns: Sequence[str] = ("target", "time", "drop")
) -> None:  # fmt: skip
    """Raise InputError where an option names a column that files in folders do not have."""
    for name in columns:
        if getattr(options, name):
            raise InputError(
                f"data.{name} names a column, but these {medium.name} have none: class folders and label arrays "
                f"already give the answer; leave it out"
            )


def path_table(path: Path, medium: Medium, root: Path | None = None) -> PathTable | None:
    """A CSV or TSV file with a column of paths to files of this medium, or None where it is none.

    A folder stands for the only table in it, or in the folders inside, as ``meta/labels.csv`` beside ``audio/``.

    Args:
        root: the folder that paths are relative to; the table's own if not given.
    """
    if path.is_dir():
        tables = _tables(path) or [file for folder in sorted(path.iterdir()) for file in _tables(folder)]
        return path_table(tables[0], medium, path) if len(tables) == 1 else None
    if suffix(path) not in TABLES[:2]:
        return None
    folder = root or _folder_of_files(path, medium)
    layout = sniff(path) if folder else None
    if layout is None or folder is None:
        return None
    table = read_delimited(path, layout)
    find = _finder(folder, medium)
    for name in table.columns:
        if table[name].dtype == pl.String or table[name].dtype.is_integer():
            column = table[name].cast(pl.String)
            values = [value for value in column.head(20).to_list() if value]
            distinct = len(set(values)) == len(values) or any(medium.holds(Path(value)) for value in values)
            if values and distinct and sum(find(value) is not None for value in values) >= 0.5 * len(values):
                return PathTable(table.with_columns(column), name, folder, find, partial(as_written, path, layout))
    return None


def _folder_of_files(path: Path, medium: Medium) -> Path | None:
    """Where to look for the files that a table names: its own folder; the one above if they lie in one beside it.

    None where its first cells are neither names with an ending of the medium nor those of files near it without theirs.
    """
    head = read_bytes(path, 1 << 16)
    encoding = next((found for mark, found in BOMS if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, "replace")
    cells = {cell.strip().rsplit("/", 1)[-1] for cell in re.split(r"[,;|\t\r\n\"]+", text[:4096])[:FIRST_CELLS]}
    names = {cell for cell in cells if 0 < len(cell) < LONGEST_NAME}
    endings = "|".join(re.escape(ending) for ending in medium.endings)
    here = path.parent.resolve()
    if not re.search(rf"({endings})\b", text, re.IGNORECASE):
        names = {name + ending for name in names for ending in medium.endings}
        return path.parent if _hold_any(here, names, medium) else None
    names = {name for name in names if medium.holds(Path(name))}
    beside = not _hold_any(here, names, medium) and _hold_any(here.parent, names, medium)
    return here.parent if beside else path.parent


def _hold_any(folder: Path, names: set[str], medium: Medium) -> bool:
    """Whether a file of these names lies in the folder or in one of its first folders that hold such files."""
    near = (folder, *islice((child for child in sorted(folder.iterdir()) if child.is_dir()), FEW_FOLDERS))
    holding = [place for place in near if any(map(medium.holds, islice(place.iterdir(), FIRST_CELLS)))]
    return any((place / name).is_file() for place in holding for name in names)


def _tables(folder: Path) -> list[Path]:
    """The CSV and TSV files right in a folder; none for what is no folder, or a hidden one."""
    if not folder.is_dir() or is_junk(folder.name):
        return []
    return [file for file in sorted(folder.iterdir()) if file.is_file() and suffix(file) in TABLES[:2]]


def _finder(folder: Path, medium: Medium) -> Callable[[str], Path | None]:
    """A function from what stands in a table to the file: its path, or its name anywhere below the folder."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for name in list_files(folder, medium).files:
        by_name[name.rsplit("/", 1)[-1]].append(folder / name)

    @cache
    def without_ending() -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in (path for paths in by_name.values() for path in paths):
            for name in {path.stem, path.relative_to(folder).with_suffix("").as_posix()}:
                found[name].append(path)
        return found

    def find(value: str) -> Path | None:
        written = value.strip().replace("\\", "/")
        direct = folder / written
        if medium.holds(direct) and direct.is_file():
            return direct
        named = by_name.get(direct.name)
        if not named and not direct.suffix:
            named = without_ending().get(written) or without_ending().get(direct.name)
        return named[0] if named and len(named) == 1 else None

    return find


def table_files(found: PathTable, options: DataConfig) -> dict[str, MediaFiles]:
    """The files that a table of paths and labels names, divided where a column called split says so.

    Raises:
        InputError: no label column can be told, or a named column is absent.
    """
    table, paths = found.table, found.paths
    divided = split_column(table)
    label = _label_column(
        table, {paths, divided, options.group, options.time, *options.drop}, options.target, options.task
    )
    if label and options.task == TEXT_TASK:  # where "null" is said, it is no missing cell
        if paths == ROW_NAME:
            raise InputError("rows have one field more than the header: quote texts that hold the delimiter")
        table = table.with_columns(found.written(label))
    return {word: _part_files(part, found, label, options) for word, part in table_parts(table).items()}


def split_column(table: pl.DataFrame) -> str:
    """The column that says train, valid or test of each row; "" where there is none."""
    return next((name for name in table.columns if name.lower() in SPLIT_COLUMNS and _is_split(table[name])), "")


def table_parts(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of each part, divided by the column that says so; "all" where there is none."""
    divided = split_column(table)
    if not divided:
        return {"all": table}
    words = table[divided].str.to_lowercase().replace_strict(SPLIT_WORDS)
    return {word: table.filter(words == word) for word in ("train", "valid", "test") if (words == word).any()}


def unlabelled_files(found: PathTable) -> MediaFiles:
    """All files that a table names, whatever else stands in it.

    Raises:
        InputError: a file is named twice.
    """
    return MediaFiles(paths=named_paths(found.table, found))


def named_paths(table: pl.DataFrame, found: PathTable) -> dict[str, Path]:
    """The file that each row names, by what stands there.

    Raises:
        InputError: a file is named twice.
    """
    names = [value or f"row {place}" for place, value in enumerate(table[found.paths].to_list())]
    files = {name: found.find(name) or found.folder / name for name in names}
    if len(files) < len(names):
        twice = Counter(names).most_common(1)[0]
        raise InputError(f"column {found.paths!r} names {twice[0]!r} {twice[1]} times; there must be one row per file")
    return files


def _part_files(table: pl.DataFrame, found: PathTable, label: str, options: DataConfig) -> MediaFiles:
    files = named_paths(table, found)
    groups, reason = table_groups(table, list(files), options)
    return MediaFiles(
        paths=files, labels=table[label].to_numpy() if label else None, label_name=label or "class",
        groups=groups, group_reason=reason, times=column_values(table, options.time),
    )  # fmt: skip


def table_groups(table: pl.DataFrame, names: Sequence[str], options: DataConfig) -> tuple[NDArray[Any] | None, str]:
    """Groups by the column that --group names, otherwise as file names tell them; and the reason in words."""
    if options.group in table.columns:
        return table[options.group].to_numpy(), f"column {options.group!r}"
    return file_groups(names, options.group)


def column_values(table: pl.DataFrame, name: str) -> NDArray[Any] | None:
    """The values of a column; None where none is named.

    Raises:
        InputError: there is no such column.
    """
    if not name:
        return None
    if name not in table.columns:
        raise InputError(f"there is no column {name!r}; {nearest(name, table.columns)}")
    return table[name].to_numpy()


def _is_split(column: pl.Series) -> bool:
    return column.dtype == pl.String and set(column.str.to_lowercase().to_list()) <= set(SPLIT_WORDS)


def _label_column(table: pl.DataFrame, taken: set[str], target: str, task: str = "") -> str:
    if target:
        if re.fullmatch(r"-?\d+", target) and -len(table.columns) <= int(target) < len(table.columns):
            return table.columns[int(target)]
        if target not in table.columns:
            raise InputError(f"there is no column {target!r}; {nearest(target, table.columns)}")
        return target
    left = [name for name in table.columns if name not in taken]
    named = [name for name in left if name.lower() in (TEXT_COLUMNS if task == TEXT_TASK else LABEL_COLUMNS)]
    named = named or [name for name in left if name.lower() in (*LABEL_COLUMNS, *TEXT_COLUMNS)]
    if len(left) <= 1 or len(named) == 1:
        return (named or left or [""])[0]
    if named and all(_same_answer(table, named[0], name) for name in named[1:]):
        words = [name for name in named if table[name].dtype == pl.String]
        return (words or named)[0]
    raise InputError(f"which column is the answer? Name it with --target; there are {', '.join(map(repr, left))}")


def _same_answer(table: pl.DataFrame, first: str, second: str) -> bool:
    """Whether two columns say the same in other words, such as a class's number and its name."""
    pairs = table.select(first, second).unique()
    return len(pairs) == table[first].n_unique() == table[second].n_unique()


def refuse_too_many_bad(skipped: Sequence[tuple[str, str]], total: int, share: float, medium: Medium) -> None:
    """Raise InputError where no file is left, or a larger share could not be read, for the reasons in ``skipped``."""
    if not total:
        raise InputError(f"there are no {medium.name} to read")
    if len(skipped) <= share * total and len(skipped) < total:
        return
    shown = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:20])
    more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
    limit = f", more than data.max_bad_share={share:g}; mend or remove them, or raise the share" if share else ""
    advice = limit or "; mend them or leave them out"
    raise InputError(f"{len(skipped)} of {total} {medium.name} cannot be read{advice}:{shown}{more}")
