"""The way back from shares of white to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pictures_of(shares: NDArray[Any], channels: int, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Shares of white (N, C, H, W), or flattened (N, C H W), as pictures (N, H, W, C).

    Example:
        >>> pictures_of(np.full((2, 12), 0.5), 3, (2, 2)).shape
        (2, 2, 2, 3)
    """
    whole = np.asarray(shares, dtype=np.float64).reshape(len(shares), channels, *size_px)
    return np.ascontiguousarray((whole.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1))
