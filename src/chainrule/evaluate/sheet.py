"""Many pictures on one: a row of versions for each sample."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL_PX, LARGE_PX = 96, 192  # the longer side is enlarged by whole factors to the first, shrunk to the second
WIDE = 3  # width over height from which a picture is a strip of frames
WIDE_PX, WIDE_COLUMNS = 640, 2  # the width that strips are shrunk to, and how many stand side by side
GAP_PX = 6


def is_wide(picture: NDArray[Any]) -> bool:
    """Whether a picture (H, W, 3) is a strip."""
    return bool(picture.shape[1] > WIDE * picture.shape[0])


def sheet(rows: Sequence[Sequence[NDArray[Any]]]) -> bytes:
    """A PNG of pictures (H, W, 3) uint8 in rows, strips in pairs; small ones are enlarged by repeating pixels.

    Example:
        >>> sheet([[np.zeros((32, 32, 3), np.uint8)] * 2])[1:4]
        b'PNG'
    """
    from PIL import Image

    lines = [row[at : at + width] for row in rows for width in [_columns(row)] for at in range(0, len(row), width)]
    fitted = [[_fitted(picture) for picture in line] for line in lines]
    width = max(picture.width for row in fitted for picture in row) + GAP_PX
    height = max(picture.height for row in fitted for picture in row) + GAP_PX
    whole = Image.new("RGB", (width * max(map(len, fitted)) + GAP_PX, height * len(fitted) + GAP_PX), "white")
    for y, row in enumerate(fitted):
        for x, picture in enumerate(row):
            whole.paste(picture, (GAP_PX + width * x, GAP_PX + height * y))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


def _columns(row: Sequence[NDArray[Any]]) -> int:
    return WIDE_COLUMNS if is_wide(row[0]) else len(row)


def _fitted(pixels: NDArray[Any]) -> Any:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((WIDE_PX, LARGE_PX) if is_wide(pixels) else (LARGE_PX, LARGE_PX))
    factor = max(1, -(-SMALL_PX // max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
