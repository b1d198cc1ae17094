"""MobileNetV1: each convolution split into one over space and one over channels, for a ninth of the work.

Source: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    arXiv:1704.04861, table 1, figure 3; width multiplier of section 3.3.
Reference: timm's mobilenetv1_100 and mobilenetv1_125, compared in tests/parity/test_mobilenet.py. Parameter names are
    timm's: its state dicts load as they are.
Differs: ReLU6 for ReLU (as the authors' code and timm); channels are multiples of 8; images of 64 pixels or less
    (clips: 32) are reduced 8-fold, not 32-fold: the first two strides of 2 become 1.
Letters: D is the size of the embedding, 1024 widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Dims, batch_norm, check_sizes, convolution, he_init, multiple_of_8, stem_for

STEM = 32
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))  # table 1: channels, blocks; the first of a stage halves


@dataclass(frozen=True, kw_only=True)
class MobileNetV1Config:
    """Sizes of a MobileNetV1; ``stem`` "auto" is replaced by what suits ``image_size``: the config shows what is built.

    Example:
        >>> MobileNetV1Config(in_channels=1, num_classes=10, image_size=(28, 28)).stem
        'small'
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # samples; height and width; or frames, height and width
    dims: Dims = 2
    width: float = 1.0  # times the channels of table 1, the paper's alpha
    stem: Literal["auto", "imagenet", "small"] = "auto"

    def __post_init__(self) -> None:
        check_sizes(
            self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes, width=self.width
        )
        if self.stem not in ("auto", "imagenet", "small"):
            raise InputError(f"model.stem must be 'auto', 'imagenet' or 'small', got {self.stem!r}")
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))


class DepthwiseSeparable(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 convolution across them (figure 3, right)."""

    def __init__(self, dims: Dims, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = convolution(dims, c_in, c_in, 3, stride, groups=c_in)
        self.bn1 = batch_norm(dims, c_in)
        self.conv_pw = convolution(dims, c_in, c_out, 1)
        self.bn2 = batch_norm(dims, c_out)

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B c_out *smaller"]:
        """Each convolution with its batch norm and ReLU6."""
        x = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_pw(x)), inplace=True)


class MobileNetV1(nn.Module):
    """A 3x3 convolution, 13 depthwise separable ones, average over the map, linear classifier.

    Example:
        >>> import torch
        >>> network = MobileNetV1(MobileNetV1Config(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: MobileNetV1Config) -> None:
        super().__init__()
        dims, small = config.dims, config.stem == "small"
        channels = multiple_of_8(STEM * config.width)
        self.conv_stem = convolution(dims, config.in_channels, channels, 3, 1 if small else 2, first=True)
        self.bn1 = batch_norm(dims, channels)
        self.blocks = nn.Sequential()
        for stage, (width, depth) in enumerate(STAGES):
            c_out = multiple_of_8(width * config.width)
            halves = stage >= (2 if small else 1)
            layers = nn.Sequential()
            for index in range(depth):
                layers.append(DepthwiseSeparable(dims, channels, c_out, stride=2 if halves and index == 0 else 1))
                channels = c_out
            self.blocks.append(layers)
        self.classifier = nn.Linear(channels, config.num_classes)
        he_init(self)

    def features(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B D"]:
        """The embedding: the last stage, averaged over the map."""
        x: Tensor = self.blocks(F.relu6(self.bn1(self.conv_stem(image)), inplace=True))
        return x.flatten(2).mean(2)

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
