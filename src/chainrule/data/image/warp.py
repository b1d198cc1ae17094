"""Turning, resizing and slanting a batch of images, and changing its colours and sharpness, mostly by Kornia.

Every function takes one amount for each image and all images at once, uint8 in and out; Kornia is imported when the
first of its operations is called. ``places`` and ``read_at`` move images and masks alike, without it.
Reference: torch.rot90, PIL and colorsys, compared in tests/unit/test_augment.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chainrule.errors import InputError


@contextmanager
def _kornia() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(
            "augment.rotate, scale, shear, saturation, hue and blur need Kornia: pip install kornia, or leave them out"
        ) from error


def warp(image: Tensor, angle: Tensor, factor: Tensor, slant: Tensor) -> Tensor:
    """Each image (B, C, H, W) turned, resized and slanted about its centre, its edge mirrored into what opens.

    Args:
        angle: (B,) degrees, counter-clockwise.
        factor: (B,) above 1 shows things larger.
        slant: (B,) degrees by which upright lines lean.
    """
    with _kornia():
        from kornia.geometry.transform import get_affine_matrix2d, warp_affine
    B, _, H, W = image.shape
    still = torch.zeros((B, 2), device=image.device)
    centre = torch.stack((still[:, 0] + (W - 1) / 2, still[:, 0] + (H - 1) / 2), dim=1)
    matrix = get_affine_matrix2d(
        still, centre, factor[:, None].expand(B, 2), -angle, sx=torch.deg2rad(slant), sy=still[:, 0]
    )
    moved = warp_affine(image.float(), matrix[:, :2], (H, W), padding_mode="reflection", align_corners=True)
    return to_uint8(moved)


def places(
    size: tuple[int, int],
    angle: Tensor,
    factor: Tensor,
    slant: Tensor,
    mirror: Tensor,
    shift: Tensor,
    bend: Tensor | None = None,
) -> Tensor:
    """(B, H, W, 2): where each pixel of a changed image comes from, as x and y from -1 to 1 between the edge pixels.

    Args:
        angle, factor, slant: (B,) as in ``warp``.
        mirror: (B, 2) for x and y: -1 mirrors that axis, 1 does not; mirrored before all else.
        shift: (B, 2) pixels to the right and down, moved after all else.
        bend: (B, 2, H, W) pixels by which the places are moved in the old image.
    """
    H, W = size
    turn, lean = torch.deg2rad(angle), torch.tan(torch.deg2rad(slant))
    cosine, sine = torch.cos(turn), torch.sin(turn)
    back = torch.stack((cosine + lean * sine, lean * cosine - sine, sine, cosine), 1) / factor[:, None]
    back = (back.view(-1, 2, 2) * mirror[:, :, None])[..., None, None]  # from x, y of the new to those of the old
    x = torch.arange(W, device=angle.device) - (W - 1) / 2 - shift[:, 0, None, None]
    y = torch.arange(H, device=angle.device)[:, None] - (H - 1) / 2 - shift[:, 1, None, None]
    found = [row[:, 0] * x + row[:, 1] * y for row in back.unbind(1)]
    if bend is not None:
        found = [place + moved for place, moved in zip(found, bend.unbind(1), strict=True)]
    half = [max(side - 1, 1) / 2 for side in (W, H)]
    return torch.stack([place / extent for place, extent in zip(found, half, strict=True)], -1)


def read_at(pixels: Tensor, grid: Tensor, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """Pixels (B, ..., H, W) read at these ``places``, mirrored at the edge; uint8, or of any type at the nearest."""
    layers = pixels.reshape(len(pixels), -1, *pixels.shape[-2:]).float()
    found = F.grid_sample(layers, grid, mode=mode, padding_mode="reflection", align_corners=True)
    return (to_uint8(found) if mode == "bilinear" else found.to(pixels.dtype)).view(pixels.shape)


def enlarge(image: Tensor, sides: Tensor, centre: Tensor) -> Tensor:
    """A window of each image (B, C, H, W) in full size.

    Args:
        sides: (B, 2) of the window, width and height as shares of the image's.
        centre: (B, 2) of the window, x and y from -1 to 1 between the edge pixels.
    """
    x, y = (torch.linspace(-1, 1, side, device=image.device) for side in (image.shape[3], image.shape[2]))
    across = (centre[:, :1] + sides[:, :1] * x)[:, None, :].expand(-1, len(y), -1)
    down = (centre[:, 1:] + sides[:, 1:] * y)[:, :, None].expand(-1, -1, len(x))
    return read_at(image, torch.stack((across, down), dim=-1), "bilinear")


def saturate(image: Tensor, factor: Tensor) -> Tensor:
    """Colours (B, 3, H, W) stronger (above 1) or weaker; 0 is grey."""
    with _kornia():
        from kornia.enhance import adjust_saturation
    return to_uint8(255 * adjust_saturation(image.float() / 255, factor))


def turn_hue(image: Tensor, share: Tensor) -> Tensor:
    """Colours (B, 3, H, W) moved along the circle of hues by this share of it; a third makes red green."""
    with _kornia():
        from kornia.enhance import adjust_hue
    return to_uint8(255 * adjust_hue(image.float() / 255, 2 * math.pi * share))


def blur(image: Tensor, sigma_px: Tensor, most_px: float) -> Tensor:
    """Gaussian blur of this standard deviation in pixels, at most ``most_px``; the edge is mirrored."""
    with _kornia():
        from kornia.filters import gaussian_blur2d
    sides = [2 * min(math.ceil(3 * most_px), side - 1) + 1 for side in image.shape[-2:]]
    sigma = sigma_px.clamp(min=0.01)[:, None].expand(-1, 2)  # 0.01: all weight on the pixel itself
    return to_uint8(gaussian_blur2d(image.float(), (sides[0], sides[1]), sigma, border_type="reflect"))


def to_uint8(levels: Tensor) -> Tensor:
    """Levels 0..255, rounded and cut in place."""
    return levels.round_().clamp_(0, 255).to(torch.uint8)
