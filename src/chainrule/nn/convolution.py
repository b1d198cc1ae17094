"""Convolution, batch norm and pools over one axis (samples), two (height, width) or three (frames, height, width).

The 2-D network is the paper's. The others have the same blocks, made by two published rules:

1-D: a window of k x k pixels becomes one of k^2 samples and a stride s becomes s^2, as WaveGAN does (Donahue, McAuley,
    Puckette 2019, arXiv:1802.04208). So the network has exactly the parameters of the 2-D one, and a signal of 50,176
    samples shrinks as an image of 224 x 224 does.
3-D: windows are cubes, strides hold for all axes, and the first layer sees 3 frames and steps over none, as in
    R3D (Tran et al. 2018, arXiv:1711.11248) and in the 3-D MobileNets of Kopuklu et al. 2019, arXiv:1904.02422.

Reference: the 2-D networks against torchvision and timm, R3D against torchvision.models.video.r3d_18; tests/parity.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.errors import InputError

Dims = Literal[1, 2, 3]  # axes that a window moves over
Stem = Literal["imagenet", "small"]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SMALL_IMAGE_PX = 64  # up to this side the 32-fold reduction of the ImageNet networks leaves 2x2 values or fewer
SMALL_CLIP_PX = 32  # lower for clips: without the strides 8 frames of 64x64 cost a second of one core, training
AXES = {1: "its length in samples", 2: "height and width in pixels", 3: "frames, and height and width in pixels"}


def overhangs(convolution: nn.Module, x: Tensor) -> bool:
    """Whether the windows of a padded convolution are longer than the map along some axis.

    There torch 2.13 computes the weight's gradient in bfloat16 on a CPU from memory that nobody wrote: equal calls
    differ, some are infinite. The same map padded beforehand gives the right gradient.
    """
    sizes = zip(x.shape[2:], convolution.kernel_size, convolution.padding, strict=True)  # type: ignore[arg-type]
    return any(length < size and padding for length, size, padding in sizes)


def _sees_bfloat16(x: Tensor) -> bool:
    return x.is_cpu and (x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"))


def _pad(convolution: nn.Module, x: Tensor) -> Tensor:
    return F.pad(x, [side for size in reversed(convolution.padding) for side in (size, size)])  # type: ignore[arg-type]


class Conv1d(nn.Conv1d):
    """torch's, right in bfloat16 on short signals too: see ``overhangs``."""

    def forward(self, input: Tensor) -> Tensor:
        """The new map."""
        if _sees_bfloat16(input) and overhangs(self, input):
            return F.conv1d(_pad(self, input), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return super().forward(input)


class Conv2d(nn.Conv2d):
    """torch's, right in bfloat16 on small maps too: see ``overhangs``."""

    channels_first = False  # whether the map is brought to that memory format first; no number depends on it

    def forward(self, input: Tensor) -> Tensor:
        """The new map."""
        if self.channels_first:
            input = input.contiguous()
        if _sees_bfloat16(input) and overhangs(self, input):
            return F.conv2d(_pad(self, input), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return super().forward(input)


class Conv3d(nn.Conv3d):
    """torch's, right in bfloat16 on clips of few frames too: see ``overhangs``."""

    def forward(self, input: Tensor) -> Tensor:
        """The new map."""
        if _sees_bfloat16(input) and overhangs(self, input):
            return F.conv3d(_pad(self, input), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return super().forward(input)


SAFE = (Conv1d, Conv2d, Conv3d)


def window(dims: Dims, side: int, frames: int = 0) -> tuple[int, ...]:
    """A square of ``side`` as a window over ``dims`` axes; in 3-D over ``frames`` frames, 0 for as many as ``side``.

    Example:
        >>> window(1, 3), window(2, 3), window(3, 3), window(3, 7, frames=3)
        ((9,), (3, 3), (3, 3, 3), (3, 7, 7))
    """
    return {1: (side * side,), 2: (side, side), 3: (frames or side, side, side)}[dims]


def side_of(image_size: tuple[int, ...]) -> int:
    """The shorter side in pixels; for a signal the side of the square with as many values.

    Example:
        >>> side_of((28, 40)), side_of((16, 112, 112)), side_of((8000,))
        (28, 112, 89)
    """
    return math.isqrt(image_size[0]) if len(image_size) == 1 else min(image_size[-2:])


def stem_for(image_size: tuple[int, ...]) -> Stem:
    """The first layers that suit inputs of this size: "imagenet" as in the paper, "small" keeps more of the map.

    Example:
        >>> stem_for((28, 28)), stem_for((65, 65)), stem_for((16, 48, 48)), stem_for((8000,))
        ('small', 'imagenet', 'imagenet', 'imagenet')
    """
    limit = SMALL_CLIP_PX if len(image_size) == 3 else SMALL_IMAGE_PX
    return "small" if side_of(image_size) <= limit else "imagenet"


def check_sizes(dims: int, image_size: tuple[int, ...], **sizes: float) -> None:
    """Raise InputError unless ``dims`` fits ``image_size`` and each of ``sizes`` (config fields) is positive."""
    for name, size in sizes.items():
        if size <= 0:
            least = "at least 1" if isinstance(size, int) else "above 0"
            raise InputError(f"model.{name} must be {least}, got {size}")
    if dims not in AXES:
        raise InputError(f"model.dims must be 1 (signals), 2 (images) or 3 (clips), got {dims}")
    if len(image_size) != dims or min(image_size) < 1:
        raise InputError(f"model.image_size is {AXES[dims]} with model.dims={dims}, got {image_size}")


def convolution(
    dims: Dims, c_in: int, c_out: int, side: int, stride: int = 1, *, groups: int = 1, bias: bool = False,
    first: bool = False,
) -> nn.Module:  # fmt: skip
    """A convolution padded by half its (odd) window; ``first``: the network's first, see the 3-D rule above."""
    kernel = window(dims, side, frames=min(side, 3) if first else 0)
    strides = window(dims, stride, frames=1 if first else 0)
    padding = tuple(size // 2 for size in kernel)
    return SAFE[dims - 1](c_in, c_out, kernel, strides, padding, groups=groups, bias=bias)  # type: ignore[arg-type]


def batch_norm(dims: Dims, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Batch norm per channel; ``momentum`` is the share of each batch in the running statistics."""
    return BATCH_NORMS[dims - 1](channels, eps=eps, momentum=momentum)


def global_average(dims: Dims) -> tuple[nn.Module, nn.Module]:
    """The layers that average over the map and drop its axes."""
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1](1), nn.Flatten()


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not below nine tenths of ``channels`` (TensorFlow's MobileNet rule).

    Example:
        >>> multiple_of_8(16 * 0.35), multiple_of_8(24 * 0.75), multiple_of_8(11)
        (8, 24, 16)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def he_init(network: nn.Module) -> None:
    """Convolutions as He et al. 2015 (fan-out, arXiv:1502.01852 equation 14), linear N(0, 0.01^2), biases zero."""
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
