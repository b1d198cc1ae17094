"""The module from pixels to standard units that is saved with a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelFront(nn.Module):
    """Pixels 0..255 to standard units, one multiply-add; flattened for networks that take a vector.

    Args:
        mean, std: of each channel, in 0..1.
        axes: of an image: 2, or 3 for volumes.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, axes: int = 2, flat: bool = False) -> None:
        super().__init__()
        one_each = (-1, *[1] * axes)
        self.flat = flat
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).view(one_each)))
        self.register_buffer("shift", -torch.tensor(mean).view(one_each) / torch.tensor(std).view(one_each))

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """uint8 (B, C, *size) -> (x / 255 - mean) / std, of the same shape or (B, C * size)."""
        x = torch.addcmul(self.shift, image.to(self.scale.dtype), self.scale)
        return (x.flatten(1) if self.flat else x,)
