"""Random changes of a batch of images that leave their class alone, or blend it with another one's by known shares.

All are drawn for the whole batch before it is split, from one generator, and made for all images at once. What only
moves pixels is made by gathering them; turning, resizing, slanting, colours and blur by Kornia (``warp``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from chainrule.data.image.warp import blur, enlarge, saturate, to_uint8, turn_hue, warp
from chainrule.data.mixing import check_alphas, check_amounts, mix
from chainrule.data.samples import Batch
from chainrule.errors import InputError

FLIPS = ("auto", "yes", "no", "both")
MOST = {  # the largest value of each amount
    "shift": 0.5, "rotate": 180, "scale": 1, "shear": 45, "erase": 1, "brightness": 1, "contrast": 1, "saturation": 1,
    "hue": 0.5, "blur": 10, "crop": 0.95, "grey": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What may happen to a training image; the defaults suit small photographs."""

    flip: Literal["auto", "yes", "no", "both"] = "auto"
    # ^ mirror left and right every second time; auto: colour images only; both: also upside down, where there is no up
    shift: float = 0.125  # move by up to this share of each side, the edge mirrored into what opens
    rotate: float = 0.0  # turn by up to so many degrees either way
    crop: float = 0.0  # cut away up to this share of the area, and show what is left in full size
    scale: float = 0.0  # show things up to 1 + this times larger or smaller
    shear: float = 0.0  # lean upright lines by up to so many degrees either way
    erase: float = 0.0  # cover a square of this share of the shorter side by the image's mean colour
    brightness: float = 0.0  # add up to this share of the full range, either way
    contrast: float = 0.0  # spread about the mean by 1 plus or minus up to this
    saturation: float = 0.0  # colours stronger or weaker by 1 plus or minus up to this
    hue: float = 0.0  # colours moved by up to this share of the colour circle either way
    grey: float = 0.0  # share of images that lose their colours
    blur: float = 0.0  # Gaussian blur with a standard deviation of up to so many pixels
    mixup: float = 0.0  # alpha of the shares by which images and their targets are blended; 0: not
    cutmix: float = 0.0  # alpha of the shares by which a rectangle of another image is put in; 0: not

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise InputError(f"augment.flip must be auto, yes, no or both, got {self.flip!r}")
        check_amounts(self, MOST)
        check_alphas(mixup=self.mixup, cutmix=self.cutmix)

    def mirrored(self, batch: Batch) -> Batch | None:
        """The batch mirrored left and right, or None where these settings never mirror."""
        image = batch.inputs[0]
        return replace(batch, inputs=(image.flip(-1), *batch.inputs[1:])) if self.mirrors(image) else None

    def mirrors(self, image: Tensor) -> bool:
        """Whether images such as these (B, C, H, W) are mirrored."""
        return self.flip in ("yes", "both") or (self.flip == "auto" and image.shape[1] == 3)


def augment(batch: Batch, generator: torch.Generator, config: AugmentConfig) -> Batch:
    """The batch with its uint8 images (B, C, H, W) changed on their device, by draws from ``generator`` only.

    Raises:
        InputError: colours are to change in images without colour, or Kornia is needed and not installed.
    """
    image = batch.inputs[0]
    draws = torch.rand((len(batch), 7), generator=generator, device=generator.device).to(image.device)
    more = torch.rand((len(batch), 7), generator=generator, device=generator.device).to(image.device)
    mirror = draws[:, 2] if config.mirrors(image) else None
    image = _move(image, draws[:, 0:2], config.shift, mirror, more[:, 0] if config.flip == "both" else None)
    if config.crop or config.grey:
        rest = torch.rand((len(batch), 5), generator=generator, device=generator.device).to(image.device)
        image = _crop(image, rest[:, :4], config.crop) if config.crop else image
    if config.rotate or config.scale or config.shear:
        either = 2 * more[:, 1:4] - 1
        zoom = torch.exp(either[:, 1] * math.log1p(config.scale))
        image = warp(image, config.rotate * either[:, 0], zoom, config.shear * either[:, 2])
    if config.erase:
        image = _erase(image, draws[:, 3:5], config.erase)
    if config.brightness or config.contrast:
        image = relight(image, draws[:, 5], draws[:, 6], config.brightness, config.contrast)
    if config.saturation or config.hue:
        image = _recolour(image, 2 * more[:, 4] - 1, 2 * more[:, 5] - 1, config)
    if config.grey:
        image = _grey(image, rest[:, 4] < config.grey)
    if config.blur:
        image = blur(image, config.blur * more[:, 6], config.blur)
    changed = replace(batch, inputs=(image, *batch.inputs[1:]))
    return mix(changed, generator, mixup=config.mixup, cutmix=config.cutmix)


def _move(image: Tensor, moves: Tensor, shift: float, mirror: Tensor | None, turn: Tensor | None) -> Tensor:
    """Each image moved by whole pixels, its edge mirrored into what opens, every second one flipped in either axis."""
    B, C, H, W = image.shape
    most = (round(shift * H), round(shift * W))
    if not any(most) and mirror is None and turn is None:
        return image
    rows = moved_places(H, most[0], moves[:, 0])
    columns = moved_places(W, most[1], moves[:, 1])
    if mirror is not None:
        columns = torch.where(mirror[:, None] < 0.5, columns.flip(1), columns)
    if turn is not None:
        rows = torch.where(turn[:, None] < 0.5, rows.flip(1), rows)
    places = (rows[:, :, None] * W + columns[:, None, :]).view(B, 1, H * W)
    return image.reshape(B, C, H * W).gather(2, places.expand(B, C, H * W)).view(B, C, H, W)


def moved_places(size: int, most: int, draw: Tensor) -> Tensor:
    """(B, size): where each pixel of an axis comes from, reflected at both ends."""
    offset = (draw * (2 * most + 1)).long() - most
    places = (torch.arange(size, device=draw.device) + offset[:, None]).abs()
    return (size - 1) - ((size - 1) - places).abs()


def _crop(image: Tensor, draws: Tensor, share: float) -> Tensor:
    """A window of each image enlarged to its full size: its area even from 1 - ``share`` to 1, its place any.

    Sides are to each other as 3 : 4 to 4 : 3, evenly in the logarithm, and at most the image's (Szegedy et al. 2014,
    arXiv:1409.4842, section 6).
    """
    area = 1 - share * draws[:, 0]
    ratio = torch.exp(math.log(4 / 3) * (2 * draws[:, 1] - 1))
    sides = torch.stack(((area * ratio).sqrt(), (area / ratio).sqrt()), dim=1).clamp(max=1)
    return enlarge(image, sides, (1 - sides) * (2 * draws[:, 2:4] - 1))


def _grey(image: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images by their brightness alone (ITU-R BT.601)."""
    _need_colours(image, "augment.grey takes colours away")
    weights = torch.tensor([0.299, 0.587, 0.114], device=image.device).view(1, 3, 1, 1)
    level = to_uint8((image.float() * weights).sum(1, keepdim=True))
    return torch.where(chosen.view(-1, 1, 1, 1), level, image)


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


def relight(pixels: Tensor, brighter: Tensor, stronger: Tensor, brightness: float, contrast: float) -> Tensor:
    """Each row of uint8 (B, ...) brighter by up to ``brightness`` and stronger about its mean by up to ``contrast``.

    Args:
        brighter, stronger: (B,) draws from 0 to 1, of which a half changes nothing.
    """
    one_each = (-1, *[1] * (pixels.ndim - 1))
    gain = (1 + contrast * (2 * stronger - 1)).view(one_each)
    lift = (255 * brightness * (2 * brighter - 1)).view(one_each)
    levels = pixels.float()
    mean = levels.mean(tuple(range(1, pixels.ndim)), keepdim=True)
    return to_uint8(levels.sub_(mean).mul_(gain).add_(mean + lift))


def _recolour(image: Tensor, stronger: Tensor, turned: Tensor, config: AugmentConfig) -> Tensor:
    _need_colours(image, "augment.saturation and augment.hue change colours")
    if config.saturation:
        image = saturate(image, 1 + config.saturation * stronger)
    return turn_hue(image, config.hue * turned) if config.hue else image


def _need_colours(image: Tensor, what: str) -> None:
    if image.shape[1] != 3:
        raise InputError(f"{what}, but these images are grey; leave it out")
