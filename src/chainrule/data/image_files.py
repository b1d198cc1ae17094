"""Images that come as files: class folders, a folder of images, or a table with a column of paths."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.archive import is_junk
from chainrule.data.config import DataConfig
from chainrule.data.decode import WORKING_PX, decode_files, is_image
from chainrule.data.delimited import read_bytes, read_delimited, sniff
from chainrule.data.image_records import ImageRecords, ImageStore
from chainrule.data.sources import MEDIA, PICTURES, SPLIT_WORDS, TABLES, suffix
from chainrule.errors import InputError, nearest

PAIRED_FOLDERS = {"mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "gt", "groundtruth"}
IMAGE_NAMES = re.compile("(" + "|".join(re.escape(ending) for ending in PICTURES) + r")\b", re.IGNORECASE)
LABEL_COLUMNS = ("label", "class", "target", "category", "y", "diagnosis")
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
PATIENT = re.compile(
    r"((?:patient|person|subject|subj|case|video|clip|scan|study|slide|volume)[-_ ]?[a-z]*\d+)(?!\d)", re.IGNORECASE
)


@dataclass(frozen=True)
class Listing:
    """The images below a folder by relative path, and what was passed over."""

    images: tuple[str, ...]
    ignored: tuple[str, ...]


def list_images(root: Path) -> Listing:
    """Every image below ``root`` in order of path; hidden files and folders, other files and masks are passed over.

    ``a_mask.png`` beside ``a.png`` is a mask, not another image.
    """
    images: list[str] = []
    ignored: list[str] = []
    for folder, folders, files in os.walk(root):
        at = Path(folder).relative_to(root)
        ignored += [(at / name).as_posix() + "/" for name in folders if is_junk(name)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        stems = {name.rsplit(".", 1)[0] for name in files}
        for name in sorted(files):
            mask_of = re.fullmatch(r"(.+)[-_]mask(?:[-_]\d+)?", name.rsplit(".", 1)[0], re.IGNORECASE)
            if is_image(Path(name)) and not (mask_of and mask_of[1] in stems):
                images.append((at / name).as_posix())
            else:
                ignored.append((at / name).as_posix())
    return Listing(tuple(sorted(images)), tuple(ignored))


def folder_reason(root: Path) -> str | None:
    """Why a folder is of images, in words, or None."""
    folders = [child for child in sorted(root.iterdir()) if child.is_dir() and not is_junk(child.name)]
    if any(child.name.lower() in PAIRED_FOLDERS for child in folders):
        return None
    listing = list_images(root)
    others = sum(suffix(Path(name)) in MEDIA and not is_image(Path(name)) for name in listing.ignored)
    if not listing.images or others > len(listing.images):
        return None
    classes = {name.split("/")[0] for name in listing.images if "/" in name}
    if classes:
        return f"{len(classes)} class folders with {len(listing.images):,} images"
    return f"a folder of {len(listing.images):,} images without class folders"


def read_folder(root: Path, options: DataConfig) -> ImageRecords:
    """The images of class folders, named by the first folder below ``root``; without folders, images without labels.

    Raises:
        InputError: no image, more bad ones than ``options.max_bad_share``, or a pattern for groups that misses files.
    """
    listing = list_images(root)
    names = [name for name in listing.images if "/" in name] or list(listing.images)
    stray = tuple(name for name in listing.images if name not in set(names))
    labelled = "/" in (names[0] if names else "")
    folders = sorted(child.name for child in root.iterdir() if child.is_dir() and not is_junk(child.name))
    filled = {name.split("/")[0] for name in names}
    labels = np.array([name.split("/")[0] for name in names], dtype=object) if labelled else None
    groups, reason = _file_groups(names, options.group)
    return decoded_records(
        {name: root / name for name in names}, options,
        labels=labels, groups=groups, group_reason=reason, ignored=listing.ignored + stray,
        empty_classes=tuple(name for name in folders if labelled and name not in filled),
    )  # fmt: skip


def decoded_records(
    paths: Mapping[str, Path],
    options: DataConfig,
    *,
    labels: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
    **facts: Any,
) -> ImageRecords:
    """The records of these files (id -> path), each decoded once; ``facts`` are further fields of the store.

    Raises:
        InputError: none can be read, or a larger share is bad than ``options.max_bad_share``.
    """
    ids = list(paths)
    decoded = decode_files(
        list(paths.values()), max_pixels=options.max_pixels, longer_side_px=max(WORKING_PX, options.image_size)
    )
    skipped = tuple((name, one.remarks[0]) for name, one in zip(ids, decoded, strict=True) if one.pixels is None)
    if not ids or len(skipped) > options.max_bad_share * len(ids):
        raise InputError(_too_many_bad(skipped, len(ids), options.max_bad_share))
    good = np.array([place for place, one in enumerate(decoded) if one.pixels is not None], dtype=np.int64)
    remarks = defaultdict(list)
    for place in good:
        for remark in decoded[place].remarks:
            remarks[remark].append(ids[place])
    store = ImageStore(
        ids=tuple(ids[place] for place in good),
        pixels=[one.pixels for one in decoded if one.pixels is not None],
        labels=None if labels is None else labels[good],
        groups=None if groups is None else groups[good],
        times=None if times is None else times[good],
        digests=tuple(decoded[place].digest for place in good),
        skipped=skipped,
        remarks={remark: tuple(names) for remark, names in remarks.items()},
        **facts,
    )
    return ImageRecords(store)


def _too_many_bad(skipped: Sequence[tuple[str, str]], total: int, share: float) -> str:
    if not total:
        return "there are no images to read"
    shown = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:20])
    more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
    limit = f", more than data.max_bad_share={share:g}; mend or remove them, or raise the share" if share else ""
    return f"{len(skipped)} of {total} images cannot be read{limit or '; mend them or leave them out'}:{shown}{more}"


def _file_groups(names: Sequence[str], pattern: str) -> tuple[NDArray[Any] | None, str]:
    if not pattern:
        return found_groups(names)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group {pattern!r} is not a regular expression ({error})") from None
    matches = [expression.search(name) for name in names]
    missed = [name for name, match in zip(names, matches, strict=True) if match is None]
    if missed:
        raise InputError(
            f"--group {pattern!r} is not found in {len(missed)} of {len(names)} file names, the first {missed[0]!r}; "
            f"write a regular expression whose first (group) is the patient, the source video, ..."
        )
    values = [match[1] if expression.groups else match[0] for match in matches if match]
    return np.array(values, dtype=object), f"--group {pattern!r}"


def found_groups(names: Sequence[str]) -> tuple[NDArray[Any] | None, str]:
    """Groups that paths like ``class/patient7/3.png`` or ``class/patient7_3.png`` tell, and the reason in words.

    Careful: they must cover nine files of ten, hold at least two files somewhere, and leave every class three groups.
    """
    folders = [name.rsplit("/", 1)[0] if name.count("/") >= 2 else "" for name in names]
    matches = [PATIENT.search(name.rsplit("/", 1)[-1]) for name in names]
    words = [match[1].lower() if match else "" for match in matches]
    for values, reason in (
        (folders, "sub-folders of the classes"),
        (words, "a number after a word like patient in the names"),
    ):
        if _plausible(names, values):
            filled = [value or f"alone {place}" for place, value in enumerate(values)]
            return np.array(filled, dtype=object), reason
    return None, ""


def _plausible(names: Sequence[str], values: Sequence[str]) -> bool:
    known = [value for value in values if value]
    counts = Counter(known)
    if len(known) < 0.9 * len(names) or not counts or max(counts.values()) < 2 or len(counts) < 6:
        return False
    of_class = defaultdict(set)
    for name, value in zip(names, values, strict=True):
        of_class[name.split("/")[0]].add(value)
    return min(map(len, of_class.values())) >= 3


def path_column(path: Path) -> tuple[pl.DataFrame, str] | None:
    """The table and the name of its column of image paths, or None where it has none."""
    if suffix(path) not in TABLES[:2] or not IMAGE_NAMES.search(read_bytes(path, 1 << 16).decode("utf-8", "replace")):
        return None
    layout = sniff(path)
    if layout is None:
        return None
    table = read_delimited(path, layout)
    find = finder(path.parent)
    for name in table.columns:
        if table[name].dtype == pl.String:
            values = [value for value in table[name].head(20).to_list() if value]
            if values and sum(find(value) is not None for value in values) >= 0.5 * len(values):
                return table, name
    return None


def finder(folder: Path) -> Callable[[str], Path | None]:
    """A function from what stands in a table to the image file: its path, or its name anywhere below the folder."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for name in list_images(folder).images:
        by_name[name.rsplit("/", 1)[-1]].append(folder / name)

    def find(value: str) -> Path | None:
        direct = folder / value.strip().replace("\\", "/")
        if is_image(direct) and direct.is_file():
            return direct
        named = by_name[direct.name]
        return named[0] if len(named) == 1 else None

    return find


def read_table(path: Path, options: DataConfig) -> dict[str, ImageRecords]:
    """The records of a table of paths and labels, divided where a column called split says so.

    Raises:
        InputError: no label column can be told, or a named column is absent.
    """
    found = path_column(path)
    if found is None:
        raise InputError(f"{path} has no column of paths to images")
    table, paths = found
    divided = next((name for name in table.columns if name.lower() in SPLIT_COLUMNS and _is_split(table[name])), "")
    label = _label_column(table, {paths, divided, options.group, options.time, *options.drop}, options.target)
    parts = {"all": table}
    if divided:
        words = table[divided].str.to_lowercase().replace_strict(SPLIT_WORDS)
        parts = {word: table.filter(words == word) for word in ("train", "valid", "test") if (words == word).any()}
    return {word: _table_records(part, paths, label, path.parent, options) for word, part in parts.items()}


def _table_records(table: pl.DataFrame, paths: str, label: str, folder: Path, options: DataConfig) -> ImageRecords:
    names = [value or f"row {place}" for place, value in enumerate(table[paths].to_list())]
    find = finder(folder)
    files = {name: find(name) or folder / name for name in names}
    if len(files) < len(names):
        twice = Counter(names).most_common(1)[0]
        raise InputError(f"column {paths!r} names {twice[0]!r} {twice[1]} times; there must be one row per image")
    groups, reason = None, ""
    if options.group in table.columns:
        groups, reason = table[options.group].to_numpy(), f"column {options.group!r}"
    else:
        groups, reason = _file_groups(names, options.group)
    return decoded_records(
        files, options,
        labels=table[label].to_numpy() if label else None, label_name=label or "class",
        groups=groups, group_reason=reason, times=_column(table, options.time),
    )  # fmt: skip


def _column(table: pl.DataFrame, name: str) -> NDArray[Any] | None:
    if not name:
        return None
    if name not in table.columns:
        raise InputError(f"there is no column {name!r}; {nearest(name, table.columns)}")
    return table[name].to_numpy()


def _is_split(column: pl.Series) -> bool:
    return column.dtype == pl.String and set(column.str.to_lowercase().to_list()) <= set(SPLIT_WORDS)


def _label_column(table: pl.DataFrame, taken: set[str], target: str) -> str:
    if target:
        if re.fullmatch(r"-?\d+", target) and -len(table.columns) <= int(target) < len(table.columns):
            return table.columns[int(target)]
        if target not in table.columns:
            raise InputError(f"there is no column {target!r}; {nearest(target, table.columns)}")
        return target
    left = [name for name in table.columns if name not in taken]
    named = [name for name in left if name.lower() in LABEL_COLUMNS]
    if len(left) <= 1 or len(named) == 1:
        return (named or left or [""])[0]
    raise InputError(f"which column is the answer? Name it with --target; there are {', '.join(map(repr, left))}")
