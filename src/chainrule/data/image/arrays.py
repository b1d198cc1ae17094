"""Images that come as arrays: npz, idx, and arrays in memory."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.image.idx import idx_rows, idx_shape, partner, read_idx, split_of
from chainrule.data.image.npz import npz_rows, npz_shapes
from chainrule.data.image.records import ArrayImages, ImageRecords, ImageStore, channels_last
from chainrule.data.memory import Memory
from chainrule.data.sources import SPLIT_WORDS
from chainrule.data.store import ARRAYS_SHARE, FileRows, blocks, in_file, stack_blocks
from chainrule.errors import InputError

Shape = tuple[int, ...]
Arrays = Mapping[str, Any]

IMAGE_WORDS = ("x", "image", "images", "img", "imgs", "data", "pixels", "features")
MASK_WORDS = ("y", "mask", "masks", "label", "labels", "target", "targets", "annotation", "annotations", "gt", "seg")
LABEL_WORDS = ("y", "label", "labels", "target", "targets", "class", "classes")
SMALLEST_SIDE = 6  # narrower "images" are more likely windows of a series


def image_axes(shape: Shape) -> str:
    """NHW, NHWC or NCHW where an array of this shape can be images, otherwise ""."""
    if len(shape) == 3 and min(shape[1:]) >= SMALLEST_SIDE:
        return "NHW"
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) >= SMALLEST_SIDE:
        return "NHWC"
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) >= SMALLEST_SIDE:
        return "NCHW"
    return ""


def named_arrays(value: Any) -> dict[str, Any]:
    """Arrays by name: a dict's, the X and y of a pair, or the one array given."""
    if isinstance(value, dict):
        return {str(key): array for key, array in value.items() if hasattr(array, "shape")}
    if isinstance(value, (tuple, list)) and len(value) == 2 and hasattr(value[0], "shape"):
        return {"X": value[0], "y": np.asarray(value[1])}
    return {"X": value} if isinstance(value, (np.ndarray, Tensor)) else {}


def array_pairs(shapes: Mapping[str, Shape]) -> dict[str, tuple[str, str]]:
    """Split ("all" where the names tell none) -> (images' key, labels' key or "")."""
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for key, shape in shapes.items():
        role, split = _role(key)
        if image_axes(shape) and role != "labels":
            images.setdefault(split, key)
        elif role == "labels":
            labels.setdefault(split, key)
    others = [key for key in shapes if key not in images.values()]
    if list(images) == ["all"] and not labels and len(others) == 1:
        labels["all"] = others[0]
    if "all" in images and len(images) > 1:
        images.setdefault("train", images.pop("all"))
    return {split: (key, labels.get(split, "")) for split, key in images.items()}


def mask_pairs(shapes: Mapping[str, Shape]) -> dict[str, tuple[str, str]]:
    """Split -> (images' key, masks' key) where all arrays of images have one of as many masks of their size."""
    images: dict[str, str] = {}
    others: dict[str, list[str]] = defaultdict(list)
    for key, shape in shapes.items():
        words = _words(key)
        split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "all")
        if image_axes(shape) and split not in images and not set(words) & set(MASK_WORDS):
            images[split] = key
        else:
            others[split].append(key)
    pairs = {}
    for split, key in images.items():
        mask = next((other for other in others[split] if is_mask_of(shapes[other], shapes[key])), None)
        if mask is None:
            return {}
        pairs[split] = (key, mask)
    return pairs


def is_mask_of(mask: Shape, images: Shape) -> bool:
    """Whether an array of this shape can hold a class for every pixel of these images."""
    sides = dict(zip(image_axes(images), images, strict=True))
    size = (sides["N"], sides["H"], sides["W"])
    return mask in (size, (*size, 1), (size[0], 1, *size[1:]))


def _words(key: str) -> list[str]:
    """The words of a name like ``x_train``, ``trainX`` or ``xtrain``."""
    joined = re.fullmatch(rf"([xy])({'|'.join(SPLIT_WORDS)})", key.lower())
    return list(joined.groups()) if joined else re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())


def _role(key: str) -> tuple[str, str]:
    """("images", "labels" or "", split) of a name like ``x_train``, ``trainX`` or ``val_labels``."""
    words = _words(key)
    split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "all")
    if any(word in LABEL_WORDS for word in words):
        return "labels", split
    return ("images" if any(word in IMAGE_WORDS for word in words) else ""), split


def read_npz(path: Path, memory: Memory) -> dict[str, ImageRecords]:
    """The records of an npz file's images; large ones stay in the file.

    Raises:
        InputError: broken, holds Python objects, or the disk has no room for what is compressed.
    """
    pairs = array_pairs(npz_shapes(path))
    return read_arrays(npz_arrays(path, pairs, memory), str(path), memory, pairs)


def npz_arrays(path: Path, pairs: Mapping[str, tuple[str, str]], memory: Memory) -> dict[str, NDArray[Any] | FileRows]:
    """The arrays of an npz file that ``pairs`` names: of images those that do not fit into memory as rows of the file.

    Raises:
        InputError: broken, holds Python objects, or the disk has no room for what is compressed.
    """
    shapes = npz_shapes(path)
    images = {key for key, _ in pairs.values()}
    arrays: dict[str, NDArray[Any] | FileRows] = {}
    try:
        with np.load(path, allow_pickle=False) as content:
            for key in sorted({key for pair in pairs.values() for key in pair if key}):
                fits = key not in images or memory.takes(math.prod(shapes[key]), ARRAYS_SHARE)
                rows = None if fits else npz_rows(path, key)
                arrays[key] = content[key] if rows is None else rows
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); save plain arrays with numpy.savez") from None
    return arrays


def read_arrays(
    arrays: Arrays, where: str, memory: Memory, pairs: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, ImageRecords]:
    """The records of named arrays, all splits scaled alike.

    Raises:
        InputError: unequal lengths, pixel levels that nothing explains, labels of another shape.
    """
    found = array_pairs({key: np.shape(value) for key, value in arrays.items()}) if pairs is None else pairs
    images = {split: _array(arrays[key]) for split, (key, _) in found.items()}
    white = white_level(images.values(), where)
    records = {}
    for split, (key, label_key) in found.items():
        labels = None if not label_key else _labels(np.asarray(arrays[label_key]), f"{label_key!r} in {where}")
        if labels is not None and len(labels) != len(images[split]):
            raise InputError(
                f"{where} has {len(images[split]):,} images in {key!r} and {len(labels):,} labels in {label_key!r}; "
                f"there must be one label per image"
            )
        records[split] = records_of(images[split], labels, white, memory)
    return records


def given_records(array: NDArray[Any], learned_white: float, memory: Memory) -> ImageRecords:
    """One image (H W, H W C) or many that are to be predicted, scaled as the train split was.

    Raises:
        InputError: other levels than those learned from.
    """
    single = not image_axes(array.shape) or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    images = array[None] if single else array
    white = white_level([images], "the array given")
    if white and learned_white and white != learned_white:
        if white > learned_white or (images != np.rint(images)).any():
            raise InputError(
                f"the array given has pixel levels 0..{images.max():g}, the network learned from 0..{learned_white:g}; "
                f"give it the same levels"
            )
        white = learned_white
    return records_of(images, None, white, memory)


def _array(value: Any) -> NDArray[Any] | FileRows:
    return value if isinstance(value, FileRows) else np.asarray(value)


def records_of(
    images: NDArray[Any] | FileRows, labels: NDArray[Any] | None, white: float, memory: Memory
) -> ImageRecords:
    """Records over one array of images whose level ``white`` means 255 (0: they are 8-bit already)."""
    pixels = _pixels(images, white, memory)
    notes = (f"pixel levels 0..{white:g} were scaled to 0..255",) if white not in (0, 255) else ()
    ids = tuple(f"image {i}" for i in range(len(pixels)))
    store = ImageStore(ids=ids, pixels=pixels, labels=labels, white=white, notes=notes, memory=memory)
    return ImageRecords(store)


def _pixels(images: NDArray[Any] | FileRows, white: float, memory: Memory) -> ArrayImages:
    """The images in 8 bits, grey or RGB; without a copy where they are so already."""
    axes = image_axes(images.shape)
    if not axes:
        raise InputError(f"an array of shape {images.shape} is not images; expected N H W, N H W C or N C H W")
    source = images if isinstance(images, FileRows) else in_file(images)
    stays = isinstance(source, FileRows) and source is not images
    sides = dict(zip(axes, images.shape, strict=True))
    channels = sides.get("C", 1)
    if images.dtype != np.uint8 or channels == 4:
        channels, given, order = min(channels, 3), source, axes
        shape = (sides["H"], sides["W"], channels)

        def make(start: int, stop: int) -> NDArray[np.uint8]:
            return _eight_bits(channels_last(given[start:stop], order), white)

        source = stack_blocks(len(images), shape, np.uint8, make, memory, ARRAYS_SHARE)
        axes, stays = "NHWC", False
    if channels == 3 and all(_colourless(channels_last(block, axes)) for block in blocks(source)):
        channels = 1
    return ArrayImages(source, axes, channels, stays=stays)


def white_level(arrays: Collection[NDArray[Any] | FileRows], where: str) -> float:
    """The level that means white, one for all arrays: 0 for 8-bit ones (no scaling), 1, 255 or 65535.

    Raises:
        InputError: NaN or infinite pixels, negative ones, or levels beyond all of these.
    """
    low, high, whole = 0.0, 0.0, True
    for array in arrays:
        if array.dtype in (np.uint8, np.bool_) or not len(array):
            continue
        if array.dtype.kind not in "iuf":
            raise InputError(f"{where} has images of type {array.dtype}; expected numbers")
        whole = whole and array.dtype.kind in "iu"
        _check_finite(array, where)
        for block in blocks(array):
            low, high = min(low, float(block.min())), max(high, float(block.max()))
    if all(array.dtype in (np.uint8, np.bool_) for array in arrays):
        return 0.0
    known = [level for level in ((255, 65535) if whole else (1, 255)) if high <= level]
    if low < 0 or not known:
        ranges = "0..255 or 0..65535 as whole numbers" if whole else "0..1 or 0..255 as decimal numbers"
        raise InputError(
            f"{where} has pixels from {low:g} to {high:g}; expected {ranges}. Undo the normalisation first"
        )
    return float(known[0])


def _check_finite(array: NDArray[Any] | FileRows, where: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = np.concatenate([~np.isfinite(block.reshape(len(block), -1)).all(axis=1) for block in blocks(array)])
    if bad.any():
        first = ", ".join(map(str, np.flatnonzero(bad)[:5]))
        raise InputError(
            f"{where} has NaN or infinite pixels in {bad.sum():,} images, the first: {first}; mend or drop them"
        )


def _eight_bits(images: NDArray[Any], white: float) -> NDArray[np.uint8]:
    if images.dtype == np.bool_:
        images = images.astype(np.uint8) * 255
    elif images.dtype != np.uint8:
        images = np.rint(images * (255 / white)).astype(np.uint8)
    if images.shape[3] == 4:
        alpha = images[..., 3:].astype(np.float32) / 255
        images = np.rint(images[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return images


def _colourless(images: NDArray[Any]) -> bool:
    return bool((images[..., :1] == images[..., 1:]).all())


def _labels(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """One value per image: (N, 1) is squeezed, one-hot rows become class numbers."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf" and ((labels == 0) | (labels == 1)).all():
        if (labels.sum(axis=1) == 1).all():
            return np.asarray(labels.argmax(axis=1))
        raise InputError(f"{where} marks several classes per image; one label per image is needed")
    if labels.ndim != 1 or labels.dtype.kind not in "biufUSO":
        raise InputError(f"{where} has labels of shape {labels.shape}, type {labels.dtype}; expected one per image")
    if labels.dtype.kind == "S":
        return np.array([label.decode() for label in labels], dtype=object)
    return labels


def idx_images(path: Path) -> dict[str, Path]:
    """Split -> idx images file: the file and its test (t10k) sibling, or all those of a folder."""
    if path.is_dir():
        files = [child for child in sorted(path.iterdir()) if child.is_file() and not child.name.startswith(".")]
        found = [child for child in files if _is_images(child)]
    else:
        found = [path] if _is_images(path) else []
        if found and split_of(path) == "train":
            found += [other for other in _siblings(path) if split_of(other) == "test" and _is_images(other)]
    if len(found) == 1:
        return {"all": found[0]}
    return {split_of(file) or "all": file for file in sorted(found, key=lambda file: split_of(file) == "test")}


def read_idx_images(path: Path, memory: Memory) -> dict[str, ImageRecords]:
    """The records of an idx images file and its labels, found by name beside it.

    Raises:
        InputError: broken files, or unequal numbers of images and labels.
    """
    records = {}
    for split, images in idx_images(path).items():
        labels = partner(images)
        arrays: dict[str, NDArray[Any] | FileRows] = {"images": idx_rows(images, memory)}
        if labels is not None:
            arrays["labels"] = read_idx(labels)
        pair = {"all": ("images", "labels" if labels is not None else "")}
        records[split] = read_arrays(arrays, str(images), memory, pair)["all"]
    return records


def _is_images(path: Path) -> bool:
    shape = idx_shape(path)
    return shape is not None and image_axes(shape) != ""


def _siblings(path: Path) -> list[Path]:
    return [child for child in sorted(path.parent.iterdir()) if child.is_file() and child != path]
