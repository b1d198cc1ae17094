"""Images as they were read: 8-bit pixels in memory, labels, and what was odd on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chainrule.data.image.decode import Pixels, to_channels
from chainrule.data.threads import in_threads

NEAR_HASH_PX = 32  # below this shorter side a 64-bit hash calls too many different pictures alike
HASH_PX = 32
COSINES = np.cos(
    np.pi / HASH_PX * np.outer(np.arange(12), np.arange(HASH_PX) + 0.5)
)  # DCT-II, the 12 lowest frequencies
BAND = np.isin(np.add.outer(np.arange(12), np.arange(12)), np.arange(5, 12))


@dataclass(frozen=True, kw_only=True)
class ImageStore:
    """One source's images; every selection of records shares it."""

    ids: tuple[str, ...]
    pixels: Sequence[Pixels] | Pixels  # each (H, W, C), C = 1 or 3; an (N, H, W, C) array is such a sequence
    labels: NDArray[Any] | None
    label_name: str = "class"
    groups: NDArray[Any] | None = None
    group_reason: str = ""
    times: NDArray[Any] | None = None
    digests: tuple[str, ...] = ()  # sha256 of each file's bytes; nothing for arrays
    white: float = 0.0  # the level that became 255 where arrays were scaled, otherwise 0
    skipped: tuple[tuple[str, str], ...] = ()  # (id, reason)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what was unusual -> ids
    ignored: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def pixel_digests(self) -> list[bytes]:
        """16 bytes per image over its size and pixels."""
        return in_threads(_pixel_digest, list(self.pixels))

    @cached_property
    def blank(self) -> NDArray[np.bool_]:
        """Which images have one colour all over."""
        if isinstance(self.pixels, np.ndarray):
            flat = self.pixels.reshape(len(self.pixels), -1, self.pixels.shape[-1])
            return np.asarray((flat == flat[:, :1]).all(axis=(1, 2)))
        return np.array([bool((image == image[0, 0]).all()) for image in self.pixels], dtype=np.bool_)

    @cached_property
    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hash of every image, or None where most images are too small for one."""
        shorter = [min(image.shape[:2]) for image in self.pixels[:1000]]
        if not shorter or float(np.median(shorter)) < NEAR_HASH_PX:
            return None
        return np.array(in_threads(perceptual_hash, list(self.pixels)), dtype=np.uint64)


class ImageRecords:
    """Rows of a store, as the Records protocol asks."""

    def __init__(self, store: ImageStore, rows: NDArray[np.int64] | None = None) -> None:
        self.store = store
        self.rows = np.arange(len(store.ids)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The files' relative paths, or ``image 17``, counted from 0 as in the array."""
        return tuple(self.store.ids[row] for row in self.rows)

    @property
    def labels(self) -> NDArray[Any] | None:
        """Class names, class numbers or numbers, as they came."""
        return None if self.store.labels is None else self.store.labels[self.rows]

    @property
    def groups(self) -> NDArray[Any] | None:
        """What must stay on one side of the split."""
        return None if self.store.groups is None else self.store.groups[self.rows]

    @property
    def times(self) -> NDArray[Any] | None:
        """Moments from a column the user named."""
        return None if self.store.times is None else self.store.times[self.rows]

    @property
    def images(self) -> list[Pixels]:
        """The pixels of each record, without a copy."""
        return [self.store.pixels[row] for row in self.rows]

    def select(self, rows: NDArray[np.int64]) -> Self:
        """The records of these rows, sharing the pixels."""
        return type(self)(self.store, self.rows[rows])

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and content (file bytes, or pixels of arrays)."""
        digest, labels = sha256(), self.labels
        content = self.store.digests or [value.hex() for value in self.store.pixel_digests]
        for place, row in enumerate(self.rows):
            label = "" if labels is None else str(labels[place])
            digest.update(f"{self.store.ids[row]}\0{label}\0{content[row]}\n".encode())
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for images of equal size and pixels."""
        digests = self.store.pixel_digests
        return np.array([int.from_bytes(digests[row][:8], "big") for row in self.rows], dtype=np.uint64)

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


def _pixel_digest(pixels: Pixels) -> bytes:
    digest = blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return digest.digest()
