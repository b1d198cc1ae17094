"""Images: class folders, tables of paths, npz, idx and arrays in memory, one label per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.config import DataConfig
from chainrule.data.decoded import Reader, files_reader, input_files, joined, media_findings, read_by
from chainrule.data.image.arrays import (
    array_pairs,
    given_records,
    idx_images,
    mask_pairs,
    named_arrays,
    read_arrays,
    read_idx_images,
    read_npz,
)
from chainrule.data.image.augment import AugmentConfig
from chainrule.data.image.augment import augment as augment_images
from chainrule.data.image.decode import DARK, Pixels, resize, to_channels
from chainrule.data.image.files import decoded_records
from chainrule.data.image.front import PixelFront
from chainrule.data.image.npz import npz_shapes
from chainrule.data.image.records import ArrayImages, ChosenRows, ImageRecords, ImageStore
from chainrule.data.image.size import check_size, common_size
from chainrule.data.image.statistics import statistics
from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW, encode_targets, input_target, target_of_labels
from chainrule.data.levels import chosen_levels, levels_note
from chainrule.data.media import IMAGES, path_table, refuse_columns
from chainrule.data.memory import Memory
from chainrule.data.pairs import find_pairs, pair_columns
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import InputTarget, Target, from_json
from chainrule.data.sources import Source, open_source, suffix
from chainrule.data.store import Rows, as_rows, collect, stack, stack_blocks, stacked_samples
from chainrule.errors import InputError

NAME = "image"
GIVES = ("image", "vector")
AUGMENT = AugmentConfig
LINEAR_PX = 16  # side of what the linear baseline sees
SMALL_PX = 64  # images of one size up to this are taken as they are
LARGEST_PX = 4096  # what data.image_size may ask for
DEFAULT_PX = 128  # the longer side that larger images are brought to
SMALL_MAP_BYTES = 512 << 20  # arrays mapped from disk stay there from this size on


@dataclass(frozen=True, kw_only=True)
class ImageSchema:
    """How pictures become tensors and outputs become answers."""

    kind: str = NAME
    target: Target | None
    size_px: tuple[int, int]  # height, width
    channels: int  # 1 grey, 3 RGB
    mean: tuple[float, ...]  # per channel of the train split, in 0..1
    std: tuple[float, ...]
    white: float = 0.0  # the level of decimal or 16-bit arrays that means white; 0 where the train split had none
    notes: tuple[str, ...] = ()  # what was decided, and why


class ImageFront(PixelFront):
    """Pixels of pictures to standard units, (B, C, H, W) or (B, C H W)."""

    def __init__(self, schema: ImageSchema, *, flat: bool) -> None:
        super().__init__(schema.mean, schema.std, flat=flat)


def recognises(source: Source) -> str | None:
    """Why this source is images, in words, or None; pictures with masks of their own are of another kind."""
    found = _reader(source)
    return None if found is None or _masked(source) else found[0]


def _masked(source: Source) -> bool:
    """Whether the images of a source come with masks."""
    path = source.path
    if path is None:
        return bool(mask_pairs({key: np.shape(array) for key, array in named_arrays(source.value).items()}))
    if suffix(path) == ".npz":
        return bool(mask_pairs(npz_shapes(path)))
    if path.is_dir() and find_pairs(path) is not None:
        return True
    table = path_table(path, IMAGES)
    return table is not None and pair_columns(table) is not None


def read(source: Source, options: DataConfig) -> dict[str, ImageRecords]:
    """The records, "all" or by split where one file or folder holds several.

    Raises:
        InputError: broken or unreadable content, or a setting that images in this form cannot follow.
    """
    return read_by(_reader(source), source, options, f"images; {_accepted()}")


def _reader(source: Source) -> tuple[str, Reader[ImageRecords]] | None:
    """The reason in words, and what reads it."""
    path = source.path
    if path is None:
        return _value_reader(source.value)
    if suffix(path) == ".npz" and path.is_file():
        return _npz_reader(path)
    return _idx_reader(path) or files_reader(path, IMAGES, decoded_records)


def _value_reader(value: Any) -> tuple[str, Reader[ImageRecords]] | None:
    arrays = named_arrays(value)
    pairs = array_pairs({key: np.shape(array) for key, array in arrays.items()})
    if not pairs:
        return None
    shape = np.shape(arrays[next(iter(pairs.values()))[0]])
    return f"arrays of images, shape {tuple(shape)}", _plain(
        lambda memory: read_arrays(arrays, "the arrays given", memory, pairs)
    )


def _npz_reader(path: Path) -> tuple[str, Reader[ImageRecords]] | None:
    shapes = npz_shapes(path)
    pairs = array_pairs(shapes)
    if not pairs:
        return None
    held = ", ".join(f"{key} {shapes[key]}" for key, _ in pairs.values())
    return f"npz with images: {held}", _plain(lambda memory: read_npz(path, memory))


def _idx_reader(path: Path) -> tuple[str, Reader[ImageRecords]] | None:
    files = idx_images(path)
    if not files:
        return None
    reason = f"idx images: {', '.join(file.name for file in files.values())}"
    return reason, _plain(lambda memory: read_idx_images(path, memory))


def _plain(read_all: Callable[[Memory], dict[str, ImageRecords]]) -> Reader[ImageRecords]:
    """A reader of arrays, which have neither columns nor file names."""

    def read_with(options: DataConfig) -> dict[str, ImageRecords]:
        if options.group:
            raise InputError("--group is a pattern over file names, but these images are arrays; leave it out")
        refuse_columns(options, IMAGES)
        return read_all(Memory(options.memory_mb << 20))

    return read_with


def _accepted() -> str:
    return (
        "expected a folder of class folders, a CSV with a column of paths, an npz with arrays like x_train and "
        "y_train, idx files, or arrays of shape N H W, N H W C or N C H W with one label per image"
    )


def read_inputs(inputs: Sequence[Any], schema: ImageSchema) -> ImageRecords:
    """Records for prediction from image files, folders of them, npz or idx files, or arrays.

    Raises:
        InputError: nothing found, or a file that cannot be read.
    """
    options = DataConfig(image_size=max(schema.size_px), max_bad_share=0)
    memory = Memory()
    stores = [store for one in inputs for store in _input_stores(one, schema, options, memory)]
    if not stores:
        raise InputError("no images to predict; give files, folders or arrays")
    if len(stores) == 1:
        return ImageRecords(stores[0])
    return ImageRecords(
        ImageStore(
            **joined(stores),
            pixels=collect((image for store in stores for image in ImageRecords(store).images), memory),
            memory=memory,
        )
    )


def _input_stores(one: Any, schema: ImageSchema, options: DataConfig, memory: Memory) -> list[ImageStore]:
    if not isinstance(one, (str, Path)):
        return [given_records(np.asarray(one), schema.white, memory).store]
    files = input_files(one, IMAGES)
    if files is not None and files.paths:
        return [decoded_records(files, options, memory).store]
    return [replace(records.store, labels=None) for records in read(open_source(one), options).values()]


def findings(records: ImageRecords) -> list[Finding]:
    """Skipped and unusual files, empty or tiny classes, images of one colour."""
    return media_findings(records, IMAGES, "image", (DARK,)) + _blank_findings(records)


def _blank_findings(records: ImageRecords) -> list[Finding]:
    blank = records.rows[records.store.blank[records.rows]]
    names = tuple(records.store.ids[row] for row in blank[:FEW])
    return [Finding("warning", f"{len(blank)} images of a single colour", names)] if len(blank) else []


def learn_schema(train: ImageRecords, options: DataConfig) -> ImageSchema:
    """Classes or number, image size, channels, and mean and spread per channel, from the train split.

    Raises:
        InputError: no labels, one class only, labels the task cannot be done on, or an absurd size.
    """
    target, reason = _target(train, options)
    check_size(options.image_size, LARGEST_PX)
    size_px, size_reason = find_size(train.shapes, options.image_size)
    channels = options.channels or int(train.shapes[:, 2].max())
    mean, std = chosen_levels(options, channels) or statistics(train.images, channels)
    if isinstance(target, InputTarget):
        target = replace(target, mean=mean, std=std)
    return ImageSchema(
        target=target, size_px=size_px, channels=channels, mean=mean, std=std, white=train.store.white,
        notes=(reason, size_reason, levels_note(options, channels)),
    )  # fmt: skip


def _target(train: ImageRecords, options: DataConfig) -> tuple[Target, str]:
    """What is learned of images, and why in words."""
    store = train.store
    if options.task == "reconstruct":
        return input_target(train.labels, store.label_name, options, name="the image", form="pixels"), ""
    return target_of_labels(
        train.labels, store.label_name, options.task, train.ids[0], "images", _accepted(), store.label_pattern
    )


def find_size(shapes: Sequence[tuple[int, ...]] | NDArray[np.int64], longer_px: int) -> tuple[tuple[int, int], str]:
    """(H, W) that all images are brought to, and why.

    Equal small ones stay; others keep their shape where all have the same one, otherwise become square. The longer side
    is ``longer_px`` if given, else the usual one up to 128; sides that are not given are multiples of 8.
    """
    sizes = np.asarray(shapes, dtype=np.float64)[:, :2]
    H, W = (int(side) for side in np.median(sizes, axis=0))
    if not longer_px and bool((sizes == sizes[0]).all()) and max(H, W) <= SMALL_PX:
        return (H, W), f"{H} x {W} pixels (height x width), as all images are"
    usual = f"the middle size is {H} x {W}; data.image_size sets another"
    return common_size(sizes, longer_px, DEFAULT_PX, usual)


def load_schema(data: Mapping[str, Any]) -> ImageSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(ImageSchema, data)


def encode(records: ImageRecords, schema: ImageSchema) -> Samples:
    """uint8 images (N, C, H, W), squeezed to the schema's size, and class indices or numbers.

    Raises:
        InputError: a label the schema does not know, or no room for images that do not fit into memory.
    """
    targets = encode_targets(records.labels, schema.target)
    return stacked_samples((_pixels(records, schema),), targets, records.ids)


def _pixels(records: ImageRecords, schema: ImageSchema) -> Tensor | Rows:
    memory, whole, images = records.store.memory, records.store.pixels, records.images
    shape = (schema.channels, *schema.size_px)
    if isinstance(whole, ArrayImages) and whole.shape == (*schema.size_px, schema.channels):
        chosen = ChosenRows(whole, records.rows)
        size = len(records) * math.prod(shape)
        if (whole.stays and size > SMALL_MAP_BYTES) or not memory.has_room(size):
            return chosen

        def copy(start: int, stop: int) -> NDArray[np.uint8]:
            return chosen.rows(np.arange(start, stop)).numpy()

        return as_rows(stack_blocks(len(records), shape, np.uint8, copy, memory))

    def make(place: int) -> NDArray[np.uint8]:
        return to_channels(resize(images[place], schema.size_px), schema.channels).transpose(2, 0, 1)

    return stack(len(records), shape, np.uint8, make, memory)


def sizes(schema: ImageSchema, takes: str) -> dict[str, Any]:
    """``in_channels`` and ``image_size`` (H, W) for networks of images, ``in_features`` for those of vectors."""
    _check_takes(takes)
    H, W = schema.size_px
    if takes == "vector":
        return {"in_features": schema.channels * H * W, "shape": (schema.channels * H * W,)}
    return {"in_channels": schema.channels, "image_size": (H, W), "shape": (schema.channels, H, W)}


def input_names(schema: ImageSchema, takes: str) -> list[str]:
    """Pixels have no names."""
    return []


def front(schema: ImageSchema, takes: str) -> ImageFront:
    """The module from uint8 pixels to what the network takes: "image" or "vector"."""
    _check_takes(takes)
    return ImageFront(schema, flat=takes == "vector")


def _check_takes(takes: str) -> None:
    if takes not in ("image", "vector"):
        raise InputError(
            f"a network that takes {takes!r} cannot be given images; choose one that takes image or vector"
        )


def augment(batch: Batch, generator: torch.Generator, config: AugmentConfig) -> Batch:
    """The whole batch, changed at random on its device."""
    return augment_images(batch, generator, config)


def show(records: ImageRecords, row: int) -> Shown:
    """The picture as it was read, with its label."""
    labels = records.labels
    values = {"image": records.ids[row]} | ({} if labels is None else {records.store.label_name: str(labels[row])})
    return Shown(values, np.ascontiguousarray(to_channels(records.images[row], 3)))


def mismatches(records: ImageRecords, schema: ImageSchema) -> list[Finding]:
    """Images of any size and colour are brought to the schema's."""
    return []


def aligned(records: ImageRecords, schema: ImageSchema) -> ImageRecords:
    """The records: labels are spelt in one way."""
    return records


def target_of(records: ImageRecords) -> str:
    """The pattern that found labels in the names; "" where folders, a table or arrays have them."""
    return records.store.label_pattern


def columns(records: ImageRecords, schema: ImageSchema) -> dict[str, NDArray[Any]]:
    """Images have no columns."""
    return {}


def classical(batch: Batch, schema: ImageSchema) -> dict[str, NDArray[Any]]:
    """Pixels averaged over areas to at most 16 x 16, in [-1, 1]."""
    image = batch.inputs[0].float()
    H, W = (min(side, LINEAR_PX) for side in image.shape[-2:])
    pooled = torch.nn.functional.adaptive_avg_pool2d(image, (H, W))
    return {"vector": (pooled.flatten(1) / 127.5 - 1).cpu().numpy()}


def pieces(schema: ImageSchema, takes: str) -> int:
    """1: an image is seen whole."""
    return 1


def picture(batch: Batch, row: int, schema: ImageSchema) -> Pixels:
    """The image as the network sees it."""
    return to_channels(batch.inputs[0][row].permute(1, 2, 0).contiguous().cpu().numpy(), 3)


def usual_settings(schema: ImageSchema, takes: str, rows: int) -> dict[str, Any]:
    """Images that are to be built again are not moved; otherwise the network's own settings are right."""
    return {"augment.flip": "no", "augment.shift": 0.0} if isinstance(schema.target, InputTarget) else {}
