"""Images as they were read: 8-bit pixels, labels, and what was odd on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from chainrule.data.decoded import MediaRecords, MediaStore
from chainrule.data.image.decode import Pixels, to_channels
from chainrule.data.store import BLOCK, FileRows
from chainrule.data.threads import in_threads

NEAR_HASH_PX = 32  # below this shorter side a 64-bit hash calls too many different pictures alike
HASH_PX = 32
COSINES = np.cos(
    np.pi / HASH_PX * np.outer(np.arange(12), np.arange(HASH_PX) + 0.5)
)  # DCT-II, the 12 lowest frequencies
BAND = np.isin(np.add.outer(np.arange(12), np.arange(12)), np.arange(5, 12))
LOOK = np.dtype([("digest", "u1", 16), ("near", "u8"), ("blank", "?")])

ByteRows = NDArray[np.uint8] | FileRows


class PixelStore(Protocol):
    """Images by their place, (H, W, C) with C = 1 or 3, in memory or read from a file when they are asked for."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int) -> Pixels: ...
    @overload
    def __getitem__(self, place: slice) -> Iterable[Pixels]: ...

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, 3): height, width and channels of each image, without reading it."""


class ArrayImages:
    """Images of one size in one array of bytes, whose axes stay in the order they came in.

    Args:
        source: (N, ...), an array or rows in a file.
        axes: NHW, NHWC or NCHW.
        channels: 1 to take only the first of three equal ones.
        stays: the person keeps the array on disk, so a large one is not copied into memory.
    """

    def __init__(self, source: ByteRows, axes: str, channels: int, *, stays: bool = False) -> None:
        self.source, self.axes, self.channels, self.stays = source, axes, channels, stays
        sides = dict(zip(axes, source.shape, strict=True))
        self.shape = (sides["H"], sides["W"], channels)

    def __len__(self) -> int:
        return self.source.shape[0]

    def __getitem__(self, place: int | slice) -> Pixels:
        return channels_last(self.source[place], self.axes)[..., : self.channels]

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, 3), all alike."""
        return np.broadcast_to(np.array(self.shape), (len(self), 3))

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """These images as (B, C, H, W), a copy."""
        images = torch.from_numpy(channels_last(self.source[places], self.axes)[..., : self.channels])
        return images.permute(0, 3, 1, 2).contiguous()


def channels_last(images: NDArray[Any], axes: str) -> NDArray[Any]:
    """The same values as (..., H, W, C), from axes that end in HW, HWC or CHW."""
    if axes.endswith("HW"):
        return np.moveaxis(images, -3, -1) if axes.endswith("CHW") else images[..., None]
    return images


@dataclass(frozen=True)
class ChosenRows:
    """Some images of an array as a stack that is read batch by batch."""

    images: ArrayImages
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """These of the chosen ones, (B, C, H, W)."""
        return self.images.rows(self.places[places])


@dataclass(frozen=True)
class ChosenImages(Sequence[Pixels]):
    """Some images of a store."""

    pixels: PixelStore
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Pixels: ...
    @overload
    def __getitem__(self, place: slice) -> ChosenImages: ...
    def __getitem__(self, place: int | slice) -> Pixels | ChosenImages:
        if isinstance(place, slice):
            return ChosenImages(self.pixels, self.places[place])
        return self.pixels[int(self.places[place])]


@dataclass(frozen=True, kw_only=True)
class ImageStore(MediaStore):
    """One source's images; every selection of records shares it."""

    pixels: PixelStore
    digests: NDArray[np.uint8] | None = None  # (N, 32) sha256 of each file's bytes; None for arrays
    white: float = 0.0  # the level that became 255 where arrays were scaled, otherwise 0

    def digest(self, row: int) -> str:
        """SHA-256 of the file, or a hash of an array's pixels."""
        content = self.pixel_digests if self.digests is None else self.digests
        return str(content[row].tobytes().hex())

    @property
    def pixel_digests(self) -> NDArray[np.uint8]:
        """(N, 16): bytes over each image's size and pixels."""
        return self._looks["digest"]

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which images have one colour all over."""
        return self._looks["blank"]

    @property
    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hash of every image, or None where most images are too small for one."""
        return self._looks["near"] if large_enough(self.pixels) else None

    @cached_property
    def _looks(self) -> NDArray[Any]:
        return looks_of(self.pixels)


def large_enough(pixels: PixelStore) -> bool:
    """Whether most images are large enough for a perceptual hash."""
    return float(np.median(pixels.shapes[:1000, -3:-1].min(axis=1))) >= NEAR_HASH_PX


def looks_of(pixels: PixelStore) -> NDArray[Any]:
    """What is found by looking at every image, which is read once for all of it: digest, perceptual hash, blankness.

    Of a volume (D, H, W, C) the slice in the middle is what is near another's.
    """
    shapes, large = pixels.shapes, large_enough(pixels)
    looks = np.zeros(len(shapes), dtype=LOOK)
    step = max(1, BLOCK // max(1, int(shapes.prod(axis=1).mean())))

    def look(start: int) -> None:
        for place, image in enumerate(pixels[start : start + step], start):
            content = image.tobytes()
            digest = blake2b(str(image.shape).encode(), digest_size=16)
            digest.update(content)
            channels = image.shape[-1]
            blank = content == content[:channels] * (image.size // channels)
            near = perceptual_hash(image if image.ndim == 3 else image[len(image) // 2]) if large else 0
            looks[place] = (np.frombuffer(digest.digest(), np.uint8), near, blank)

    in_threads(look, range(0, len(looks), step))
    return looks


class ImageRecords(MediaRecords[ImageStore]):
    """Rows of a store of images."""

    @property
    def images(self) -> ChosenImages:
        """The pixels of each record, read when they are asked for."""
        return ChosenImages(self.store.pixels, self.rows)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, 3): height, width and channels of each record's image."""
        return self.store.pixels.shapes[self.rows]

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for images of equal size and pixels."""
        first = np.ascontiguousarray(self.store.pixel_digests[self.rows, :8])
        return first.view(">u8")[:, 0].astype(np.uint64)

    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hash; None where most images are under 32 pixels, where it calls strangers alike."""
        hashes = self.store.near_hashes
        return None if hashes is None else hashes[self.rows]


def perceptual_hash(pixels: Pixels) -> int:
    """63 bits: the signs of the cosine transform's coefficients whose two frequencies sum to 5..11.

    Source: C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1.
    Differs: signs in a middle band instead of the lowest 64 coefficients against their median. Aligned pictures
    (X-rays, portraits) share the lowest frequencies, and recompression or resizing changes the highest.
    """
    small = Image.fromarray(to_channels(pixels, 1)[..., 0]).resize((HASH_PX, HASH_PX), Image.Resampling.BOX)
    coefficients = COSINES @ np.asarray(small, dtype=np.float64) @ COSINES.T
    bits = coefficients[BAND] > 1e-6  # those of a blank picture are rounding errors
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
