"""Random changes of a batch of images that leave their class alone: mirrored, moved, covered, brighter, stronger.

All are drawn for the whole batch before it is split, from one generator, and made for all images at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from chainrule.data.samples import Batch
from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What may happen to a training image; the defaults suit small photographs."""

    flip: Literal["auto", "yes", "no"] = "auto"  # mirror left and right every second time; auto: colour images only
    shift: float = 0.125  # move by up to this share of each side, the edge mirrored into what opens
    erase: float = 0.0  # cover a square of this share of the shorter side by the image's mean colour
    brightness: float = 0.0  # add up to this share of the full range, either way
    contrast: float = 0.0  # spread about the mean by 1 plus or minus up to this

    def __post_init__(self) -> None:
        if self.flip not in ("auto", "yes", "no"):
            raise InputError(f"augment.flip must be auto, yes or no, got {self.flip!r}")
        for name, most in (("shift", 0.5), ("erase", 1.0), ("brightness", 1.0), ("contrast", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"augment.{name} must be from 0 to {most:g}, got {getattr(self, name)}")


def augment(batch: Batch, generator: torch.Generator, config: AugmentConfig) -> Batch:
    """The batch with its uint8 images (B, C, H, W) changed on their device, by draws from ``generator`` only."""
    image = batch.inputs[0]
    draws = torch.rand((len(batch), 7), generator=generator, device=generator.device).to(image.device)
    flip = config.flip == "yes" or (config.flip == "auto" and image.shape[1] == 3)
    image = _move(image, draws[:, 0:2], draws[:, 2], config.shift, flip)
    if config.erase:
        image = _erase(image, draws[:, 3:5], config.erase)
    if config.brightness or config.contrast:
        image = _relight(image, draws[:, 5], draws[:, 6], config)
    return Batch((image, *batch.inputs[1:]), batch.targets, batch.ids, batch.mask)


def _move(image: Tensor, moves: Tensor, mirror: Tensor, shift: float, flip: bool) -> Tensor:
    """Each image moved by whole pixels, its edge mirrored into what opens, every second one flipped."""
    B, C, H, W = image.shape
    most = (round(shift * H), round(shift * W))
    if not any(most) and not flip:
        return image
    rows = _moved_places(H, most[0], moves[:, 0])
    columns = _moved_places(W, most[1], moves[:, 1])
    if flip:
        columns = torch.where(mirror[:, None] < 0.5, columns.flip(1), columns)
    places = (rows[:, :, None] * W + columns[:, None, :]).view(B, 1, H * W)
    return image.reshape(B, C, H * W).gather(2, places.expand(B, C, H * W)).view(B, C, H, W)


def _moved_places(size: int, most: int, draw: Tensor) -> Tensor:
    """(B, size): where each pixel of an axis comes from, reflected at both ends."""
    offset = (draw * (2 * most + 1)).long() - most
    places = (torch.arange(size, device=draw.device) + offset[:, None]).abs()
    return (size - 1) - ((size - 1) - places).abs()


def _erase(image: Tensor, centres: Tensor, share: float) -> Tensor:
    """A square about a random centre filled with the image's mean colour (cutout, DeVries and Taylor 2017)."""
    H, W = image.shape[-2:]
    half = share * min(H, W) / 2
    y = torch.arange(H, device=image.device) + 0.5
    x = torch.arange(W, device=image.device) + 0.5
    in_rows = (y - centres[:, :1] * H).abs() < half
    in_columns = (x - centres[:, 1:] * W).abs() < half
    covered = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    mean = image.float().mean((2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(covered, mean, image)


def _relight(image: Tensor, brighter: Tensor, stronger: Tensor, config: AugmentConfig) -> Tensor:
    gain = (1 + config.contrast * (2 * stronger - 1)).view(-1, 1, 1, 1)
    lift = (255 * config.brightness * (2 * brighter - 1)).view(-1, 1, 1, 1)
    levels = image.float()
    mean = levels.mean((1, 2, 3), keepdim=True)
    return ((levels - mean) * gain + (mean + lift)).round_().clamp_(0, 255).to(torch.uint8)
