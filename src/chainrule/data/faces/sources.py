"""From a source to photos and whose they are: folders of people, names of files, tables of paths, arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import image
from chainrule.data.archive import is_junk
from chainrule.data.config import DataConfig
from chainrule.data.decoded import Reader
from chainrule.data.faces.records import FaceRecords, people_records
from chainrule.data.file_groups import matches_of
from chainrule.data.image.files import decoded_records
from chainrule.data.image.records import ImageRecords
from chainrule.data.media import FIRST_PART, IMAGES, FilesBelow, MediaFiles, path_table, refuse_columns
from chainrule.data.sources import SOUNDS, TABLES, VIDEOS, Source, suffix, walk
from chainrule.errors import InputError

PHOTO_PX = 512  # the longer side at which photos are kept: a face may be a small part of one
PICTURE_STARTS = (b"GIF8", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"P5", b"P6", b"P2", b"P3", b"II*\0", b"MM\0*")
NOT_PICTURES = (*TABLES, *SOUNDS, *VIDEOS, ".txt", ".npz", ".npy", ".json", ".zip", ".md", ".html", ".pdf")
SCHEMES = (  # of names whose first group is the person, the surest first
    r"^((?:subject|subj|person|people|user|face|id|s|p)[-_ ]?\d+)(?=[-_. ])",  # subject01.happy, s1_10.png
    r"^(.+?)[-_. ]+\d+(?:\.\w+)?$",  # Ann_Lee_0001.jpg
    r"^([^\d/]+)\d+(?:\.\w+)?$",  # ann2.jpg
    FIRST_PART,  # ann_laughing.jpg
)


def reader_of(source: Source) -> tuple[str, Reader[FaceRecords]] | None:
    """Why a source holds photos of people, in words, and what reads them; None where it holds no photos."""
    path = source.path
    if path is not None and path.is_dir() and path_table(path, IMAGES) is None:
        names, _ = photos_below(path)
        if names:
            folders = {name.split("/")[0] for name in names if "/" in name}
            what = f"{len(folders)} folders" if folders else "a folder"
            return f"{what} with {len(names):,} photos", lambda options: _read(
                {"all": folder_photos(path, options)}, options
            )
    reason = image.recognises(source)
    if reason is None:
        return None
    return reason, lambda options: _read(image.read(source, photo_options(options)), options)


def photo_options(options: DataConfig) -> DataConfig:
    """The same settings, for photos in which a face is small."""
    return replace(options, image_size=max(PHOTO_PX, options.image_size), group="")


def _read(parts: dict[str, ImageRecords], options: DataConfig) -> dict[str, FaceRecords]:
    for name, what in (("group", "people are what is kept whole"), ("time", "people are divided, not moments")):
        if getattr(options, name):
            raise InputError(f"data.{name} has no effect on faces: {what}; leave it out")
    return {part: people_records(records, options.align) for part, records in parts.items()}


def photos_below(root: Path) -> tuple[list[str], list[str]]:
    """Photos by their path below a folder, also where a name has no usual ending; and what else lies there."""
    found: list[str] = []
    ignored: list[str] = []
    for folder, folders, files in walk(root):
        at = Path(folder)
        ignored += [f"{(at / name).relative_to(root).as_posix()}/" for name in folders if is_junk(name)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(files):
            held = found if not is_junk(name) and is_photo(at / name) else ignored
            held.append((at / name).relative_to(root).as_posix())
    return sorted(found), ignored


def is_photo(path: Path) -> bool:
    """Whether a file is a picture: by the ending of its name, else by its first bytes."""
    if IMAGES.holds(path):
        return True
    if suffix(path) in NOT_PICTURES:
        return False
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(PICTURE_STARTS)
    except OSError:
        return False


def folder_photos(root: Path, options: DataConfig) -> ImageRecords:
    """Photos in folders of people, or named after them.

    Raises:
        InputError: a pattern that misses a file, an option that names a column, or too many unreadable files.
    """
    refuse_columns(options, IMAGES, ("time", "drop"))
    every, ignored = photos_below(root)
    names = [name for name in every if "/" in name] or every
    in_folders = "/" in names[0]
    pattern = options.target or ("" if in_folders else name_scheme(names))
    labels: list[str] | None = [name.split("/")[0] for name in names] if in_folders else None
    if pattern:
        labels = matches_of(names, pattern, "--target", "person")
    folders = sorted(child.name for child in root.iterdir() if child.is_dir() and not is_junk(child.name))
    filled = {name.split("/")[0] for name in names}
    kept = set(names)
    files = MediaFiles(
        paths=FilesBelow(root, names), labels=None if labels is None else np.array(labels, dtype=object),
        label_name="person", label_pattern=pattern,
        ignored=(*ignored, *(name for name in every if name not in kept)),
        empty_classes=tuple(name for name in folders if in_folders and not pattern and name not in filled),
    )  # fmt: skip
    return decoded_records(files, photo_options(options))


def name_scheme(names: Sequence[str]) -> str:
    """The first of the known schemes by which all names tell at least two people, most photos not alone; "" for none.

    Example:
        >>> name_scheme(["subject01.sad", "subject01.happy", "subject02.sad", "subject02.happy"]) == SCHEMES[0]
        True
    """
    for scheme in SCHEMES:
        found = [match[1] for name in names if (match := re.search(scheme, name, re.IGNORECASE))]
        counts = Counter(found)
        together = sum(count for count in counts.values() if count > 1)
        if len(found) == len(names) and len(counts) > 1 and 2 * together > len(names):
            return scheme if scheme == FIRST_PART else f"(?i){scheme}"
    return ""


def given_photos(inputs: Sequence[Any], schema: Any, options: DataConfig) -> list[ImageRecords]:
    """Photos that somebody hands over: files, folders of them, or arrays.

    Raises:
        InputError: nothing there, or what is no picture.
    """
    return [part for one in inputs for part in _given(one, schema, options)]


def _given(one: Any, schema: Any, options: DataConfig) -> list[ImageRecords]:
    from chainrule.data.image.arrays import given_records
    from chainrule.data.memory import Memory

    if not isinstance(one, str | Path):
        return [given_records(np.asarray(one), schema.white, Memory())]
    path = Path(one).expanduser()
    if path.is_dir():
        names, _ = photos_below(path)
        if not names:
            raise InputError(f"{str(one)!r} holds no photos")
        return [decoded_records(MediaFiles(paths=FilesBelow(path, names)), options)]
    if not path.is_file():
        raise InputError(f"there is no photo {str(one)!r}")
    return [decoded_records(MediaFiles(paths={str(one): path}), options)]
