"""Random changes of a batch of videos that leave their class alone: other frames, moved, mirrored, another light.

All are drawn for the whole batch before it is split, from one generator, and made for all its videos at once; every
frame of a video is changed alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from chainrule.data.image.augment import moved_places, relight
from chainrule.data.mixing import check_alphas, check_amounts, mix
from chainrule.data.samples import Batch
from chainrule.data.video.decode import STORED_PER_FRAME
from chainrule.errors import InputError

MOST = {"shift": 0.5, "brightness": 1.0, "contrast": 1.0}  # the largest value of each amount


@dataclass(frozen=True, kw_only=True)
class VideoAugmentConfig:
    """What may happen to a training video; the defaults suit filmed scenes."""

    frames: int = 0  # frames of a training clip that a network of single frames sees; 0: data.clip_frames, all
    flip: Literal["auto", "yes", "no"] = "auto"  # mirror left and right every second time; auto: yes
    shift: float = 0.125  # move by up to this share of each side, the edge mirrored into what opens
    brightness: float = 0.1  # add up to this share of the full range, either way
    contrast: float = 0.1  # spread about the mean by 1 plus or minus up to this
    mixup: float = 0.0  # alpha of the shares by which videos and their targets are blended; 0: not
    cutmix: float = 0.0  # alpha of the shares by which a rectangle of another video is put in; 0: not

    def __post_init__(self) -> None:
        if self.flip not in ("auto", "yes", "no"):
            raise InputError(f"augment.flip must be auto, yes or no, got {self.flip!r}")
        if self.frames < 0:
            raise InputError(f"augment.frames must be 0 (all) or above, got {self.frames}")
        check_amounts(self, MOST)
        check_alphas(mixup=self.mixup, cutmix=self.cutmix)

    def mirrored(self, batch: Batch) -> Batch | None:
        """The batch mirrored left and right, or None where these settings never mirror."""
        return None if self.flip == "no" else replace(batch, inputs=(batch.inputs[0].flip(-1), *batch.inputs[1:]))


def augment(batch: Batch, generator: torch.Generator, config: VideoAugmentConfig) -> Batch:
    """The batch with clips (B, T, C, H, W) out of its stored frames (B, windows, S, C, H, W), by ``generator`` only.

    Of one random window each of T equal segments gives a random frame (temporal segment networks, Wang et al. 2016,
    arXiv:1608.00859, section 3.1).

    Raises:
        InputError: more frames are asked for than a clip has.
    """
    stored = batch.inputs[0]
    B, windows, S, _, H, W = stored.shape
    T = S // STORED_PER_FRAME
    if config.frames > T:
        raise InputError(f"augment.frames is {config.frames}, but a clip has data.clip_frames={T}; give at most that")
    count = config.frames or T
    draws = torch.rand((B, 6 + count), generator=generator, device=generator.device).to(stored.device)
    window = (draws[:, 0] * windows).long()
    segments = torch.arange(count, device=stored.device) + draws[:, 6:]
    frames = (segments * (S / count)).long().clamp_(max=S - 1)
    clip = stored[torch.arange(B, device=stored.device)[:, None], window[:, None], frames]
    if config.shift:
        rows, columns = (
            moved_places(size, round(config.shift * size), draws[:, axis]) for axis, size in ((1, H), (2, W))
        )
        clip = clip.gather(3, rows.view(B, 1, 1, H, 1).expand_as(clip))
        clip = clip.gather(4, columns.view(B, 1, 1, 1, W).expand_as(clip))
    if config.flip != "no":
        clip = torch.where(draws[:, 3].view(B, 1, 1, 1, 1) < 0.5, clip.flip(4), clip)
    if config.brightness or config.contrast:
        clip = relight(clip, draws[:, 4], draws[:, 5], config.brightness, config.contrast)
    changed = replace(batch, inputs=(clip, *batch.inputs[1:]))
    return mix(changed, generator, mixup=config.mixup, cutmix=config.cutmix)
