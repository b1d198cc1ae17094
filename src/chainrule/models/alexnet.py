"""AlexNet: five convolutions and three dense layers, the network that won ImageNet 2012 and began deep vision.

Source: Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", figure 2;
    in the single-tower form of Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
    arXiv:1404.5997 (64, 192, 384, 256, 256 channels, no local response normalisation).
Reference: torchvision.models.alexnet, compared in tests/parity/test_alexnet.py. Parameter names and the order of random
    draws are torchvision's: its state dict loads as it is, and an equal seed gives equal weights.
Differs: images of 64 pixels or less (clips: 32) get a 5x5 convolution of stride 1 in place of the 11x11 one of stride 4
    and padded pools, because a 32x32 image would be gone before the third pool; and dense layers of 512 units.
Letters: D is the size of the embedding, 256 grid^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import SAFE, Dims, check_sizes, convolution, side_of, stem_for, window

GRID, SMALL_GRID = 6, 4  # sides of the pooled map: the paper's, and what 32x32 pixels leave after three pools
HIDDEN, SMALL_HIDDEN = 4096, 512  # units of the dense layers: the paper's; Zagoruyko 2015 for CIFAR-10


@dataclass(frozen=True, kw_only=True)
class AlexNetConfig:
    """Sizes of an AlexNet; "auto" and 0 are replaced by what suits ``image_size``, so the config shows what is built.

    Example:
        >>> config = AlexNetConfig(in_channels=1, num_classes=10, image_size=(28, 28))
        >>> config.stem, config.grid, config.hidden
        ('small', 4, 512)
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # samples; height and width; or frames, height and width
    dims: Dims = 2
    stem: Literal["auto", "imagenet", "small"] = "auto"
    grid: int = 0  # side of the map that the dense layers see; 0: 6, with the small stem 4 or what is left
    hidden: int = 0  # units of the two hidden dense layers; 0: 4096, with the small stem 512
    dropout: float = 0.5  # before each hidden dense layer

    def __post_init__(self) -> None:
        check_sizes(self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes)
        if self.stem not in ("auto", "imagenet", "small"):
            raise InputError(f"model.stem must be 'auto', 'imagenet' or 'small', got {self.stem!r}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if self.stem == "auto":
            object.__setattr__(self, "stem", stem_for(self.image_size))
        small = self.stem == "small"
        if self.grid == 0:
            left = -(-side_of(self.image_size) // 8)  # three pools halve the side, rounding up
            object.__setattr__(self, "grid", min(SMALL_GRID, left) if small else GRID)
        if self.hidden == 0:
            object.__setattr__(self, "hidden", SMALL_HIDDEN if small else HIDDEN)
        check_sizes(self.dims, self.image_size, grid=self.grid, hidden=self.hidden)


def first_convolution(config: AlexNetConfig) -> nn.Module:
    """11x11 of stride 4, or 5x5 of stride 1 for small images."""
    if config.stem == "small":
        return convolution(config.dims, config.in_channels, 64, 5, bias=True, first=True)
    dims, padding = config.dims, window(config.dims, 2, frames=1)
    kernel, strides = window(dims, 11, frames=3), window(dims, 4, frames=1)
    return SAFE[dims - 1](config.in_channels, 64, kernel, strides, padding)  # type: ignore[arg-type]


def pool(config: AlexNetConfig) -> nn.Module:
    """The largest of 3x3 with stride 2: overlapping, section 3.4 of 2012. Padded unless the network is the paper's."""
    kernel, strides = window(config.dims, 3), window(config.dims, 2)
    as_in_paper = config.stem == "imagenet" and config.dims == 2
    padding = tuple(0 if as_in_paper else size // 2 for size in kernel)
    return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[config.dims - 1](kernel, strides, padding)


def grid_average(config: AlexNetConfig) -> nn.Module:
    """The map as a grid of averages; in 3-D of one frame."""
    layer = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[config.dims - 1]
    return layer(window(config.dims, config.grid, frames=1))


class AlexNet(nn.Module):
    """Five convolutions with three pools, a grid of averages, three dense layers.

    ``features(image)`` gives the embedding, the flattened grid (B D).

    Example:
        >>> import torch
        >>> network = AlexNet(AlexNetConfig(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__()
        dims, hidden = config.dims, config.hidden
        self.features = nn.Sequential(
            first_convolution(config), nn.ReLU(), pool(config),
            convolution(dims, 64, 192, 5, bias=True), nn.ReLU(), pool(config),
            convolution(dims, 192, 384, 3, bias=True), nn.ReLU(),
            convolution(dims, 384, 256, 3, bias=True), nn.ReLU(),
            convolution(dims, 256, 256, 3, bias=True), nn.ReLU(), pool(config),
            grid_average(config), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(256 * config.grid**2, hidden), nn.ReLU(),
            nn.Dropout(config.dropout), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, config.num_classes),
        )  # fmt: skip

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
