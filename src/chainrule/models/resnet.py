"""ResNet: each block learns what to add to its input, so a hundred layers still train.

Source: He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1, figure 5.
Reference: torchvision.models.resnet18/34/50/101/152, compared in tests/parity/test_resnet.py. Parameter names and the
    order of random draws are torchvision's: its state dicts load as they are, and an equal seed gives equal weights.
Differs: in a bottleneck the 3x3 convolution has the stride, not the first 1x1 (as torchvision since 2016); images of
    64 pixels or less get the small stem of the paper's section 4.2, because the stem of table 1 would leave them
    with a last map of 2x2 or less.
Letters: D is the size of the embedding, 8 widths (basic blocks) or 32 widths (bottlenecks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError

Stem = Literal["imagenet", "small"]
SMALL_IMAGE_PX = 64  # up to this side the imagenet stem and four stages (32-fold) leave 2x2 values or fewer


def stem_for(image_size: tuple[int, int]) -> Stem:
    """The stem that suits images of this height and width.

    Example:
        >>> stem_for((28, 28)), stem_for((224, 224))
        ('small', 'imagenet')
    """
    return "small" if min(image_size) <= SMALL_IMAGE_PX else "imagenet"


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of a residual network; the defaults are resnet18.

    ``stem`` "auto" is replaced by what ``stem_for(image_size)`` says, so the config always shows what is built:
    "imagenet" is a 7x7 convolution of stride 2 and a pool of stride 2, "small" one 3x3 convolution of stride 1.

    Example:
        >>> ResNetConfig(in_channels=1, num_classes=10, image_size=(28, 28)).stem
        'small'
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, int] = (224, 224)  # height and width the network is meant for; others work as well
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks of each stage; stages after the first halve the map
    bottleneck: bool = False  # 1x1, 3x3, 1x1 convolutions with four times the channels instead of two 3x3
    width: int = 64  # channels of the first stage's 3x3 convolutions; doubles with each stage
    stem: Literal["auto", "imagenet", "small"] = "auto"

    def __post_init__(self) -> None:
        sizes = {"in_channels": self.in_channels, "num_classes": self.num_classes, "width": self.width}
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"model.{name} must be at least 1, got {size}")
        if not self.blocks or min(self.blocks) < 1:
            raise InputError(f"model.blocks needs one number of at least 1 per stage, got {self.blocks}")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(f"model.image_size is height and width in pixels, got {self.image_size}")
        if self.stem not in ("auto", "imagenet", "small"):
            raise InputError(f"model.stem must be 'auto', 'imagenet' or 'small', got {self.stem!r}")
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))


def projection(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    """The shortcut: a strided 1x1 convolution where the sizes differ (option B of the paper), else the identity."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        downsample = projection(c_in, width, stride)
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B width h w"]:
        """relu(F(x) + shortcut(x)), equations 1 and 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times as many, beside a shortcut (figure 5, right)."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width * self.expansion
        downsample = projection(c_in, c_out, stride)
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B width*4 h w"]:
        """relu(F(x) + shortcut(x)), equations 1 and 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return F.relu(x + shortcut)


class ResNet(nn.Module):
    """Stem, stages of residual blocks, average over the map, linear classifier.

    Example:
        >>> network = ResNet(ResNetConfig(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        block = Bottleneck if config.bottleneck else BasicBlock
        large = config.stem == "imagenet"
        self.conv1 = nn.Conv2d(config.in_channels, config.width, *((7, 2, 3) if large else (3, 1, 1)), bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self.stages = tuple(f"layer{stage + 1}" for stage in range(len(config.blocks)))
        channels = config.width
        for stage, (name, depth) in enumerate(zip(self.stages, config.blocks, strict=True)):
            width = config.width * 2**stage
            layer = nn.Sequential()
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(block(channels, width, stride))
                channels = width * block.expansion
            self.add_module(name, layer)
        self.fc = nn.Linear(channels, config.num_classes)
        init(self)

    def features(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The embedding: the last stage, averaged over the map."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(image))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return torch.mean(x, dim=(2, 3))

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.fc(self.features(image))
        return logits


def init(network: nn.Module) -> None:
    """Convolutions as He et al. 2015 (fan-out, arXiv:1502.01852 equation 14); batch norm 1 and 0; linear as torch's."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
