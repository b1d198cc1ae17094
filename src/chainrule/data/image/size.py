"""The one size that all pictures, or all frames, are brought to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError

SMALLEST_PX = 8
ONE_SHAPE = 0.05  # sides whose ratios differ by no more than this share are of one shape


def check_size(longer_px: int, largest_px: int) -> None:
    """Raise InputError where data.image_size is neither 0 nor a sensible number of pixels."""
    if longer_px and not SMALLEST_PX <= longer_px <= largest_px:
        raise InputError(f"data.image_size is {longer_px}; expected {SMALLEST_PX} to {largest_px} pixels, or 0")


def common_size(sizes: NDArray[np.float64], longer_px: int, usual_px: int, usual: str) -> tuple[tuple[int, int], str]:
    """(H, W) that all of ``sizes`` (N, 2) are brought to, and why; sides that are not given are multiples of 8.

    What has one shape keeps it, otherwise all become square. The longer side is ``longer_px`` if given, else the middle
    one up to ``usual_px``.

    Args:
        usual: why it is that one, in words.
    """
    H, W = (int(side) for side in np.median(sizes, axis=0))
    ratios = sizes[:, 1] / sizes[:, 0]
    one_shape = float(np.ptp(ratios)) <= ONE_SHAPE * float(np.median(ratios))
    longer = longer_px or min(usual_px, _multiple_of_8(max(H, W)))
    shorter = min(longer, _multiple_of_8(longer * min(H, W) / max(H, W))) if one_shape and H != W else longer
    size_px = (longer, shorter) if H > W else (shorter, longer)
    why = f"data.image_size={longer_px}" if longer_px else usual
    shape = "shape kept" if one_shape else "shapes differ, so all are squeezed to a square"
    return size_px, f"{size_px[0]} x {size_px[1]} pixels (height x width): {why}; {shape}"


def _multiple_of_8(side: float) -> int:
    return max(8, round(side / 8) * 8)
