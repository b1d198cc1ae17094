"""Images to be predicted: files, folders, tables, npz files and arrays, at their own size and without masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data import image
from chainrule.data.config import DataConfig
from chainrule.data.decoded import input_files, joined
from chainrule.data.image.arrays import given_records
from chainrule.data.image.decode import resize
from chainrule.data.mask.arrays import image_fields
from chainrule.data.mask.decode import Job, scaled
from chainrule.data.mask.files import PairFiles, decoded_records
from chainrule.data.mask.records import MaskRecords, MaskStore
from chainrule.data.mask.schema import MaskSchema
from chainrule.data.media import IMAGES
from chainrule.data.memory import Memory
from chainrule.data.pairs import find_pairs
from chainrule.data.sources import open_source
from chainrule.data.store import collect
from chainrule.errors import InputError


def read_inputs(inputs: Sequence[Any], schema: MaskSchema) -> MaskRecords:
    """Records for prediction; of a folder of images and masks the images.

    Raises:
        InputError: nothing found, or a file that cannot be read.
    """
    options = DataConfig(
        image_size=schema.image_size, max_pixels=schema.max_pixels, slices=schema.slices, max_bad_share=0
    )
    memory = Memory()
    stores = [store for one in inputs for store in _stores(one, schema, options, memory)]
    if not stores:
        raise InputError("no images to predict; give files, folders or arrays")
    if len(stores) == 1:
        return MaskRecords(stores[0])
    pixels = collect((pixels for store in stores for pixels in MaskRecords(store).images), memory)
    originals = np.concatenate([store.originals for store in stores])
    return MaskRecords(MaskStore(**joined(stores), pixels=pixels, originals=originals, memory=memory))


def _stores(one: Any, schema: MaskSchema, options: DataConfig, memory: Memory) -> list[MaskStore]:
    if not isinstance(one, (str, Path)):
        if schema.slices == "volume":
            return [_volumes(np.asarray(one), schema, memory)]
        records = given_records(np.asarray(one), schema.white, memory)
        return [MaskStore(**image_fields(records.store, schema.image_size, memory))]
    jobs = _jobs(one)
    if jobs:
        return [decoded_records(PairFiles(jobs=jobs), options, memory).store]
    if schema.slices == "volume":
        raise InputError(f"{str(one)!r} is no volume; give TIFF files of several pages, folders of them, or arrays")
    return [
        MaskStore(**image_fields(records.store, schema.image_size, memory))
        for records in image.read(open_source(one), options).values()
    ]


def _jobs(one: str | Path) -> list[Job]:
    """The pictures that a path stands for; those with a mask beside them, where there are such."""
    path = Path(one).expanduser()
    root = path if path.is_file() and IMAGES.holds(path) else open_source(one).path
    found = find_pairs(root) if root is not None and root.is_dir() else None
    if found is not None and found.masks:
        return [Job(name, found.root / name, ()) for name in sorted((*found.masks, *found.lone_images))]
    files = input_files(one, IMAGES)
    return [] if files is None else [Job(name, file, ()) for name, file in files.paths.items()]


def _volumes(array: NDArray[Any], schema: MaskSchema, memory: Memory) -> MaskStore:
    """One volume (D, H, W) or (D, H, W, C), or several (N, D, H, W, C)."""
    single = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
    volumes = [array] if single else list(array)
    slices = [given_records(volume, schema.white, memory).images for volume in volumes]
    whole = [np.stack(list(planes)) for planes in slices]
    originals = np.array([volume.shape[:3] for volume in whole], dtype=np.int64)
    if schema.image_size:
        size = [scaled(volume.shape[1:3], schema.image_size) for volume in whole]
        whole = [np.stack([resize(plane, px) for plane in volume]) for volume, px in zip(whole, size, strict=True)]
    ids = tuple(f"volume {place}" for place in range(len(whole)))
    return MaskStore(ids=ids, pixels=collect(whole, memory), originals=originals, memory=memory, white=schema.white)
