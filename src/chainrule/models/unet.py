"""U-Net: a class for every pixel, from a map that is halved four times and doubled back beside what each level saw.

Source: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    arXiv:1505.04597, figure 1. With dims=3 windows, pools and doublings are cubes: Cicek et al. 2016, arXiv:1606.06650.
Reference: the layout of mateuszbuda/brain-segmentation-pytorch, written down in tests/parity/test_unet.py; with an
    encoder of the catalog segmentation_models_pytorch.Unet, compared there too. ``reference_name`` turns the names of
    both into ours.
Differs: windows are padded, so that masks keep the image's size, and batch norm follows each of them; both as in the
    paper with ``padding="valid", batch_norm=False``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Dims, window
from chainrule.nn.pixelwise import (
    ContractingPath,
    Encoder,
    ExpandingBlock,
    Padding,
    check_encoder,
    check_sides,
    margin_of,
    multiples_of,
    pixel_head,
)

WIDTHS = (64, 128, 256, 512, 1024)  # figure 1


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of a U-Net; the defaults are the paper's, with padded windows and batch norm.

    Empty ``widths`` and an ``encoder_width`` of 0 are replaced by the usual ones: the config shows what is built. With
    an encoder of the catalog ``widths`` are those of the decoder, one for each size from the image's own to half of
    the last but one; the encoder's own come from its name.

    Example:
        >>> UNetConfig(in_channels=1, num_classes=2).widths
        (64, 128, 256, 512, 1024)
        >>> UNetConfig(in_channels=3, num_classes=2, encoder="resnet18").widths
        (16, 32, 64, 128, 256)
    """

    in_channels: int
    num_classes: int
    dims: Dims = 2  # 1: signals, 2: images, 3: clips and volumes
    encoder: str = "plain"  # the paper's, or a name of the catalog: resnet18 ... resnet152, mobilenet_v2
    encoder_width: int = 0  # channels of a ResNet encoder's first stage; 0: 64
    widths: tuple[int, ...] = ()  # channels per level, finest first
    batch_norm: bool = True  # in all but an encoder of the catalog; otherwise each convolution has a bias
    padding: Padding = "same"  # "valid": as in the paper, no padding; the mask is smaller than the image

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        sizes = check_encoder(self.dims, self.encoder, self.encoder_width, self.widths, WIDTHS)
        for name, size in zip(("widths", "encoder_width"), sizes, strict=True):
            object.__setattr__(self, name, size)
        if self.padding not in ("same", "valid"):
            raise InputError(f"model.padding must be 'same' or 'valid', got {self.padding!r}")
        if self.padding == "valid" and self.encoder != "plain":
            raise InputError(f"model.padding=valid is for model.encoder=plain, got {self.encoder}; leave it out")


class UNet(nn.Module):
    """Contract to the coarsest level, expand back, joining the map of each level on the way.

    The encoder is that of the paper unless another is passed in, whose first map (the image) is not joined.
    ``multiple``: the sides of an image are multiples of it; with ``padding="valid"`` those of ``input_size``, in steps
    of it.
    ``border``: pixels that the logits lack on each side of the image; 0 if padded.
    ``margin``: how many pixels away the input can still change a pixel's logits.

    Example:
        >>> import torch
        >>> network = UNet(UNetConfig(in_channels=1, num_classes=2, widths=(4, 8)))
        >>> network(torch.zeros(1, 1, 6, 8)).shape, network.multiple
        (torch.Size([1, 2, 6, 8]), 2)
    """

    deep = False  # one head is supervised

    def __init__(self, config: UNetConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        dims, widths = config.dims, config.widths
        options: Any = {"norm": config.batch_norm, "padding": config.padding}
        plain = encoder is None
        self.padded = config.padding == "same"
        self.encoder = encoder or ContractingPath(dims, config.in_channels, widths, **options)
        *beside, channels = self.encoder.map_channels
        if not plain:
            beside[0] = 0
        self.decoder = nn.ModuleList()  # coarsest first, as they are run
        for c_beside, c_out in zip(beside[::-1], widths[len(beside) - 1 :: -1], strict=True):
            self.decoder.append(ExpandingBlock(dims, channels, c_beside, c_out, learned=plain, **options))
            channels = c_out
        self.joins = [c > 0 for c in beside]
        self.head = pixel_head(dims, channels, config.num_classes, 1 if plain else 3)
        self.multiples = multiples_of(self.encoder)  # type: ignore[arg-type]
        self.multiple = max(self.multiples)
        self.margin = margin_of(self.encoder, len(self.decoder), 1 if plain else 3)  # type: ignore[arg-type]
        self.pool = window(dims, 2)[0]
        self.lost = 0 if self.padded else 2 * (window(dims, 3)[0] - 1)  # pixels of a side, by two windows
        self.border = (self.input_size(1) - self._expanded(self._coarsest(1))) // 2 if self.lost else 0

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K *smaller"]:
        """Logits per pixel; of the image's size if padded, else of its middle.

        Raises:
            InputError: a side that the halvings do not divide.
        """
        if self.padded:
            check_sides(image, self.multiples)
        else:
            for side in image.shape[2:]:
                self.output_size(side)
        *maps, x = self.encoder.maps(image)
        path_up = zip(self.decoder, reversed(maps), reversed(self.joins), strict=True)
        for block, skip, joins in path_up:
            x = block(x, [skip] if joins else [], skip.shape[2:])
        logits: Tensor = self.head(x)
        return logits

    def branches(self, image: Float[Tensor, "B C *size"]) -> tuple[Tensor, ...]:
        """The logits of every supervised head: of the only one."""
        return (self(image),)

    def output_size(self, side: int) -> int:
        """The side of the logits of an image with this side, in pixels.

        Raises:
            InputError: without padding, an image of this side leaves a map that cannot be halved.

        Example:
            >>> network = UNet(UNetConfig(in_channels=1, num_classes=2, widths=(1, 1, 1, 1, 1), padding="valid"))
            >>> network.output_size(572), network.input_size(388)
            (388, 572)
        """
        if self.padded:
            return side
        output = max(1, side - 2 * self.border)
        if self.input_size(output) != side:
            raise InputError(
                f"without padding the sides of an image must be {self.input_size(1)} and steps of "
                f"{self.multiple} more, got {side}; the next is {self.input_size(output)}"
            )
        return output

    def input_size(self, side: int) -> int:
        """The smallest side of an image whose logits have at least this side, in pixels."""
        if self.padded:
            return -(-side // self.multiple) * self.multiple
        size = self._coarsest(side) + self.lost
        for _ in self.decoder:
            size = self.pool * size + self.lost
        return size

    def _coarsest(self, side: int) -> int:
        """The smallest side of the last map of the encoder from which logits of this side grow, without padding."""
        for _ in self.decoder:
            side = -(-(side + self.lost) // self.pool)
        return side

    def _expanded(self, side: int) -> int:
        for _ in self.decoder:
            side = self.pool * side - self.lost
        return side


def reference_name(name: str) -> str:
    """Our name of a tensor of a reference, as ``rename`` of ``weights.load_weights``; ours stay as they are.

    Example:
        >>> reference_name("encoder1.enc1conv2.weight"), reference_name("decoder4.dec4norm1.bias")
        ('encoder.levels.0.conv2.weight', 'decoder.0.convs.bn1.bias')
        >>> reference_name("upconv4.bias"), reference_name("conv.bias")
        ('decoder.0.up.bias', 'head.bias')
        >>> reference_name("decoder.blocks.1.conv2.0.weight"), reference_name("segmentation_head.0.bias")
        ('decoder.1.convs.conv2.weight', 'head.bias')
    """
    name = re.sub(r"^(conv|segmentation_head\.0)\.(weight|bias)$", r"head.\2", name)
    name = re.sub(r"^decoder\.blocks\.(\d)\.conv(\d)\.0\.", r"decoder.\1.convs.conv\2.", name)
    name = re.sub(r"^decoder\.blocks\.(\d)\.conv(\d)\.1\.", r"decoder.\1.convs.bn\2.", name)
    name = re.sub(r"^bottleneck\.bottleneck", "encoder5.enc5", name)
    found = re.match(r"(encoder|decoder|upconv)(\d)\.", name)
    if found is None:
        return name
    part, level, rest = found[1], int(found[2]), name[found.end() :]
    rest = re.sub(r"^(?:enc|dec)\d", "", rest).replace("norm", "bn")
    if part == "encoder":
        return f"encoder.levels.{level - 1}.{rest}"
    return f"decoder.{4 - level}.{'convs' if part == 'decoder' else 'up'}.{rest}"
