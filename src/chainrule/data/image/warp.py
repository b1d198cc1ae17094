"""Turning, resizing and slanting a batch of images, and changing its colours and sharpness, with Kornia's operations.

Every function takes one amount for each image and all images at once, uint8 in and out; Kornia is imported when the
first of them is called.
Reference: torch.rot90, PIL and colorsys, compared in tests/unit/test_augment.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
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
