"""Where the faces and their eyes are in a photo: the one seam to a detector, OpenCV's, whose weights are in its wheel.

Source: Viola, Jones 2001, "Rapid object detection using a boosted cascade of simple features"; Lienhart, Kuranov,
Pisarevsky 2003 (the cascades that OpenCV brings along).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.image.decode import Pixels, resize, to_channels
from chainrule.errors import InputError

INSTALL = "pip install 'chainrule[faces]' (opencv-python-headless)"
LOOKED_PX = 240  # the longer side at which faces are looked for
BORDER = 0.25  # of the longer side, repeated about a photo: a cascade misses faces that fill it
LEAST_FACE = 0.18  # of the longer side
BACKGROUND = 0.5  # faces below this share of the largest one's width are passers-by
EYES_PX = 260  # the width a face is brought to before its eyes are looked for
EYES_BELOW, EYES_ABOVE = 0.2, 0.6  # share of the face's height between which eyes lie
EYES_APART = (0.25, 0.55)  # share of the face's width
LEAST_EYE, MOST_EYE = 0.13, 0.37
FACES = "haarcascade_frontalface_alt2.xml"
EYES = ("haarcascade_eye.xml", "haarcascade_eye_tree_eyeglasses.xml")  # the second one knows glasses

Point = tuple[float, float]  # x, y in pixels of the photo


@dataclass(frozen=True, slots=True)
class Face:
    """A face: a square about it, and its eyes where both were seen."""

    left: float
    top: float
    side: float
    eyes: tuple[Point, Point] | None  # the one on the left of the photo first


def installed() -> bool:
    """Whether there is a detector."""
    return importlib.util.find_spec("cv2") is not None


class Detector:
    """OpenCV's cascades, one for each thread that asks."""

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise InputError(f"faces are found by OpenCV, which cannot be loaded ({error}): {INSTALL}") from None
        cv2.setNumThreads(1)  # photos are shared out to threads as they are
        self.cv2: Any = cv2
        self.own = threading.local()

    def faces(self, pixels: Pixels) -> list[Face]:
        """Every face in the photo that is about as large as the largest one, that one first."""
        grey = to_channels(pixels, 1)[..., 0]
        scale = LOOKED_PX / max(grey.shape)
        small = resize(grey[..., None], _scaled(grey.shape, scale))[..., 0]
        border = round(BORDER * LOOKED_PX)
        framed = np.ascontiguousarray(np.pad(small, border, mode="edge"))
        least = round(LEAST_FACE * LOOKED_PX)
        boxes = self._cascade(FACES).detectMultiScale(framed, 1.1, 3, minSize=(least, least))
        squares = sorted(((x - border) / scale, (y - border) / scale, w / scale) for x, y, w, _ in boxes)
        largest = max((side for *_, side in squares), default=0.0)
        kept = sorted((one for one in squares if one[2] >= BACKGROUND * largest), key=lambda one: -one[2])
        return [Face(*square, self._eyes(grey, square)) for square in kept]

    def _eyes(self, grey: NDArray[np.uint8], square: tuple[float, float, float]) -> tuple[Point, Point] | None:
        """The most level pair of eyes in the upper part of a face, by the first cascade that sees one."""
        left, top, side = square
        border = int(side) + 1  # a face may reach beyond the photo
        framed = np.pad(grey, border, mode="edge")
        x, y, width = round(left) + border, round(top) + border, max(1, round(side))
        upper = framed[max(0, y) : y + round(width * (EYES_ABOVE + MOST_EYE / 2)), max(0, x) : x + width]
        if not upper.size:
            return None
        scale = EYES_PX / width
        seen = resize(np.ascontiguousarray(upper)[..., None], _scaled(upper.shape, scale))[..., 0]
        sizes = {"minSize": (round(LEAST_EYE * EYES_PX),) * 2, "maxSize": (round(MOST_EYE * EYES_PX),) * 2}
        for name in EYES:
            found = self._cascade(name).detectMultiScale(np.ascontiguousarray(seen), 1.05, 3, **sizes)
            pair = _pair([((x + w / 2) / EYES_PX, (y + h / 2) / EYES_PX) for x, y, w, h in found])
            if pair is not None:
                first, second = ((left + x * side, top + y * side) for x, y in pair)
                return first, second
        return None

    def _cascade(self, name: str) -> Any:
        cascades = self.own.__dict__
        if name not in cascades:
            cascades[name] = self.cv2.CascadeClassifier(str(Path(self.cv2.data.haarcascades) / name))
        return cascades[name]


def _scaled(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    return height, width


def _pair(eyes: Sequence[Point]) -> tuple[Point, Point] | None:
    """The most level pair, in shares of the face's side: one left and one right of its middle, as far apart as eyes."""
    pairs = [
        (first, second)
        for first in eyes if first[0] < 0.5 and EYES_BELOW <= first[1] <= EYES_ABOVE
        for second in eyes if second[0] >= 0.5 and EYES_BELOW <= second[1] <= EYES_ABOVE
        if EYES_APART[0] <= second[0] - first[0] <= EYES_APART[1]
    ]  # fmt: skip
    return min(pairs, key=lambda pair: abs(pair[0][1] - pair[1][1]), default=None)
