"""Overlapping tiles: an axis cut into windows that a network can see, and the weights that blend what it answers.

Each window has a core whose answers count, around it a band in which the answers of neighbours are blended (weights
rise and fall in a straight line and add up to 1 everywhere), and around that a halo that is only looked at. With a halo
as wide as the network's receptive field every answer that counts is the one that the whole image would give.

Source: the overlap-tile strategy of Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, figure 2.
Reference: the same network on the whole image, compared in tests/unit/test_segment.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """One tile along one axis, in pixels of that axis: what is seen, and what of it counts."""

    seen: slice
    counts: slice  # within the axis
    rise: int  # pixels at the start of ``counts`` that are blended with the tile before; 0 at the edge
    fall: int  # pixels at its end that are blended with the tile after it

    def weights(self) -> Float[Tensor, " counted"]:
        """The share of this tile's answers in each pixel that counts."""
        share = torch.ones(self.counts.stop - self.counts.start)
        if self.rise:
            share[: self.rise] = ramp(self.rise)
        if self.fall:
            share[len(share) - self.fall :] = 1 - ramp(self.fall)
        return share

    @property
    def inner(self) -> slice:
        """``counts`` within what is seen."""
        return slice(self.counts.start - self.seen.start, self.counts.stop - self.seen.start)


def ramp(pixels: int) -> Float[Tensor, " pixels"]:
    """Shares that rise from near 0 to near 1; with the same reversed they add up to 1."""
    return (torch.arange(pixels) + 0.5) / pixels


def windows(size: int, core: int, halo: int, blend: int, multiple: int) -> list[Window]:
    """An axis of ``size`` pixels in tiles of ``core`` pixels each, in order; a single one where it fits.

    ``blend`` pixels on either side of each seam are shared by two tiles. What is seen starts at a multiple of
    ``multiple`` (the network's pools stay in step with those of the whole image) and has such a length, or ends with
    the axis.

    Example:
        >>> [(w.seen.start, w.seen.stop, w.counts.start, w.counts.stop) for w in windows(100, 48, 16, 4, 8)]
        [(0, 72, 0, 52), (24, 100, 44, 100), (72, 100, 92, 100)]
    """
    core = max(multiple, core // multiple * multiple)
    blend = min(blend, core // 2)
    starts = list(range(0, size, core))
    if len(starts) > 1 and size - starts[-1] < max(blend, 1):  # too short to be blended: the one before takes it
        starts.pop()
    found = []
    for start, stop in zip(starts, [*starts[1:], size], strict=True):
        first, last = start == 0, stop == size
        counts = slice(start if first else start - blend, stop if last else stop + blend)
        seen = slice(max(0, counts.start - halo) // multiple * multiple, min(size, _up(counts.stop + halo, multiple)))
        found.append(Window(seen, counts, 0 if first else 2 * blend, 0 if last else 2 * blend))
    return found


def _up(pixels: int, multiple: int) -> int:
    return -(-pixels // multiple) * multiple


def mirrored_places(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """For an axis with so many pixels more at its ends: where each comes from, mirrored at the edges again and again.

    Example:
        >>> mirrored_places(3, 2, 4, torch.device("cpu")).tolist()
        [2, 1, 0, 1, 2, 1, 0, 1, 2]
    """
    period = max(1, 2 * (size - 1))
    places = torch.arange(-before, size + after, device=device).remainder(period)
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


def mirror(x: Tensor, ends: tuple[tuple[int, int], ...]) -> Tensor:
    """``x`` (B, C, *size) with so many mirrored pixels before and after each axis; equal ``x`` where there are none."""
    for axis, (before, after) in enumerate(ends, start=2):
        if before or after:
            x = x.index_select(axis, mirrored_places(x.shape[axis], before, after, x.device))
    return x
