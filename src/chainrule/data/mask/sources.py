"""Where images with masks come from: folders, tables of paths, npz files and arrays in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from chainrule.data.config import DataConfig
from chainrule.data.decoded import Reader
from chainrule.data.image.arrays import mask_pairs, named_arrays, npz_arrays
from chainrule.data.image.npz import npz_shapes
from chainrule.data.mask.arrays import read_arrays
from chainrule.data.mask.decode import Job
from chainrule.data.mask.files import BY_NAME, PairFiles, decoded_records
from chainrule.data.mask.names import level_names
from chainrule.data.mask.records import MaskRecords
from chainrule.data.media import (
    IMAGES,
    PathTable,
    column_values,
    named_paths,
    path_table,
    refuse_columns,
    table_groups,
    table_parts,
)
from chainrule.data.memory import Memory
from chainrule.data.pairs import Pairing, find_pairs, pair_columns
from chainrule.data.sources import Source, suffix
from chainrule.errors import InputError

FEW = 5  # names in a message


def reader_of(source: Source) -> tuple[str, Reader[MaskRecords]] | None:
    """Why a source is images with masks, in words, and what reads it."""
    path = source.path
    if path is None:
        return _value_reader(source.value)
    if suffix(path) == ".npz" and path.is_file():
        return _npz_reader(path)
    return (_folder_reader(path) if path.is_dir() else None) or _table_reader(path)


def _value_reader(value: Any) -> tuple[str, Reader[MaskRecords]] | None:
    arrays = named_arrays(value)
    pairs = mask_pairs({key: np.shape(array) for key, array in arrays.items()})
    if not pairs:
        return None
    shape, mask = (tuple(np.shape(arrays[key])) for key in next(iter(pairs.values())))
    return f"arrays of images, shape {shape}, with masks, shape {mask}", _plain(
        lambda options, memory: read_arrays(arrays, "the arrays given", pairs, options, memory)
    )


def _npz_reader(path: Path) -> tuple[str, Reader[MaskRecords]] | None:
    shapes = npz_shapes(path)
    pairs = mask_pairs(shapes)
    if not pairs:
        return None
    held = ", ".join(f"{key} {shapes[key]} with {mask}" for key, mask in pairs.values())
    return f"npz of images with masks: {held}", _plain(
        lambda options, memory: read_arrays(npz_arrays(path, pairs, memory), str(path), pairs, options, memory)
    )


def _plain(read_all: Callable[[DataConfig, Memory], dict[str, MaskRecords]]) -> Reader[MaskRecords]:
    """A reader of arrays, which have neither columns nor file names."""

    def read_with(options: DataConfig) -> dict[str, MaskRecords]:
        if options.group:
            raise InputError("--group is a pattern over file names, but these images are arrays; leave it out")
        refuse_columns(options, IMAGES)
        return read_all(options, Memory(options.memory_mb << 20))

    return read_with


def _folder_reader(root: Path) -> tuple[str, Reader[MaskRecords]] | None:
    found = find_pairs(root)
    if found is None:
        return None
    return f"{len(found.masks):,} images with masks, by {found.how}", lambda options: _read_folder(root, options)


def _read_folder(root: Path, options: DataConfig) -> dict[str, MaskRecords]:
    found = find_pairs(root, options.target)
    assert found is not None
    _check_options(found, options)
    parts = found.parts
    memory = Memory(options.memory_mb << 20)
    records, notes = {}, list[str]()
    wanted = [part for part in ("train", "valid", "test") if part in parts.values()] or ["all"]
    for part in reversed(wanted):  # train last: it is told which part has no masks
        names = [name for name in found.masks if not parts or parts[name] == part]
        lone = [name for name in found.lone_images if not parts or parts[name] == part]
        if names:
            first = part in ("train", "all")
            files = _files(found, names, lone, first, tuple(notes) if first else ())
            records[part] = decoded_records(files, options, memory)
        else:
            notes.append(f"the {part} part, {len(lone)} images, has no masks and is left out")
    return {part: records[part] for part in wanted if part in records}


def _check_options(found: Pairing, options: DataConfig) -> None:
    refuse_columns(options, IMAGES, ("drop",))
    if options.time not in ("", BY_NAME):
        raise InputError(
            f"data.time is {options.time!r}, but images and masks in folders have no columns; data.time={BY_NAME} "
            f"takes the order of the files' names for that of time"
        )
    if found.choices:
        raise InputError(
            f"{found.root} has several folders of masks for the same images: {', '.join(found.choices)}; say which to "
            f"learn with --target {found.choices[0]}"
        )
    if options.target and not any(
        options.target in mask.split("/") for masks in found.masks.values() for mask in masks
    ):
        raise InputError(
            f"--target {options.target!r} is no folder of masks in {found.root}; leave it out, the masks were found by "
            f"{found.how}"
        )
    if not found.masks:
        raise InputError(
            f"no image in {found.root} has a mask of its name: there are {_few(found.lone_images)} and "
            f"{_few(found.lone_masks)}; give each mask the name of its image, or that name and _mask"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "") if names else "none"


def _files(found: Pairing, names: list[str], lone: list[str], first: bool, notes: tuple[str, ...]) -> PairFiles:
    """The pairs of one part; what belongs to none is told with the first."""
    jobs = [Job(name, found.root / name, tuple(found.root / mask for mask in found.masks[name])) for name in names]
    alone = [(name, "has no mask") for name in lone]
    alone += [(name, "has no image") for name in found.lone_masks if first]
    return PairFiles(
        jobs=jobs, lone=tuple(alone), ignored=found.ignored if first else (), notes=notes,
        names=level_names(found.root, jobs[0].masks[0].parent),
    )  # fmt: skip


def _table_reader(path: Path) -> tuple[str, Reader[MaskRecords]] | None:
    found = path_table(path, IMAGES)
    columns = None if found is None else pair_columns(found)
    if found is None or columns is None:
        return None
    image, mask = columns
    reason = f"table of {len(found.table):,} rows with images in column {image!r} and masks in {mask!r}"
    return reason, lambda options: _read_table(found, image, mask, options)


def _read_table(found: PathTable, image: str, mask: str, options: DataConfig) -> dict[str, MaskRecords]:
    refuse_columns(options, IMAGES, ("drop",))
    chosen = options.target or mask
    if chosen not in found.table.columns:
        raise InputError(f"--target {chosen!r} is no column of masks; there are {', '.join(found.table.columns)}")
    memory = Memory(options.memory_mb << 20)
    images = replace(found, paths=image)
    return {
        part: decoded_records(_table_pairs(rows, images, chosen, options), options, memory)
        for part, rows in table_parts(found.table).items()
    }


def _table_pairs(table: pl.DataFrame, found: PathTable, mask: str, options: DataConfig) -> PairFiles:
    files = named_paths(table, found)
    masks = [str(value or "") for value in table[mask].to_list()]
    kept = np.array([bool(value) for value in masks])
    jobs = [
        Job(name, path, (found.find(value) or found.folder / value,))
        for (name, path), value in zip(files.items(), masks, strict=True) if value
    ]  # fmt: skip
    named = table.filter(pl.Series(kept))
    by_order = options.time == BY_NAME and BY_NAME not in table.columns
    times = None if by_order else column_values(named, options.time)
    groups, reason = table_groups(named, [job.name for job in jobs], options)
    return PairFiles(
        jobs=jobs, lone=tuple((name, "has no mask") for name, value in zip(files, masks, strict=True) if not value),
        groups=groups, group_reason=reason, times=times,
        names=level_names(found.folder, jobs[0].masks[0].parent if jobs else found.folder),
    )  # fmt: skip
