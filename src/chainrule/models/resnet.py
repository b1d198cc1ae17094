"""ResNet: each block learns what to add to its input, so a hundred layers still train.

Source: He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1, figure 5.
    For clips R3D of Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions", arXiv:1711.11248, table 1.
Reference: torchvision.models.resnet18/34/50/101/152 and models.video.r3d_18, compared in tests/parity/test_resnet.py.
    Parameter names and the order of random draws are those of torchvision's 2-D networks: their state dicts load as
    they are, and an equal seed gives equal weights. ``r3d_name`` turns the names of r3d_18 into ours.
Differs: in a bottleneck the 3x3 convolution has the stride, not the first 1x1 (as torchvision since 2016); images of
    64 pixels or less get the small stem of the paper's section 4.2, because the stem of table 1 would leave them
    with a last map of 2x2 or less (clips: up to 32 pixels, as R3D's stem halves the map once, not twice).
Letters: D is the size of the embedding, 8 widths (basic blocks) or 32 widths (bottlenecks).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import CONVOLUTIONS, Dims, batch_norm, check_sizes, convolution, window
from chainrule.nn.convolution import stem_for as usual_stem

Stem = Literal["imagenet", "small", "video"]


def stem_for(image_size: tuple[int, ...]) -> Stem:
    """The stem that suits signals of this length, images of this height and width, or clips (frames first).

    Example:
        >>> stem_for((28, 28)), stem_for((224, 224)), stem_for((16, 112, 112))
        ('small', 'imagenet', 'video')
    """
    stem = usual_stem(image_size)
    return "video" if stem == "imagenet" and len(image_size) == 3 else stem


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of a residual network; the defaults are resnet18.

    ``stem`` "auto" is replaced by what ``stem_for(image_size)`` says, so the config always shows what is built:
    "imagenet" is a 7x7 convolution of stride 2 and a pool of stride 2, "small" one 3x3 convolution of stride 1,
    "video" a 3x7x7 convolution of stride 1x2x2. r3d_18 is the default with ``image_size=(16, 112, 112), dims=3``.

    Example:
        >>> ResNetConfig(in_channels=1, num_classes=10, image_size=(28, 28)).stem
        'small'
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # the size the network is meant for; others work as well
    dims: Dims = 2  # 1: signals, size (samples,); 2: images, (height, width); 3: clips, (frames, height, width)
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks of each stage; stages after the first halve the map
    bottleneck: bool = False  # 1x1, 3x3, 1x1 convolutions with four times the channels instead of two 3x3
    width: int = 64  # channels of the first stage's 3x3 convolutions; doubles with each stage
    stem: Literal["auto", "imagenet", "small", "video"] = "auto"

    def __post_init__(self) -> None:
        check_sizes(
            self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes, width=self.width
        )
        if not self.blocks or min(self.blocks) < 1:
            raise InputError(f"model.blocks needs one number of at least 1 per stage, got {self.blocks}")
        stems = ("auto", "small", "video" if self.dims == 3 else "imagenet")
        if self.stem not in stems:
            raise InputError(
                f"model.stem must be 'auto', {stems[2]!r} or 'small', got {self.stem!r} with model.dims={self.dims}"
            )
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))


def projection(dims: Dims, c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    """The shortcut: a strided 1x1 convolution where the sizes differ (option B of the paper), else the identity."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(convolution(dims, c_in, c_out, 1, stride), batch_norm(dims, c_out))


def pool(dims: Dims) -> nn.Module:
    """The largest of 3x3 with stride 2, padded."""
    size = window(dims, 3)
    return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1](size, window(dims, 2), tuple(k // 2 for k in size))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, dims: Dims, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        downsample = projection(dims, c_in, width, stride)
        self.conv1 = convolution(dims, c_in, width, 3, stride)
        self.bn1 = batch_norm(dims, width)
        self.conv2 = convolution(dims, width, width, 3)
        self.bn2 = batch_norm(dims, width)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B width *smaller"]:
        """relu(F(x) + shortcut(x)), equations 1 and 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times as many, beside a shortcut (figure 5, right)."""

    expansion = 4

    def __init__(self, dims: Dims, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width * self.expansion
        downsample = projection(dims, c_in, c_out, stride)
        self.conv1 = convolution(dims, c_in, width, 1)
        self.bn1 = batch_norm(dims, width)
        self.conv2 = convolution(dims, width, width, 3, stride)
        self.bn2 = batch_norm(dims, width)
        self.conv3 = convolution(dims, width, c_out, 1)
        self.bn3 = batch_norm(dims, c_out)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B width*4 *smaller"]:
        """relu(F(x) + shortcut(x)), equations 1 and 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(x + shortcut, inplace=True)


class ResNet(nn.Module):
    """Stem, stages of residual blocks, average over the map, linear classifier.

    ``map_channels`` are the channels of ``maps``.

    Example:
        >>> network = ResNet(ResNetConfig(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        block = Bottleneck if config.bottleneck else BasicBlock
        dims = config.dims
        side, stride = (3, 1) if config.stem == "small" else (7, 2)
        self.conv1 = convolution(dims, config.in_channels, config.width, side, stride, first=True)
        self.bn1 = batch_norm(dims, config.width)
        self.maxpool = pool(dims) if config.stem == "imagenet" else nn.Identity()
        self.stages = tuple(f"layer{stage + 1}" for stage in range(len(config.blocks)))
        channels = config.width
        self.map_channels: tuple[int, ...] = (config.in_channels, *([channels] if config.stem == "imagenet" else []))
        for stage, (name, depth) in enumerate(zip(self.stages, config.blocks, strict=True)):
            width = config.width * 2**stage
            layer = nn.Sequential()
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(block(dims, channels, width, stride))
                channels = width * block.expansion
            self.add_module(name, layer)
            self.map_channels = (*self.map_channels, channels)
        self.fc = nn.Linear(channels, config.num_classes)
        init(self)

    def maps(self, image: Float[Tensor, "B C *size"], deepest: int | None = None) -> tuple[Tensor, ...]:
        """The image, the stem's map where a pool follows it, and the map of each stage; up to number ``deepest``."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        maps = [image] if isinstance(self.maxpool, nn.Identity) else [image, x]
        x = self.maxpool(x)
        for name in self.stages[: None if deepest is None else max(0, deepest + 1 - len(maps))]:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return tuple(maps[: None if deepest is None else deepest + 1])

    def features(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B D"]:
        """The embedding: the last stage, averaged over the map."""
        x = self.maps(image)[-1]
        return torch.mean(x, dim=tuple(range(2, x.ndim)))

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.fc(self.features(image))
        return logits


def init(network: nn.Module) -> None:
    """Convolutions as He et al. 2015 (fan-out, arXiv:1502.01852 equation 14); batch norm 1 and 0; linear as torch's."""
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def r3d_name(name: str) -> str:
    """Our name of a tensor of torchvision's r3d_18, as ``rename`` of ``weights.load_weights``.

    Example:
        >>> r3d_name("stem.0.weight"), r3d_name("layer1.0.conv2.1.bias")
        ('conv1.weight', 'layer1.0.bn2.bias')
    """
    name = name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")
    name = re.sub(r"\.conv(\d)\.0\.", r".conv\1.", name)
    return re.sub(r"\.conv(\d)\.1\.", r".bn\1.", name)
