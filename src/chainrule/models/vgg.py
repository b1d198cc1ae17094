"""VGG: depth from nothing but 3x3 convolutions and pools, 11 to 19 layers.

Source: Simonyan, Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
    table 1, columns A, B, D and E. With dims=3, column A is C3D (Tran et al. 2015, arXiv:1412.0767, figure 3).
Reference: torchvision.models.vgg11/13/16/19 and their _bn forms, compared in tests/parity/test_vgg.py. Parameter names
    and the order of random draws are torchvision's: its state dicts load as they are, an equal seed gives the same.
Differs: batch norm after each convolution as an option (the paper is older than it); for images of 64 pixels or less
    the last pools that would leave fewer than 2x2 values are dropped and the dense layers have 512 units.
Letters: D is the size of the embedding, 512 grid^2.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import (
    SMALL_IMAGE_PX,
    Dims,
    batch_norm,
    check_sizes,
    convolution,
    he_init,
    side_of,
    window,
)

GRID = 7  # side of the pooled map, 224 / 2^5
HIDDEN, SMALL_HIDDEN = 4096, 512  # units of the dense layers: the paper's; Zagoruyko 2015 for CIFAR-10


@dataclass(frozen=True, kw_only=True)
class VGGConfig:
    """Sizes of a VGG; the defaults are vgg16.

    A 0 is replaced by what suits ``image_size``, so the config shows what is built.

    Example:
        >>> config = VGGConfig(in_channels=1, num_classes=10, image_size=(28, 28))
        >>> config.pools, config.grid, config.hidden
        (3, 3, 512)
    """

    in_channels: int
    num_classes: int
    image_size: tuple[int, ...] = (224, 224)  # samples; height and width; or frames, height and width
    dims: Dims = 2
    blocks: tuple[int, ...] = (2, 2, 3, 3, 3)  # convolutions of each stage
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)  # channels of each stage
    batch_norm: bool = False
    pools: int = 0  # how many stages, the first ones, end with a pool; 0: all, for small images until 2x2 are left
    grid: int = 0  # side of the map that the dense layers see; 0: 7, for small images what is left
    hidden: int = 0  # units of the two hidden dense layers; 0: 4096, for small images 512
    dropout: float = 0.5  # after each hidden dense layer

    def __post_init__(self) -> None:
        check_sizes(self.dims, self.image_size, in_channels=self.in_channels, num_classes=self.num_classes)
        if not self.blocks or min(self.blocks) < 1 or len(self.blocks) != len(self.widths) or min(self.widths) < 1:
            raise InputError(
                "model.blocks and model.widths need one number of at least 1 per stage each, "
                f"got {self.blocks} and {self.widths}"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        side, stages = side_of(self.image_size), len(self.blocks)
        small = side <= SMALL_IMAGE_PX
        if self.pools == 0:
            until_2x2 = max(1, side.bit_length() - 2)
            object.__setattr__(self, "pools", min(stages, until_2x2) if small else stages)
        if self.grid == 0:
            object.__setattr__(self, "grid", min(GRID, max(1, side >> self.pools)) if small else GRID)
        if self.hidden == 0:
            object.__setattr__(self, "hidden", SMALL_HIDDEN if small else HIDDEN)
        check_sizes(self.dims, self.image_size, pools=self.pools, grid=self.grid, hidden=self.hidden)


def pool(dims: Dims, stage: int) -> nn.Module:
    """The largest of 2x2; in 3-D of two frames too, but not in the first stage (section 3.1 of C3D).

    Signals and clips round up, because a clip may have fewer frames than the pools halve away.
    """
    size = window(dims, 2, frames=1 if stage == 0 else 2)
    layer = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1]
    return layer(size, ceil_mode=dims != 2)


def convolutions(config: VGGConfig) -> list[nn.Module]:
    """The stages of table 1; a dropped pool leaves an identity, so the layers keep their numbers."""
    layers: list[nn.Module] = []
    channels = config.in_channels
    for stage, (depth, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
        for _ in range(depth):
            layers.append(convolution(config.dims, channels, width, 3, bias=True))
            if config.batch_norm:
                layers.append(batch_norm(config.dims, width))
            layers.append(nn.ReLU(inplace=config.batch_norm))  # a convolution's own output stays for who looks at it
            channels = width
        layers.append(pool(config.dims, stage) if stage < config.pools else nn.Identity())
    return layers


class VGG(nn.Module):
    """Stages of 3x3 convolutions, a grid of averages, three dense layers.

    ``features(image)`` gives the embedding, the flattened grid (B D).

    Example:
        >>> import torch
        >>> network = VGG(VGGConfig(in_channels=3, num_classes=10, image_size=(32, 32)))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, config: VGGConfig) -> None:
        super().__init__()
        average = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[config.dims - 1]
        grid = window(config.dims, config.grid, frames=1)  # in 3-D of one frame
        self.features = nn.Sequential(*convolutions(config), average(grid), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(config.widths[-1] * config.grid**2, config.hidden), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.num_classes),
        )  # fmt: skip
        he_init(self)

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K"]:
        """Logits per class."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
