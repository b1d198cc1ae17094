"""MobileNetV3: MobileNetV2's block with squeeze-and-excitation and hard-swish, its sizes found by search.

Source: Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, tables 1 and 2, section 5.
Reference: torchvision.models.mobilenet_v3_small and mobilenet_v3_large, compared in tests/parity/test_mobilenet.py.
    Parameter names and the order of random draws are torchvision's: its state dicts load as they are, and an equal seed
    gives equal weights.
Differs: the running statistics of batch norm move by 0.1 a batch, not by the paper's 0.01, which needs hundreds of
    batches before evaluation is meaningful (``norm_momentum=0.01`` for the paper's; loaded weights are not affected);
    images of 64 pixels or less (clips: 32) are reduced 8-fold: the first two strides of 2 become 1.
Letters: D is the size of the embedding, 576 (small) or 960 (large) at width 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import (
    Dims,
    batch_norm,
    check_sizes,
    convolution,
    global_average,
    he_init,
    multiple_of_8,
    stem_for,
)

EPS = 1e-3  # of batch norm, as in the authors' code
STEM = 16
BLOCKS = {  # tables 1 and 2: kernel side, expanded channels, channels, squeeze-and-excitation, hard-swish, stride
    "large": (
        (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
    ),
    "small": (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    ),
}  # fmt: skip
HIDDEN = {"large": 1280, "small": 1024}  # units of the dense layer before the last


@dataclass(frozen=True, kw_only=True)
class MobileNetV3Config:
    """Sizes of a MobileNetV3; ``stem`` "auto" is replaced by what suits ``image_size``: the config shows what is built.

    Example:
        >>> MobileNetV3Config(in_channels=1, num_classes=10, image_size=(28, 28)).stem
        'small'
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # samples; height and width; or frames, height and width
    dims: Dims = 2
    size: Literal["small", "large"] = "large"  # table 2 or table 1
    width: float = 1.0  # times the channels of the tables
    stem: Literal["auto", "imagenet", "small"] = "auto"
    dropout: float = 0.2  # before the last layer
    norm_momentum: float = 0.1  # share of each batch in batch norm's running statistics

    def __post_init__(self) -> None:
        check_sizes(
            self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes, width=self.width
        )
        if self.size not in BLOCKS:
            raise InputError(f"model.size must be 'small' or 'large', got {self.size!r}")
        if self.stem not in ("auto", "imagenet", "small"):
            raise InputError(f"model.stem must be 'auto', 'imagenet' or 'small', got {self.stem!r}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if not 0 < self.norm_momentum <= 1:
            raise InputError(f"model.norm_momentum must be above 0 and at most 1, got {self.norm_momentum}")
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))


def convolution_norm(
    config: MobileNetV3Config,
    c_in: int,
    c_out: int,
    side: int,
    stride: int = 1,
    *,
    groups: int = 1,
    first: bool = False,
) -> nn.Sequential:
    """Convolution and batch norm."""
    layer = convolution(config.dims, c_in, c_out, side, stride, groups=groups, first=first)
    return nn.Sequential(layer, batch_norm(config.dims, c_out, eps=EPS, momentum=config.norm_momentum))


class SqueezeExcitation(nn.Module):
    """Each channel times a factor in [0, 1] that two dense layers find from all channels' averages.

    Source: Hu, Shen, Sun 2018, arXiv:1709.01507, equations 2 to 4, with the hard sigmoid for the sigmoid.
    """

    def __init__(self, dims: Dims, channels: int) -> None:
        super().__init__()
        squeezed = multiple_of_8(channels // 4)
        self.fc1 = convolution(dims, channels, squeezed, 1, bias=True)
        self.fc2 = convolution(dims, squeezed, channels, 1, bias=True)

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B C *size"]:
        """x scaled per channel."""
        average = x.mean(tuple(range(2, x.ndim)), keepdim=True)
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(average))))


def activation(hard_swish: bool) -> nn.Module:
    """Hard-swish, or ReLU over the batch norm's own memory."""
    return nn.Hardswish() if hard_swish else nn.ReLU(inplace=True)


class InvertedResidual(nn.Module):
    """1x1 to more channels, k x k of each alone, a factor for each, 1x1 back without an activation (figure 4)."""

    def __init__(self, config: MobileNetV3Config, c_in: int, row: tuple[int, int, int, bool, bool, int]) -> None:
        super().__init__()
        side, expanded, c_out, excite, hard_swish, stride = row
        self.block = nn.Sequential()
        if expanded != c_in:
            self.block.append(convolution_norm(config, c_in, expanded, 1).append(activation(hard_swish)))
        depthwise = convolution_norm(config, expanded, expanded, side, stride, groups=expanded)
        self.block.append(depthwise.append(activation(hard_swish)))
        if excite:
            self.block.append(SqueezeExcitation(config.dims, expanded))
        self.block.append(convolution_norm(config, expanded, c_out, 1))
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B c_out *smaller"]:
        """x + F(x) where the sizes allow it, else F(x)."""
        y: Tensor = self.block(x)
        return x + y if self.adds else y


def scaled_blocks(config: MobileNetV3Config) -> list[tuple[int, int, int, bool, bool, int]]:
    """The rows of the table at this width; with the small stem the first stride of 2 becomes 1."""
    rows = []
    halved = config.stem == "imagenet"
    for side, expanded, channels, excite, hard_swish, stride in BLOCKS[config.size]:
        sizes = multiple_of_8(expanded * config.width), multiple_of_8(channels * config.width)
        rows.append((side, *sizes, excite, hard_swish, stride if halved else 1))
        halved = halved or stride == 2
    return rows


class MobileNetV3(nn.Module):
    """A 3x3 convolution, 11 or 15 inverted residuals, a 1x1 convolution, average over the map, two dense layers.

    ``features(image)`` gives the embedding, the averages (B D).

    Example:
        >>> import torch
        >>> network = MobileNetV3(MobileNetV3Config(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: MobileNetV3Config) -> None:
        super().__init__()
        small = config.stem == "small"
        channels = multiple_of_8(STEM * config.width)
        stem = convolution_norm(config, config.in_channels, channels, 3, 1 if small else 2, first=True)
        self.features = nn.Sequential(stem.append(nn.Hardswish()))
        for row in scaled_blocks(config):
            self.features.append(InvertedResidual(config, channels, row))
            channels = row[2]
        last, hidden = 6 * channels, multiple_of_8(HIDDEN[config.size] * config.width)
        self.features.append(convolution_norm(config, channels, last, 1).append(nn.Hardswish()))
        self.features.extend(global_average(config.dims))
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden), nn.Hardswish(), nn.Dropout(config.dropout), nn.Linear(hidden, config.num_classes)
        )
        he_init(self)

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
