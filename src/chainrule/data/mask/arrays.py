"""Images and masks that come as arrays: npz files and arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.image.arrays import Arrays as Named
from chainrule.data.image.arrays import read_arrays as read_images
from chainrule.data.image.decode import resize
from chainrule.data.image.records import ImageStore, PixelStore
from chainrule.data.mask.codes import OBJECT_LEVEL, Coded, coded_values
from chainrule.data.mask.decode import nearest, scaled
from chainrule.data.mask.records import MaskRecords, MaskStore, Table, presence
from chainrule.data.memory import Memory
from chainrule.data.store import Arrays, FileRows, collect
from chainrule.errors import InputError


def read_arrays(
    arrays: Named, where: str, pairs: Mapping[str, tuple[str, str]], options: DataConfig, memory: Memory
) -> dict[str, MaskRecords]:
    """The records of named arrays, all splits scaled alike.

    Raises:
        InputError: pixel levels that nothing explains, or masks that are no whole numbers.
    """
    images = read_images(arrays, where, memory, {split: (key, "") for split, (key, _) in pairs.items()})
    records = {}
    for split, (_, key) in pairs.items():
        store = images[split].store
        masks, table = _masks(arrays[key], f"{key!r} in {where}", store.pixels.shapes, options, memory)
        records[split] = MaskRecords(
            MaskStore(
                **image_fields(store, options.image_size, memory), masks=masks, levels=table.levels,
                counts=table.counts(), labels=presence(table.counts(), table.levels), label_name="mask",
            )
        )  # fmt: skip
    return records


def image_fields(store: ImageStore, longer_px: int, memory: Memory) -> dict[str, Any]:
    """What a store of images has, as fields of one with masks, each image brought to this longer side if given."""
    pixels: PixelStore = store.pixels
    sizes = pixels.shapes[:, :2]
    if longer_px:
        pixels = collect(
            (resize(pixels[place], scaled(sizes[place], longer_px)) for place in range(len(sizes))), memory
        )
    return {
        "ids": store.ids, "pixels": pixels, "originals": sizes, "white": store.white, "notes": store.notes,
        "memory": memory,
    }  # fmt: skip


def _masks(
    masks: Any, where: str, shapes: NDArray[np.int64], options: DataConfig, memory: Memory
) -> tuple[Arrays, Table]:
    """The codes of masks (N, H, W), (N, H, W, 1) or (N, 1, H, W), and what they mean."""
    rows = masks if isinstance(masks, FileRows) else np.asarray(masks)
    if rows.dtype.kind not in "biuf":
        raise InputError(f"{where} has masks of type {rows.dtype}; expected whole numbers or truth values")
    table, codes = Table(), Arrays()
    for place, (H, W) in enumerate(shapes[:, :2].tolist()):
        values = np.asarray(rows[place]).reshape(H, W)
        if options.threshold:
            mask = Coded((values >= options.threshold).astype(np.uint8), ((0,), (OBJECT_LEVEL,)))
        else:
            mask = coded_values(_whole(values, f"{where}, row {place},"))
        if options.image_size:
            mask = Coded(nearest(mask.codes, scaled((H, W), options.image_size)), mask.levels)
        codes.add(table.add(mask), memory, len(rows))
    return codes, table


def _whole(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InputError(
            f"{where} has levels with fractions or NaN; a mask has a whole number for each class, round it first"
        )
    if values.min(initial=0) < 0:
        raise InputError(f"{where} has the level {values.min():g}; a mask has levels from 0 on")
    return values if values.dtype.kind == "u" else values.astype(np.int64)
