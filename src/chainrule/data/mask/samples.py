"""Encoded images of any size: whole ones side by side for evaluation, patches of one size for training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.image.decode import Pixels, to_channels
from chainrule.data.mask.codes import Codes
from chainrule.data.samples import Arrangement, Batch
from chainrule.data.schema import IGNORE

CANDIDATES = 64  # pixels of each class remembered of an image that is larger than a patch
ON_OBJECT = 3  # every third row of a training batch is cut about an object
Size = tuple[int, ...]


class MaskSamples:
    """Images and classes of pixels, cut and filled up when a batch is asked for.

    Args:
        images: each (H, W, C) or (D, H, W, C), uint8.
        masks: codes of each one's size, or None.
        table: the class of each code.
        patch_px: what a training row is cut or filled up to.
        foreground: classes that a third of the training rows are cut about.
    """

    arrangement: Arrangement = "shuffled"

    def __init__(
        self, images: Sequence[Pixels], masks: Sequence[Codes] | None, ids: Sequence[str], *, shapes: NDArray[np.int64],
        table: NDArray[np.uint8], patch_px: Size, channels: int, foreground: Sequence[int],
    ) -> None:  # fmt: skip
        self.images, self.masks, self.ids = images, masks, ids
        self.table, self.patch_px, self.channels, self.foreground = table, patch_px, channels, foreground
        self.sizes = shapes[:, :-1]
        self.lengths: NDArray[np.int64] | None = self.sizes.prod(axis=1) * channels

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64): whole images, or with a ``generator`` patches at places drawn from it.

        What is filled up, at the bottom and right, has no answer (IGNORE) and is not in ``mask``; whole images repeat
        their edge there, patches are mirrored.
        """
        places = rows.tolist()
        if generator is None:
            size = tuple(int(side) for side in self.sizes[places].max(axis=0))
            starts = [(0,) * len(size)] * len(places)
        else:
            size = self.patch_px
            axes = len(size)
            draws = torch.rand((len(places), axes + 2), generator=generator, device=generator.device).cpu().numpy()
            starts = [self._start(place, number, draws[number]) for number, place in enumerate(places)]
        images = np.empty((len(places), self.channels, *size), dtype=np.uint8)
        answers = None if self.masks is None else np.full((len(places), *size), IGNORE, dtype=np.uint8)
        real = np.zeros((len(places), *size), dtype=np.bool_)
        mode = "edge" if generator is None else "symmetric"
        for number, (place, start) in enumerate(zip(places, starts, strict=True)):
            held = tuple(min(side, have) for side, have in zip(size, self.sizes[place].tolist(), strict=True))
            window = tuple(slice(first, first + side) for first, side in zip(start, held, strict=True))
            kept: Any = (number, *(slice(0, side) for side in held))
            images[number] = np.moveaxis(_filled(self._seen(self.images[place][window]), size, mode), -1, 0)
            real[kept] = True
            if answers is not None and self.masks is not None:
                answers[kept] = self.table[self.masks[place][window]]
        targets = None if answers is None else torch.from_numpy(answers)
        return Batch((torch.from_numpy(images),), targets, rows, torch.from_numpy(real))

    def _seen(self, pixels: Pixels) -> Pixels:
        """The pixels in as many channels as the network takes."""
        if pixels.shape[-1] == self.channels:
            return pixels
        flat = np.ascontiguousarray(pixels.reshape(-1, *pixels.shape[-2:]))
        return to_channels(flat, self.channels).reshape(*pixels.shape[:-1], self.channels)

    def _start(self, place: int, number: int, draws: NDArray[np.float64]) -> Size:
        """Where a patch begins: anywhere, in every third row so that a pixel of a class drawn at random lies in it."""
        size = self.sizes[place]
        room = np.maximum(size - self.patch_px, 0)
        known = self._places.get(place)
        if number % ON_OBJECT or not known:
            return tuple((draws[: len(room)] * (room + 1)).astype(np.int64).tolist())
        spots = known[min(int(draws[-2] * len(known)), len(known) - 1)]
        spot = spots[min(int(draws[-1] * len(spots)), len(spots) - 1)]
        first = np.maximum(spot - self.patch_px + 1, 0)  # from here on the pixel lies in the patch
        last = np.minimum(spot, room)
        first = np.minimum(first, last)
        return tuple((first + (draws[: len(room)] * (last - first + 1)).astype(np.int64)).tolist())

    @cached_property
    def _places(self) -> dict[int, list[NDArray[np.int64]]]:
        """For each image that is larger than a patch, some pixels of every class of objects in it."""
        found: dict[int, list[NDArray[np.int64]]] = {}
        if self.masks is None:
            return found
        for place in np.flatnonzero((self.sizes > self.patch_px).any(axis=1)).tolist():
            classes = self.table[self.masks[place]]
            held = np.bincount(classes.ravel(), minlength=256)
            spots = []
            for number in (number for number in self.foreground if held[number]):
                flat = np.flatnonzero(classes.ravel() == number)
                chosen = flat[np.linspace(0, len(flat) - 1, min(CANDIDATES, len(flat))).astype(np.int64)]
                spots.append(np.stack(np.unravel_index(chosen, classes.shape), axis=1))
            if spots:
                found[place] = spots
        return found


def _filled(pixels: Pixels, size: Size, mode: str) -> Pixels:
    """The pixels with more at the end of each axis up to ``size``."""
    more = [(0, side - have) for side, have in zip(size, pixels.shape[:-1], strict=True)]
    if not any(end for _, end in more):
        return pixels
    return np.asarray(np.pad(pixels, (*more, (0, 0)), mode=mode))  # type: ignore[call-overload]
