"""Images with a class for every pixel: folders of images and masks, pairs of names, volumes, tables and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chainrule.data.config import DataConfig
from chainrule.data.decoded import media_findings, read_by
from chainrule.data.image.decode import DARK, Pixels, to_channels
from chainrule.data.image.front import PixelFront
from chainrule.data.image.statistics import statistics
from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW
from chainrule.data.levels import chosen_levels, levels_note
from chainrule.data.mask.augment import MaskAugmentConfig, augment
from chainrule.data.mask.codes import level_name
from chainrule.data.mask.inputs import read_inputs
from chainrule.data.mask.palette import Seen, learn_target, lookup, share
from chainrule.data.mask.records import MaskRecords
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.mask.schema import NAME, MaskSchema, load_schema
from chainrule.data.mask.sources import reader_of
from chainrule.data.mask.write import class_colours, overlay, write_mask
from chainrule.data.media import IMAGES
from chainrule.data.samples import Batch
from chainrule.data.schema import MaskTarget
from chainrule.data.sources import Source
from chainrule.errors import InputError, MissingTargetError

__all__ = [
    "NAME", "MaskAugmentConfig", "MaskRecords", "MaskSamples", "MaskSchema", "augment", "class_colours", "load_schema",
    "overlay", "read_inputs", "write_mask",
]  # fmt: skip

GIVES = ("image", "clip")
AUGMENT = MaskAugmentConfig
MOST_WHOLE = 2**18 * 5 // 4  # pixels up to which images of one size are trained on whole
MOST_FILLED_PX = 320  # a side up to which smaller images are filled up instead of larger ones cut
PATCH_PX = 256
VOLUME_PATCH_PX = (16, 128, 128)
MULTIPLE = 16
ACCEPTED = (
    "expected images with masks of their size: folders images/ and masks/ with equal names, a.png beside a_mask.png, "
    "train-volume.tif beside train-labels.tif, a CSV with a column of images and one of masks, or arrays (N, H, W) of "
    "each"
)


def recognises(source: Source) -> str | None:
    """Why this source is images with masks, in words, or None."""
    found = reader_of(source)
    return None if found is None else found[0]


def read(source: Source, options: DataConfig) -> dict[str, MaskRecords]:
    """The records, "all" or by split where one folder, table or file holds several.

    Raises:
        InputError: broken or unreadable content, pairs that do not fit, or masks whose levels cannot be classes.
    """
    found = reader_of(source)
    if found is None and source.path is not None and source.path.is_dir():
        raise MissingTargetError(f"{source.original or source.path} has no masks; {ACCEPTED}")
    return read_by(found, source, options, f"images with masks; {ACCEPTED}")


def findings(records: MaskRecords) -> list[Finding]:
    """Skipped and unusual files, images without a partner, without an object, of one colour, or with two answers."""
    store = records.store
    found = media_findings(records, IMAGES, "image", (DARK,))
    if store.lone:
        text = f"{len(store.lone)} images or masks have no partner and are left out: "
        text += "; ".join(f"{name} {reason}" for name, reason in store.lone[:FEW])
        found.append(Finding("warning", text, tuple(name for name, _ in store.lone[:FEW])))
    found += _told("warning", records, records.blank, "images of a single colour")
    found += _told("note", records, records.empty, "images without any object, their masks are 0 all over")
    return found + _told("warning", records, records.contradicted, "images stand twice with different masks")


def _told(level: str, records: MaskRecords, rows: NDArray[np.int64], text: str) -> list[Finding]:
    if not len(rows):
        return []
    where = tuple(records.ids[row] for row in rows[:FEW].tolist())
    return [Finding(level, f"{len(rows)} of {len(records)} {text}", where)]


def learn_schema(train: MaskRecords, options: DataConfig) -> MaskSchema:
    """Classes, the size of a training sample, channels, and mean and spread per channel, from the train split.

    Raises:
        InputError: no masks, one class only, levels that cannot be classes, or a setting that does not fit.
    """
    store, counts = train.store, train.counts
    if counts is None:
        raise InputError(f"the images, the first {train.ids[0]!r}, have no masks; {ACCEPTED}")
    seen = Seen(
        levels=store.levels, counts=counts, ids=train.ids, names=store.names, palette=store.palette, jpeg=store.jpeg
    )
    target, reason = learn_target(seen, options)
    patch_px, patch_reason = find_patch(train.shapes[:, :-1], options.patch)
    channels = options.channels or int(train.shapes[:, -1].max())
    mean, std = chosen_levels(options, channels) or statistics(train.images, channels)
    volumes: Any = options.slices
    return MaskSchema(
        target=target, patch_px=patch_px, channels=channels, mean=mean, std=std, white=store.white,
        max_pixels=options.max_pixels, image_size=options.image_size, slices=volumes,
        notes=(reason, *_threshold_note(options), patch_reason, levels_note(options, channels)),
    )  # fmt: skip


def _threshold_note(options: DataConfig) -> list[str]:
    if not options.threshold:
        return []
    return [f"mask levels from {options.threshold} on were taken for 255, those below for 0: data.threshold"]


def find_patch(sizes: NDArray[np.int64], asked: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """What a training sample of images of these sizes (N, axes) is cut or filled up to, and why.

    Raises:
        InputError: the person's has another number of axes.
    """
    axes = sizes.shape[1]
    if asked:
        patch = asked * axes if len(asked) == 1 else asked
        if len(patch) != axes:
            raise InputError(f"data.patch={asked} has {len(asked)} sides, the images have {axes}; give one or {axes}")
        return patch, f"trained on patches of {_shape(patch)}, as data.patch"
    largest = sizes.max(axis=0)
    whole = tuple(int(side) for side in largest)
    if axes == 3:
        patch = tuple(min(side, usual) for side, usual in zip(whole, VOLUME_PATCH_PX, strict=True))
        return patch, f"trained on blocks of {_shape(patch)} out of volumes up to {_shape(whole)} (data.patch)"
    if (sizes == largest).all() and largest.prod() <= MOST_WHOLE:
        return whole, f"trained on whole images, {_shape(whole)} pixels as all are (data.patch)"
    if largest.max() <= MOST_FILLED_PX:
        patch = tuple(-(-side // MULTIPLE) * MULTIPLE for side in whole)
        return patch, f"trained on images filled up to {_shape(patch)} pixels, none is larger (data.patch)"
    patch = (PATCH_PX, PATCH_PX)
    return patch, f"trained on patches of {_shape(patch)} out of images up to {_shape(whole)} pixels (data.patch)"


def _shape(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def encode(records: MaskRecords, schema: MaskSchema) -> MaskSamples:
    """Images at their own size with a class for every pixel, cut when a batch is asked for.

    Raises:
        InputError: a mask has a level that the schema does not know.
    """
    target, masks = schema.target, records.masks
    table = np.zeros(0, dtype=np.uint8)
    if masks is not None and target is not None:
        table, unknown = lookup(target, records.store.levels)
        _refuse_unknown(records, unknown, schema)
    return MaskSamples(
        records.images, None if target is None else masks, records.ids, shapes=records.shapes, table=table,
        patch_px=schema.patch_px, channels=schema.channels, foreground=() if target is None else target.foreground,
    )  # fmt: skip


def _refuse_unknown(records: MaskRecords, unknown: Sequence[int], schema: MaskSchema) -> None:
    counts, target = records.counts, schema.target
    assert counts is not None
    assert target is not None
    held = [place for place in unknown if counts[:, place].any()]
    if not held:
        return
    first = records.ids[int(np.flatnonzero(counts[:, held[0]])[0])]
    shown = ", ".join(level_name(records.store.levels[place]) for place in held[:FEW])
    known = ", ".join(
        f"{level_name(level)} = {name}" for level, name in zip(target.levels[:50], target.classes, strict=False)
    )
    raise InputError(
        f"the masks have levels that no mask of the train split has: {shown}, the first in {first!r}; known are "
        f"{known}. Give the train split an example, or name them in data.ignore"
    )


def sizes(schema: MaskSchema, takes: str) -> dict[str, Any]:
    """``in_channels`` and ``image_size``: (H, W), or (D, H, W) for networks of volumes."""
    _check_takes(schema, takes)
    return {"in_channels": schema.channels, "image_size": schema.patch_px}


def _check_takes(schema: MaskSchema, takes: str) -> None:
    wanted = "clip" if schema.slices == "volume" else "image"
    if takes != wanted:
        raise InputError(
            f"a network that takes {takes!r} cannot be given {'volumes' if wanted == 'clip' else 'single images'}; "
            f"choose one that takes {wanted} (model.dims={3 if wanted == 'clip' else 2}), or set data.slices"
        )


def input_names(schema: MaskSchema, takes: str) -> list[str]:
    """Pixels have no names."""
    return []


def front(schema: MaskSchema, takes: str) -> nn.Module:
    """The module from uint8 pixels (B, C, *size) to standard units."""
    _check_takes(schema, takes)
    return PixelFront(schema.mean, schema.std, axes=len(schema.patch_px))


def pieces(schema: MaskSchema, takes: str) -> int:
    """1: an image is seen whole, or in tiles that the task lays out."""
    return 1


def usual_settings(schema: MaskSchema, takes: str, rows: int) -> dict[str, Any]:
    """Volumes need a network of three dimensions."""
    return {"model.dims": 3} if schema.slices == "volume" else {}


def classical(batch: Batch, schema: MaskSchema) -> dict[str, NDArray[Any]]:
    """Nothing: classical models answer for an image, not for its pixels."""
    return {}


def show(records: MaskRecords, row: int) -> Shown:
    """The picture as it was read, its mask drawn over it, and the share of each level; of a volume the middle slice."""
    values, pixels, masks = {"image": records.ids[row]}, _plane(records.images[row]), records.masks
    if masks is None:
        return Shown(values, to_channels(pixels, 3))
    codes, levels = masks[row], records.store.levels
    counts = np.bincount(codes.ravel(), minlength=len(levels))
    parts = sorted((level, int(count)) for level, count in zip(levels, counts, strict=True) if count)
    values["mask"] = ", ".join(f"{level_name(level)} {share(count, codes.size)}" for level, count in parts)
    ground = next((place for place, level in enumerate(levels) if set(level) == {0}), -1)
    names = tuple(map(level_name, levels))
    drawn = MaskTarget(classes=names, levels=levels, pixels=tuple(counts.tolist()), background=ground)
    return Shown(values, overlay(pixels, codes if codes.ndim == 2 else codes[len(codes) // 2], drawn))


def _plane(pixels: Pixels) -> Pixels:
    """The image, or the slice in the middle of a volume."""
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[len(pixels) // 2])


def picture(batch: Batch, row: int, schema: MaskSchema) -> Pixels:
    """The image as the network sees it, its mask drawn over it."""
    pixels = _plane(np.moveaxis(batch.inputs[0][row].cpu().numpy(), 0, -1))
    if batch.targets is None or schema.target is None:
        return to_channels(pixels, 3)
    classes = batch.targets[row].cpu().numpy()
    return overlay(pixels, classes if classes.ndim == 2 else classes[len(classes) // 2], schema.target)


def mismatches(records: MaskRecords, schema: MaskSchema) -> list[Finding]:
    """Images of any size and colour are seen at their own size."""
    return []


def aligned(records: MaskRecords, schema: MaskSchema) -> MaskRecords:
    """The records: levels are spelt in one way."""
    return records


def target_of(records: MaskRecords) -> str:
    """Nothing: masks are found, not named."""
    return ""


def columns(records: MaskRecords, schema: MaskSchema) -> dict[str, NDArray[Any]]:
    """Images have no columns."""
    return {}
