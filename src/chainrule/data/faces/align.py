"""A face as the network sees it: its eyes in their places, or a whole photo that is one, or the middle of a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.faces.detect import Face, Point
from chainrule.data.image.decode import Pixels, resize

Align = Literal["eyes", "whole", "centre"]
Frame = tuple[float, float, float, float]

AROUND: Frame = (1.0, 1.0, 1.0, 1.0)  # of a face that is turned, so much is looked at
EYE_X, EYE_Y = 0.36, 0.46  # where the left eye stands, in shares of the side; the right one mirrored
BOX_EYES = ((0.30, 0.39), (0.69, 0.39))  # where eyes stand in the square of a face in which none were seen
FILLED = 0.6  # a face whose side is this share of a photo's shorter side fills it: the photo is cut about a face


@dataclass(frozen=True, slots=True)
class Cut:
    """How photos are cut to (H, W).

    eyes: turned, scaled and moved so that the eyes stand in their places. whole: a photo that a face fills is taken as
    it is, any other is first cut about its face as those photos are. centre: the middle, wherever the face is.
    """

    align: Align
    size_px: tuple[int, int]
    frame: Frame = (0.0, 0.0, 0.0, 0.0)  # whole: what is left, above, right of and below a face, in sides of it

    def __call__(self, pixels: Pixels, face: Face | None) -> Pixels:
        """The face, or without one the middle of the photo."""
        if face is None or self.align == "centre":
            return centre_crop(pixels, self.size_px)
        if self.align == "eyes":
            return face_crop(pixels, face, self.size_px)
        return centre_crop(pixels if fills(face, pixels.shape) else framed(pixels, face, self.frame), self.size_px)


def fills(face: Face, shape: tuple[int, ...]) -> bool:
    """Whether a face takes up a photo of this height and width."""
    return face.side >= FILLED * min(shape[:2])


def frame_of(face: Face, shape: tuple[int, ...]) -> Frame:
    """What a photo of this height and width shows left of, above, right of and below a face, in sides of it."""
    right, below = shape[1] - face.left - face.side, shape[0] - face.top - face.side
    return face.left / face.side, face.top / face.side, right / face.side, below / face.side


def framed(pixels: Pixels, face: Face, frame: Frame) -> Pixels:
    """The photo cut so that it shows this much about the face; edges are repeated."""
    H, W = pixels.shape[:2]
    left, above, right, below = (share * face.side for share in frame)
    y = np.arange(round(face.top - above), round(face.top + face.side + below))
    x = np.arange(round(face.left - left), round(face.left + face.side + right))
    return np.ascontiguousarray(pixels[y.clip(0, H - 1)[:, None], x.clip(0, W - 1)])


def face_crop(pixels: Pixels, face: Face, size_px: tuple[int, int]) -> Pixels:
    """The photo turned, scaled and moved so that the eyes stand in their places in (H, W); edges are repeated.

    Eyes are taken to stand half-way between where they are seen and where they usually are in the square of a face,
    for both are seen with errors; where no eyes are seen, in the usual places.
    """
    near = framed(pixels, face, AROUND)
    corner = face.left - AROUND[0] * face.side, face.top - AROUND[1] * face.side
    left, right = ((x - round(corner[0]), y - round(corner[1])) for x, y in _eyes(face))
    scale = (right[0] - left[0]) / ((1 - 2 * EYE_X) * size_px[1])  # pixels of the photo for one of the crop
    if scale > 1.5:  # else pixels in between would be left out
        small = resize(near, _shrunk(near.shape, scale))
        across, down = (small.shape[axis] / near.shape[axis] for axis in (1, 0))
        near, left, right = small, (left[0] * across, left[1] * down), (right[0] * across, right[1] * down)
    return _turned(near, left, right, size_px)


def _eyes(face: Face) -> tuple[Point, Point]:
    usual = usual_eyes(face)
    if face.eyes is None:
        return usual
    first, second = (
        ((x + x_usual) / 2, (y + y_usual) / 2) for (x, y), (x_usual, y_usual) in zip(face.eyes, usual, strict=True)
    )
    return first, second


def usual_eyes(face: Face) -> tuple[Point, Point]:
    """Where eyes usually stand in the square of a face."""
    first, second = ((face.left + x * face.side, face.top + y * face.side) for x, y in BOX_EYES)
    return first, second


def centre_crop(pixels: Pixels, size_px: tuple[int, int]) -> Pixels:
    """The largest part of this shape about the photo's middle, brought to (H, W)."""
    H, W = pixels.shape[:2]
    height, width = size_px
    share = min(H / height, W / width)
    inner = (min(H, max(1, round(height * share))), min(W, max(1, round(width * share))))
    top, left = (H - inner[0]) // 2, (W - inner[1]) // 2
    return resize(np.ascontiguousarray(pixels[top : top + inner[0], left : left + inner[1]]), size_px)


def _shrunk(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side / scale)) for side in shape[:2])
    return height, width


def _turned(pixels: Pixels, left: Point, right: Point, size_px: tuple[int, int]) -> Pixels:
    """The similarity transform that puts two points into their places, read off between four pixels each.

    As complex numbers z = z_left + k (w - w_left), for w in the crop and z in the photo.
    """
    H, W = size_px
    z_left, z_right = complex(*left), complex(*right)
    w_left, w_right = complex(EYE_X * W, EYE_Y * H), complex((1 - EYE_X) * W, EYE_Y * H)
    k = (z_right - z_left) / (w_right - w_left)
    y, x = np.mgrid[0:H, 0:W] + 0.5  # centres of pixels
    z = z_left + k * (x + 1j * y - w_left) - (0.5 + 0.5j)
    return _between(pixels, z.imag, z.real)


def _between(pixels: Pixels, y: NDArray[np.float64], x: NDArray[np.float64]) -> Pixels:
    """Levels at places between pixels, weighed by nearness."""
    H, W = pixels.shape[:2]
    y, x = y.clip(0, H - 1), x.clip(0, W - 1)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    bottom, right = np.minimum(top + 1, H - 1), np.minimum(left + 1, W - 1)
    down, across = (y - top)[..., None], (x - left)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    return np.asarray((upper * (1 - down) + lower * down).round(), dtype=np.uint8)
