"""Masks written as they came, and pictures with what a mask says drawn over them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chainrule.data.image.decode import Pixels, to_channels
from chainrule.data.schema import IGNORE, MaskTarget

COLOURS = (
    (230, 57, 70), (29, 155, 240), (46, 196, 112), (255, 183, 3), (155, 93, 229), (0, 187, 180), (255, 112, 53),
    (241, 91, 181), (122, 176, 20), (94, 96, 206), (166, 124, 82), (0, 119, 182),
)  # fmt: skip
WHITE = (255, 255, 255)
FILL = 0.3  # share of its colour that a class's area takes


def write_mask(path: Path, classes: NDArray[np.uint8], target: MaskTarget) -> None:
    """A mask (H, W) of class indices as a PNG file in the levels, palette or colours that the masks came in.

    A volume (D, H, W) becomes a TIFF file of D pages.
    """
    pages = [_picture(page, target) for page in (classes if classes.ndim == 3 else classes[None])]
    file = io.BytesIO()
    if classes.ndim == 3:
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    else:
        pages[0].save(file, "PNG")
    path.write_bytes(file.getvalue())


def _picture(classes: NDArray[np.uint8], target: MaskTarget) -> Image.Image:
    unknown = target.ignore[0] if target.ignore else target.levels[max(target.background, 0)]
    deep = max(map(max, (unknown, *target.levels))) > 255
    levels = np.full((256, len(target.levels[0])), unknown, dtype=np.uint16 if deep else np.uint8)
    levels[: len(target.levels)] = target.levels
    found = levels[classes]
    picture = Image.fromarray(found if found.shape[-1] == 3 else found[..., 0])
    if target.palette:
        picture = picture.convert("L")
        picture.putpalette(target.palette)
    return picture


def class_colours(target: MaskTarget) -> tuple[tuple[int, int, int], ...]:
    """A colour for each class, in order; the background's is never drawn."""
    found: list[tuple[int, int, int]] = []
    drawn = 0
    for number in range(len(target.classes)):
        if number == target.background:
            found.append((0, 0, 0))
        else:
            found.append(COLOURS[drawn % len(COLOURS)])
            drawn += 1
    return tuple(found)


def overlay(
    pixels: Pixels, classes: NDArray[np.uint8], target: MaskTarget, truth: NDArray[np.uint8] | None = None
) -> Pixels:
    """A picture (H, W, C) with each class outlined and lightly filled in its colour, the truth outlined in white."""
    shown = to_channels(np.ascontiguousarray(pixels), 3).astype(np.float64)
    colours = np.zeros((256, 3))
    colours[: len(target.classes)] = class_colours(target)
    drawn = (classes != target.background) & (classes != IGNORE)
    shown[drawn] = (1 - FILL) * shown[drawn] + FILL * colours[classes[drawn]]
    edge = drawn & outline(classes)
    shown[edge] = colours[classes[edge]]
    if truth is not None:
        shown[outline(truth) & (truth != target.background) & (truth != IGNORE)] = WHITE
    return np.rint(shown).astype(np.uint8)


def outline(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels (H, W) that have a neighbour of another class above, below, left or right."""
    edge = np.zeros(classes.shape, dtype=np.bool_)
    for axis in range(2):
        first: list[Any] = [slice(None)] * 2
        second = list(first)
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        differs = classes[tuple(first)] != classes[tuple(second)]
        edge[tuple(first)] |= differs
        edge[tuple(second)] |= differs
    return edge
