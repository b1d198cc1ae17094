"""ResNet for small images: three stages of 16, 32 and 64 channels, 6n + 2 layers.

Source: He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2; its
    shortcuts of option A (strided identity, new channels are zeros) have no weights of their own.
Reference: a plain functional version written from the paper, compared in tests/parity/test_resnet.py; the parameter
    counts are those of the paper's table 6 (n = 3, 5, 7, 9, 18: 0.27, 0.46, 0.66, 0.85, 1.7 million).
Differs: the zero channels come after the copied ones (the paper leaves the place open).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Conv2d


@dataclass(frozen=True, kw_only=True)
class ResNetCifarConfig:
    """Sizes of a residual network for small images; the defaults are resnet20."""

    in_channels: int
    num_classes: int
    depth: int = 3  # residual blocks per stage, the paper's n: 6n + 2 layers
    widths: tuple[int, ...] = (16, 32, 64)  # channels of each stage; stages after the first halve the map

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes", "depth"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if not self.widths or min(self.widths) < 1 or list(self.widths) != sorted(self.widths):
            raise InputError(f"model.widths needs channels that do not fall from stage to stage, got {self.widths}")


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, c_out - c_in
        self.conv1 = Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def shortcut(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c_out h w"]:
        """Every stride-th pixel, zeros for the channels that are new (option A)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c_out h w"]:
        """relu(F(x) + shortcut(x)), equation 1."""
        shortcut = self.shortcut(x) if self.stride > 1 or self.new_channels else x
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut, inplace=True)


class ResNetCifar(nn.Module):
    """A 3x3 convolution, three stages of residual blocks, average over the map, linear classifier.

    Example:
        >>> ResNetCifar(ResNetCifarConfig(in_channels=1, num_classes=10))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: ResNetCifarConfig) -> None:
        super().__init__()
        channels = config.widths[0]
        self.conv1 = Conv2d(config.in_channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = nn.Sequential()
        for stage, width in enumerate(config.widths):
            for index in range(config.depth):
                self.stages.append(Block(channels, width, stride=2 if stage > 0 and index == 0 else 1))
                channels = width
        self.fc = nn.Linear(channels, config.num_classes)
        init(self)

    def features(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The embedding: the last stage, averaged over the map."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = self.stages(x)
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
