"""Small pictures of three kinds, with noise: bars lying, bars standing, frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLASSES = ("lying", "standing", "frame")


def shapes(rows: int = 240, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Pictures (N, 12, 12) and the names of their kinds."""
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 40, (rows, 12, 12))
    kinds = np.arange(rows) % 3
    for picture, kind, place in zip(pictures, kinds, generator.integers(2, 8, rows), strict=True):
        if kind == 0:
            picture[place : place + 3] += 200
        elif kind == 1:
            picture[:, place : place + 3] += 200
        else:
            picture[1:11, 1:11] += 200
            picture[3:9, 3:9] -= 200
    return pictures.clip(0, 255).astype(np.uint8), np.array(CLASSES)[kinds]
