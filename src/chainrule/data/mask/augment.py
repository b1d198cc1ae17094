"""Random changes of a batch of images or volumes with a mask, whose answers move with them.

All are drawn for the whole batch before it is split, from one generator, and made for all images at once. What moves
pixels is composed into one grid of places that is read once: the image between its pixels, the mask at the nearest one.
Where a place lies outside, the picture is mirrored at its edge and its answers with it, which are as true there. A
volume (D, H, W) is moved within its slices, all of them alike.

Source: elastic deformation, Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, section 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chainrule.data.image.augment import FLIPS, relight
from chainrule.data.image.warp import blur, places, read_at, saturate, to_uint8, turn_hue
from chainrule.data.mixing import check_amounts
from chainrule.data.samples import Batch
from chainrule.errors import InputError

MOST = {  # the largest value of each amount
    "rotate": 180, "scale": 1, "shear": 45, "shift": 0.5, "elastic": 100, "brightness": 1, "contrast": 1, "noise": 1,
    "blur": 10, "saturation": 1, "hue": 0.5,
}  # fmt: skip
COARSE = 3  # displacements are drawn on a grid of so many points along each side


@dataclass(frozen=True, kw_only=True)
class MaskAugmentConfig:
    """What may happen to a training image and its mask; the defaults suit medical pictures, which have an up."""

    flip: Literal["auto", "yes", "no", "both"] = "auto"
    # ^ mirror left and right every second time; auto: yes; both: also upside down, where there is no up
    turn: bool = False  # by quarters, where there is no up; by halves if height and width differ
    rotate: float = 15.0  # turn by up to so many degrees either way
    scale: float = 0.15  # show things up to 1 + this times larger or smaller
    shear: float = 0.0  # lean upright lines by up to so many degrees either way
    shift: float = 0.0625  # move by up to this share of each side, the edge mirrored into what opens
    elastic: float = 0.0  # bend: displacements on a 3 x 3 grid with a standard deviation of so many pixels
    brightness: float = 0.0  # add up to this share of the full range, either way; cuts off dim objects of dark pictures
    contrast: float = 0.2  # spread about the mean by 1 plus or minus up to this
    noise: float = 0.0  # Gaussian noise with a standard deviation of up to this share of the full range
    blur: float = 0.0  # Gaussian blur with a standard deviation of up to so many pixels
    saturation: float = 0.0  # colours stronger or weaker by 1 plus or minus up to this
    hue: float = 0.0  # colours moved by up to this share of the colour circle either way

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise InputError(f"augment.flip must be auto, yes, no or both, got {self.flip!r}")
        check_amounts(self, MOST)

    def mirrored(self, batch: Batch) -> Batch | None:
        """The batch mirrored left and right, its answers too, or None where these settings never mirror."""
        if self.flip == "no":
            return None
        image, targets, mask = (None if x is None else x.flip(-1) for x in (batch.inputs[0], batch.targets, batch.mask))
        assert image is not None
        return replace(batch, inputs=(image, *batch.inputs[1:]), targets=targets, mask=mask)

    @property
    def moves(self) -> bool:
        """Whether any pixel may change its place."""
        amounts = (self.rotate, self.scale, self.shear, self.shift, self.elastic)
        return self.flip != "no" or self.turn or any(amounts)


def augment(batch: Batch, generator: torch.Generator, config: MaskAugmentConfig) -> Batch:
    """The batch with uint8 images (B, C, H, W) or (B, C, D, H, W), targets and mask changed by ``generator`` only.

    Raises:
        InputError: colours are to change in images without colour, or Kornia is needed and not installed.
    """
    image, targets, mask = batch.inputs[0], batch.targets, batch.mask
    draws = torch.rand((len(batch), 14), generator=generator, device=generator.device).to(image.device)
    if config.moves:
        grid = _places(image, draws[:, :8], generator, config)
        image = read_at(image, grid, "bilinear")
        targets, mask = (None if x is None else read_at(x, grid, "nearest") for x in (targets, mask))
    if config.brightness or config.contrast:
        image = relight(image, draws[:, 8], draws[:, 9], config.brightness, config.contrast)
    if config.saturation or config.hue:
        image = _recolour(image, 2 * draws[:, 10] - 1, 2 * draws[:, 11] - 1, config)
    if config.blur:
        slices = image.flatten(1, -3)  # (B, C, H, W), or (B, C D, H, W)
        image = blur(slices, config.blur * draws[:, 12], config.blur).view(image.shape)
    if config.noise:
        noise = torch.randn(image.shape, generator=generator, device=generator.device).to(image.device)
        strength = 255 * config.noise * draws[:, 13].view(-1, *[1] * (image.ndim - 1))
        image = to_uint8(noise.mul_(strength).add_(image))
    return replace(batch, inputs=(image, *batch.inputs[1:]), targets=targets, mask=mask)


def _places(image: Tensor, draws: Tensor, generator: torch.Generator, config: MaskAugmentConfig) -> Tensor:
    """(B, H, W, 2): where each pixel comes from, by eight draws from 0 to 1 for each row."""
    H, W = image.shape[-2:]
    either = 2 * draws - 1
    flips = torch.tensor([config.flip != "no", config.flip == "both"], device=image.device)
    mirror = torch.where(flips & (draws[:, :2] < 0.5), -1.0, 1.0)
    angle = config.rotate * either[:, 3]
    if config.turn:
        turns = 4 if H == W else 2
        angle = angle + 360 / turns * (turns * draws[:, 2]).floor()
    zoom = torch.exp(either[:, 4] * math.log1p(config.scale))
    shift = config.shift * either[:, 6:8] * torch.tensor([W, H], device=image.device)
    bend = None
    if config.elastic:
        coarse = torch.randn((len(image), 2, COARSE, COARSE), generator=generator, device=generator.device)
        bend = F.interpolate(config.elastic * coarse.to(image.device), (H, W), mode="bicubic", align_corners=True)
    return places((H, W), angle, zoom, config.shear * either[:, 5], mirror, shift, bend)


def _recolour(image: Tensor, stronger: Tensor, turned: Tensor, config: MaskAugmentConfig) -> Tensor:
    if image.ndim != 4 or image.shape[1] != 3:
        raise InputError(
            "augment.saturation and augment.hue change the colours of photographs, but these are "
            f"{'volumes' if image.ndim == 5 else 'grey'}; leave them out"
        )
    if config.saturation:
        image = saturate(image, 1 + config.saturation * stronger)
    return turn_hue(image, config.hue * turned) if config.hue else image
