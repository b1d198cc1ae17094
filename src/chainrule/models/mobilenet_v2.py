"""MobileNetV2: residual blocks turned inside out, thin between the blocks and wide inside them.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    arXiv:1801.04381, tables 1 and 2.
Reference: torchvision.models.mobilenet_v2, compared in tests/parity/test_mobilenet.py. Parameter names and the order of
    random draws are torchvision's: its state dict loads as it is, and an equal seed gives equal weights.
Differs: channels are multiples of 8 (as the authors' code); images of 64 pixels or less (clips: 32) are reduced
    8-fold, not 32-fold: the first two strides of 2 become 1.
Letters: D is the size of the embedding, 1280 or, with width > 1, as many widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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

STEM, LAST = 32, 1280
STAGES = (  # table 2: expansion t, channels c, blocks n, stride s of the first of them
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MobileNetV2Config:
    """Sizes of a MobileNetV2; ``stem`` "auto" is replaced by what suits ``image_size``: the config shows what is built.

    Example:
        >>> MobileNetV2Config(in_channels=1, num_classes=10, image_size=(28, 28)).stem
        'small'
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # samples; height and width; or frames, height and width
    dims: Dims = 2
    width: float = 1.0  # times the channels of table 2
    stem: Literal["auto", "imagenet", "small"] = "auto"
    dropout: float = 0.2  # before the classifier

    def __post_init__(self) -> None:
        check_sizes(
            self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes, width=self.width
        )
        if self.stem not in ("auto", "imagenet", "small"):
            raise InputError(f"model.stem must be 'auto', 'imagenet' or 'small', got {self.stem!r}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))


def convolution_norm(
    dims: Dims, c_in: int, c_out: int, side: int, stride: int = 1, *, groups: int = 1, first: bool = False
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    layer = convolution(dims, c_in, c_out, side, stride, groups=groups, first=first)
    return nn.Sequential(layer, batch_norm(dims, c_out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the channels, 3x3 of each alone, 1x1 back without an activation (table 1)."""

    def __init__(self, dims: Dims, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.conv = nn.Sequential()
        if expansion > 1:
            self.conv.append(convolution_norm(dims, c_in, hidden, 1))
        self.conv.append(convolution_norm(dims, hidden, hidden, 3, stride, groups=hidden))
        self.conv.append(convolution(dims, hidden, c_out, 1))
        self.conv.append(batch_norm(dims, c_out))
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B c_out *smaller"]:
        """x + F(x) where the sizes allow it, else F(x)."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """A 3x3 convolution, 17 inverted residuals, a 1x1 convolution, average over the map, linear classifier.

    ``features(image)`` gives the embedding, the averages (B D). ``map_channels`` are the channels of ``maps``.

    Example:
        >>> import torch
        >>> network = MobileNetV2(MobileNetV2Config(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        dims, small = config.dims, config.stem == "small"
        channels = multiple_of_8(STEM * config.width)
        last = multiple_of_8(LAST * max(1.0, config.width))
        self.features = nn.Sequential(
            convolution_norm(dims, config.in_channels, channels, 3, 1 if small else 2, first=True)
        )
        self.map_channels: tuple[int, ...] = (config.in_channels,)
        self.map_ends: tuple[int, ...] = ()  # the layers of ``features`` before each halving, and the last with a map
        for stage, (expansion, width, depth, first_stride) in enumerate(STAGES):
            c_out = multiple_of_8(width * config.width)
            for index in range(depth):
                stride = first_stride if index == 0 and not (small and stage == 1) else 1
                if stride > 1:
                    self.map_ends = (*self.map_ends, len(self.features) - 1)
                    self.map_channels = (*self.map_channels, channels)
                self.features.append(InvertedResidual(dims, channels, c_out, expansion, stride))
                channels = c_out
        self.features.append(convolution_norm(dims, channels, last, 1))
        self.map_ends = (*self.map_ends, len(self.features) - 1)
        self.map_channels = (*self.map_channels, last)
        self.features.extend(global_average(dims))
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(last, config.num_classes))
        he_init(self)

    def maps(self, image: Float[Tensor, "B C *size"], deepest: int | None = None) -> tuple[Tensor, ...]:
        """The image, then the last map of each size; up to number ``deepest``."""
        x, maps = image, [image]
        ends = self.map_ends[:deepest]
        for place, layer in enumerate(list(self.features)[: ends[-1] + 1 if ends else 0]):
            x = layer(x)
            if place in ends:
                maps.append(x)
        return tuple(maps)

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
