"""How videos become tensors: the schema, and the module saved with the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.data.schema import Target
from chainrule.data.video.decode import STORED_PER_FRAME
from chainrule.errors import InputError

NAME = "video"


@dataclass(frozen=True, kw_only=True)
class VideoSchema:
    """How videos become tensors and outputs become answers."""

    kind: str = NAME
    target: Target | None
    clip_frames: int  # T: frames of a clip, evenly spread over its seconds
    clip_s: float  # seconds of a clip; 0: the whole video
    windows: int  # clips of a video that evaluation averages; 1 where a clip is the whole video
    size_px: tuple[int, int]  # height, width
    channels: int  # 1 grey, 3 RGB
    mean: tuple[float, ...]  # per channel of the train split, in 0..1
    std: tuple[float, ...]
    working_px: int  # the longer side that files are first shrunk to, the same in every verb
    notes: tuple[str, ...] = ()  # what was decided, and why

    @property
    def stored(self) -> int:
        """Frames kept of each window; training draws among them."""
        return STORED_PER_FRAME * self.clip_frames

    def pieces(self, takes: str) -> int:
        """Parts whose outputs are averaged in evaluation: windows, or all their frames one by one."""
        return self.windows * (self.clip_frames if takes == "image" else 1)


class VideoFront(nn.Module):
    """Frames 0..255 to standard units, in the order of axes that the network wants."""

    scale: Tensor
    shift: Tensor

    def __init__(self, schema: VideoSchema, takes: str) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (schema.mean, schema.std))
        self.takes = takes
        self.clip_frames = schema.clip_frames
        self.pieces = schema.pieces(takes)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, video: Tensor) -> tuple[Tensor]:
        """Standardised uint8 frames, (B, C, T, H, W) as clips, (B, C, H, W) as images, pieces on the second axis.

        Stored frames (B, windows, S, C, H, W) give the middle one of each segment; augmented ones (B, T, C, H, W) are
        one window, as they are.

        Raises:
            InputError: a training clip has fewer frames than a network of clips was built for.
        """
        chosen = video[:, None] if video.ndim == 5 else video[:, :, STORED_PER_FRAME // 2 :: STORED_PER_FRAME]
        if self.takes == "clip" and chosen.shape[2] != self.clip_frames:
            raise InputError(
                f"augment.frames={chosen.shape[2]} is for networks of single frames (model.dims=2); a network of clips "
                f"needs all {self.clip_frames}: leave it out, or set data.clip_frames"
            )
        x = torch.addcmul(self.shift, chosen.to(self.scale.dtype), self.scale)  # (B, windows, T, C, H, W)
        x = x.flatten(1, 2) if self.takes == "image" else x.transpose(2, 3)
        return ((x if self.pieces > 1 else x[:, 0]).contiguous(),)
