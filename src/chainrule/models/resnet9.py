"""ResNet-9: eight wide convolutions, two residual blocks; the most accuracy per second on small images.

Source: D. Page 2018, "How to train your ResNet", part 4 (github.com/davidcpage/cifar10-fast, dawn.py).
Reference: a plain functional version written from the source, compared in tests/parity/test_resnet.py.
Differs: a quarter of the source's channels by default, for processors; the pool comes before the batch norm (as in
    Jordan 2024, arXiv:2404.00498), which then has a quarter of the work; pools keep the border of odd maps, so that
    images of any size pass; the classifier has a bias.
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
class ResNet9Config:
    """Sizes of a ResNet-9; the source's own are widths (64, 128, 256, 512)."""

    in_channels: int
    num_classes: int
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)  # channels of the stages; all but the first halve the map
    logit_scale: float = 0.125  # factor on the logits, so that early gradients do not saturate the softmax

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise InputError(f"model.widths needs four numbers of channels, got {self.widths}")
        if self.logit_scale <= 0:
            raise InputError(f"model.logit_scale must be positive, got {self.logit_scale}")


class ConvNorm(nn.Module):
    """A 3x3 convolution, a 2x2 pool where the map is halved, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, pool: bool = False) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c_out h w"]:
        """The new map."""
        return F.relu(self.bn(self.pool(self.conv(x))), inplace=True)


class Residual(nn.Module):
    """x + F(x) with two convolutions in F."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res1 = ConvNorm(channels, channels)
        self.res2 = ConvNorm(channels, channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The map, corrected."""
        return torch.add(x, self.res2(self.res1(x)))


class ResNet9(nn.Module):
    """Four stages, the second and the last with a residual block, maximum over the map, linear classifier.

    Example:
        >>> ResNet9(ResNet9Config(in_channels=1, num_classes=10))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: ResNet9Config) -> None:
        super().__init__()
        first, second, third, fourth = config.widths
        self.logit_scale = config.logit_scale
        self.prep = ConvNorm(config.in_channels, first)
        self.layer1 = nn.Sequential(ConvNorm(first, second, pool=True), Residual(second))
        self.layer2 = ConvNorm(second, third, pool=True)
        self.layer3 = nn.Sequential(ConvNorm(third, fourth, pool=True), Residual(fourth))
        self.linear = nn.Linear(fourth, config.num_classes)

    def maps(self, image: Float[Tensor, "B C H W"]) -> tuple[Tensor, ...]:
        """The map of each stage; all but the first are half as wide and high as the one before."""
        first = self.prep(image)
        second = self.layer1(first)
        third = self.layer2(second)
        return first, second, third, self.layer3(third)

    def features(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The embedding: the largest value of each channel of the last stage."""
        return torch.amax(self.maps(image)[-1], dim=(2, 3))

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.linear(self.features(image)) * self.logit_scale
        return logits
