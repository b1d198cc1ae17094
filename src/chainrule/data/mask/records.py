"""Images with a class for every pixel, as they were read: pixels at their own size, codes of masks, what was odd."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.decoded import MediaRecords, MediaStore
from chainrule.data.image.records import ChosenImages, PixelStore, large_enough, looks_of
from chainrule.data.mask.codes import MOST_CODES, Coded, Codes, Level, level_name
from chainrule.data.mask.soft import SOFT_ADVICE
from chainrule.data.store import Arrays
from chainrule.errors import InputError

SHOWN = 5  # levels in a message


@dataclass(frozen=True, kw_only=True)
class MaskStore(MediaStore):
    """One source's images and masks; every selection of records shares it."""

    pixels: PixelStore  # each (H, W, C) or (D, H, W, C)
    masks: Arrays | None = None  # codes, of the image's size; None where there are no answers
    levels: tuple[Level, ...] = ()  # what each code means
    counts: NDArray[np.int64] | None = None  # (N, codes) pixels of each code
    palette: tuple[int, ...] = ()  # of masks that are indices into one
    names: tuple[tuple[Level, str], ...] = ()  # of levels, that a file beside the data tells
    originals: NDArray[np.int64]  # (N, axes): sizes before any shrinking
    digests: NDArray[np.uint8] | None = None  # (N, 32) over the bytes of each image and its masks; None for arrays
    jpeg: tuple[str, ...] = ()  # masks that come as JPEG files, the first few
    lone: tuple[tuple[str, str], ...] = ()  # pictures without a partner, and what is missing
    white: float = 0.0  # the level that became 255 where arrays were scaled, otherwise 0

    def digest(self, row: int) -> str:
        """A hash of the files of image and mask, or of the arrays' values."""
        if self.digests is not None:
            return str(self.digests[row].tobytes().hex())
        mask = b"" if self.masks is None else self.masks[row].tobytes()
        return str(self.looks["digest"][row].tobytes().hex()) + blake2b(mask, digest_size=16).hexdigest()

    @cached_property
    def looks(self) -> NDArray[Any]:
        """What is found by looking at every image."""
        return looks_of(self.pixels)


class MaskRecords(MediaRecords[MaskStore]):
    """Rows of a store of images with masks."""

    @property
    def images(self) -> ChosenImages:
        """The pixels of each record, read when they are asked for."""
        return ChosenImages(self.store.pixels, self.rows)

    @property
    def masks(self) -> ChosenImages | None:
        """The codes of each record's mask, read when they are asked for."""
        return None if self.store.masks is None else ChosenImages(self.store.masks, self.rows)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, axes): height, width and channels of each record's image; the number of slices before them in volumes."""
        return self.store.pixels.shapes[self.rows]

    @property
    def original_px(self) -> NDArray[np.int64]:
        """(N, axes): the size of each image before it was shrunk or grown to data.image_size."""
        return self.store.originals[self.rows]

    @property
    def counts(self) -> NDArray[np.int64] | None:
        """(N, codes): pixels of each code in each record."""
        return None if self.store.counts is None else self.store.counts[self.rows]

    @property
    def blank(self) -> NDArray[np.int64]:
        """Rows of images of one colour."""
        return np.flatnonzero(self.store.looks["blank"][self.rows])

    @property
    def empty(self) -> NDArray[np.int64]:
        """Rows of masks that are 0, or black, all over."""
        counts = self.counts
        if counts is None:
            return np.zeros(0, dtype=np.int64)
        ground = np.array([set(level) == {0} for level in self.store.levels])
        return np.flatnonzero(~counts[:, ~ground].any(axis=1))

    @property
    def contradicted(self) -> NDArray[np.int64]:
        """Rows of images that stand here more than once, with masks that differ."""
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, value in enumerate(self.hashes().tolist()):
            rows_of[value].append(row)
        masks, found = self.masks, list[int]()
        for rows in rows_of.values():
            if masks is not None and len(rows) > 1 and len({masks[row].tobytes() for row in rows}) > 1:
                found += rows
        return np.array(sorted(found), dtype=np.int64)

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for images of equal size and pixels."""
        first = np.ascontiguousarray(self.store.looks["digest"][self.rows, :8])
        return first.view(">u8")[:, 0].astype(np.uint64)

    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hash; None where most images are under 32 pixels, where it calls strangers alike."""
        near: NDArray[np.uint64] = self.store.looks["near"][self.rows]
        return near if large_enough(self.store.pixels) else None


class Table:
    """The levels of masks in the order they came, and the pixels of each in every mask."""

    def __init__(self) -> None:
        self._places: dict[Level, int] = {}
        self._counts: list[NDArray[np.int64]] = []
        self._palettes: set[tuple[int, ...]] = set()
        self._colours: dict[Level, tuple[int, ...]] = {}  # of indices into a palette

    @property
    def levels(self) -> tuple[Level, ...]:
        """What each code means."""
        return tuple(self._places)

    @property
    def palette(self) -> tuple[int, ...]:
        """That of the first mask, where all are indices into one."""
        return () if () in self._palettes or not self._palettes else min(self._palettes)

    def add(self, mask: Coded) -> Codes:
        """One more mask in the codes of this table.

        Raises:
            InputError: more levels than a table can have, or indices beside colours.
        """
        for level in mask.levels:
            self._places.setdefault(level, len(self._places))
        self._palettes.add(mask.palette)
        self._check_colours(mask)
        if len(self._places) > MOST_CODES:
            shown = ", ".join(map(level_name, list(self._places)[-SHOWN:]))
            raise InputError(
                f"the masks have more than {MOST_CODES} levels together, such as {shown}; at most 255 classes are "
                f"expected, each with a level or colour of its own. {SOFT_ADVICE}"
            )
        if any(self._palettes) and any(len(level) == 3 for level in self._places):
            raise InputError(
                "some masks are indices into a palette and others are colours, so that a class cannot be told; save "
                "them in one way"
            )
        places = np.array([self._places[level] for level in mask.levels], dtype=np.uint8)
        counts = np.zeros(int(places.max()) + 1, dtype=np.int64)
        counts[places] = np.bincount(mask.codes.ravel(), minlength=len(places))
        self._counts.append(counts)
        return places[mask.codes]

    def _check_colours(self, mask: Coded) -> None:
        """Raise InputError where an index stands for another colour than before."""
        for level in mask.levels if mask.palette else ():
            colour = mask.palette[3 * level[0] : 3 * level[0] + 3]
            before = self._colours.setdefault(level, colour)
            if before != colour:
                raise InputError(
                    f"index {level[0]} of the masks' palettes is {level_name(before)} in one mask and "
                    f"{level_name(colour)} in another, so that indices are no classes; save the masks in RGB"
                )

    def counts(self) -> NDArray[np.int64]:
        """(N, codes): pixels of each level in each mask."""
        found = np.zeros((len(self._counts), len(self._places)), dtype=np.int64)
        for row, counts in enumerate(self._counts):
            found[row, : len(counts)] = counts
        return found


def presence(counts: NDArray[np.int64], levels: Sequence[Level]) -> NDArray[Any]:
    """Of each mask the level that fewest masks have: what the split keeps the shares of.

    All levels together would be a class of its own for nearly every image where there are many.
    """
    held = counts > 0
    order = np.lexsort((counts.sum(axis=0), held.sum(axis=0)))  # rarest first
    rarest = order[held[:, order].argmax(axis=1)]
    return np.array([level_name(levels[place]) for place in rarest], dtype=object)
