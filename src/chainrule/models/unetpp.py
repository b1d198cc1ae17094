"""U-Net++: every level answers on the way back, so that the net can be cut at any depth after training.

Source: Zhou, Siddiquee, Tajbakhsh, Liang 2018, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    arXiv:1807.10165, figure 1 and equation 1; and 2019, "UNet++: Redesigning Skip Connections to Exploit Multiscale
    Features in Image Segmentation", arXiv:1912.05074, for deep supervision and pruning.
Reference: figure 1 written down in tests/parity/test_unetpp.py; with an encoder of the catalog
    segmentation_models_pytorch.UnetPlusPlus, compared there too. ``reference_name`` turns its names into ours.
Differs: batch norm after each 3x3 convolution unless ``batch_norm=False``. A node joins the doubled map first and the
    newest map of its level next, no result depends on that order. The answers of several heads are averaged as logits.
Letters: X^{i,j} is node j of level i; X^{i,0} are the maps of the encoder, L is the last level.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Dims
from chainrule.nn.pixelwise import (
    ContractingPath,
    Encoder,
    ExpandingBlock,
    check_encoder,
    check_sides,
    margin_of,
    multiples_of,
    pixel_head,
)

WIDTHS = (32, 64, 128, 256, 512)  # section 3.1 of the paper of 2018


@dataclass(frozen=True, kw_only=True)
class UNetPlusPlusConfig:
    """Sizes of a U-Net++; the defaults are the paper's, with batch norm.

    Empty ``widths`` and an ``encoder_width`` of 0 are replaced by the usual ones: the config shows what is built. With
    an encoder of the catalog ``widths`` are those of the last node of each level but the coarsest; the other nodes have
    as many channels as the encoder's map of their level.

    Example:
        >>> UNetPlusPlusConfig(in_channels=1, num_classes=2).widths
        (32, 64, 128, 256, 512)
    """

    in_channels: int
    num_classes: int
    dims: Dims = 2  # 1: signals, 2: images, 3: clips and volumes
    encoder: str = "plain"  # the paper's, or a name of the catalog: resnet18 ... resnet152, mobilenet_v2
    encoder_width: int = 0  # channels of a ResNet encoder's first stage; 0: 64
    widths: tuple[int, ...] = ()  # channels per level, finest first
    batch_norm: bool = True  # in all but an encoder of the catalog; otherwise each convolution has a bias
    deep_supervision: bool = False  # a head on each X^{0,1} ... X^{0,L}, not on the last alone
    prune: int = 0  # answer with the head of X^{0,prune} alone; 0: with the mean of all

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        sizes = check_encoder(self.dims, self.encoder, self.encoder_width, self.widths, WIDTHS)
        for name, size in zip(("widths", "encoder_width"), sizes, strict=True):
            object.__setattr__(self, name, size)
        levels = len(self.widths) - (self.encoder == "plain")
        if not 0 <= self.prune <= levels:
            raise InputError(f"model.prune is the last level to keep, 1 to {levels}, or 0 for all; got {self.prune}")
        if self.prune and not self.deep_supervision:
            raise InputError(
                f"model.prune={self.prune} needs a head on each level, add model.deep_supervision=yes, or leave it out"
            )


class UNetPlusPlus(nn.Module):
    """A U-Net of every depth at once: node X^{i,j} sees X^{i+1,j-1} and all earlier nodes of its own level.

    The encoder is that of the paper unless another is passed in. Its first map is then the image and not joined: level
    0 has only the nodes whose answers are asked for, each alone.
    ``multiple``: the sides of an image are multiples of it. ``border`` is 0: logits have the image's size.
    ``margin``: how many pixels away the input can still change a pixel's logits. ``depth`` is L. ``deep``: whether each
    level has a head.

    Example:
        >>> import torch
        >>> network = UNetPlusPlus(UNetPlusPlusConfig(in_channels=1, num_classes=2, widths=(4, 8, 16)))
        >>> network(torch.zeros(1, 1, 8, 12)).shape, list(network.nodes)
        (torch.Size([1, 2, 8, 12]), ['x_0_1', 'x_1_1', 'x_0_2'])
    """

    def __init__(self, config: UNetPlusPlusConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        dims, plain = config.dims, encoder is None
        self.encoder = encoder or ContractingPath(dims, config.in_channels, config.widths, config.batch_norm)
        first = self.encoder.map_channels  # of X^{i,0}
        self.depth, self.prune, self.joins_image_size = len(first) - 1, config.prune, plain
        self.deep = config.deep_supervision
        answers = range(1 if self.deep else self.depth, self.depth + 1)
        channels = {(i, 0): count for i, count in enumerate(first)}
        self.nodes = (
            nn.ModuleDict()
        )  # in the order they are run: all that X^{0,1} needs, then all that X^{0,2} needs ...
        for i, j in places(self.depth):
            if i == 0 and j not in answers and not plain:
                continue
            channels[i, j] = config.widths[i] if i == 0 or i + j == self.depth else first[i]
            beside = sum(channels[place] for place in self._beside(i, j))
            self.nodes[f"x_{i}_{j}"] = ExpandingBlock(
                dims, channels[i + 1, j - 1], beside, channels[i, j], learned=plain, norm=config.batch_norm
            )
        self.border, self.head_side = 0, 1 if plain else 3
        self.heads = nn.ModuleList(
            pixel_head(dims, channels[0, j], config.num_classes, self.head_side) for j in answers
        )
        self._measure()

    def _measure(self) -> None:
        self.multiples = multiples_of(self.encoder)  # type: ignore[arg-type]
        self.multiple = max(self.multiples)
        self.margin = margin_of(self.encoder, self.depth, self.head_side)  # type: ignore[arg-type]

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K *size"]:
        """Logits per pixel: the mean of all heads, or with ``prune`` those of one, computing no other node.

        Raises:
            InputError: a side that the halvings do not divide.
        """
        if self.prune:
            logits: Tensor = self.heads[self.prune - 1](self._last(image, self.prune)[-1])
            return logits
        first, *others = self.branches(image)
        return sum(others, first) / (1 + len(others))

    def branches(self, image: Float[Tensor, "B C *size"]) -> tuple[Tensor, ...]:
        """The logits of every supervised head: on X^{0,1} ... X^{0,L}, or on the last alone."""
        last = self._last(image, self.depth)
        return tuple(head(x) for head, x in zip(self.heads, last[-len(self.heads) :], strict=True))

    def input_size(self, side: int) -> int:
        """The smallest side of an image whose logits have at least this side, in pixels."""
        return -(-side // self.multiple) * self.multiple

    def output_size(self, side: int) -> int:
        """The side of the logits of an image with this side, in pixels: the same."""
        return side

    def pruned(self, level: int) -> UNetPlusPlus:
        """A network of its own for the answer of X^{0,level}: what that does not need is gone.

        An encoder of the catalog stays whole, its last stages are not run.

        Raises:
            InputError: there is no head at this level.
        """
        if not self.deep or not 1 <= level <= self.depth:
            where = f"to level 1 to {self.depth}" if self.deep else "with model.deep_supervision=yes"
            raise InputError(f"the network can be pruned {where}, got level {level}")
        small = copy.deepcopy(self)
        small.depth, small.prune, small.deep = level, 0, False
        small.heads = nn.ModuleList([small.heads[level - 1]])
        kept = {f"x_{i}_{j}" for i, j in places(level)}
        small.nodes = nn.ModuleDict({name: node for name, node in small.nodes.items() if name in kept})
        if isinstance(small.encoder, ContractingPath):
            small.encoder.levels = small.encoder.levels[: level + 1]
            small._measure()
        return small

    def _last(self, image: Tensor, depth: int) -> list[Tensor]:
        """X^{0,1} ... X^{0,depth}, as far as they are nodes."""
        check_sides(image, self.multiples)
        maps = self.encoder.maps(image, depth)
        seen = {(i, 0): x for i, x in enumerate(maps)}
        for i, j in places(depth):
            if f"x_{i}_{j}" in self.nodes:
                beside = [seen[place] for place in self._beside(i, j)]
                seen[i, j] = self.nodes[f"x_{i}_{j}"](seen[i + 1, j - 1], beside, maps[i].shape[2:])
        return [seen[0, j] for j in range(1, depth + 1) if (0, j) in seen]

    def _beside(self, i: int, j: int) -> list[tuple[int, int]]:
        """What X^{i,j} joins of its own level, newest first."""
        return [(i, k) for k in range(j - 1, -1, -1)] if i or self.joins_image_size else []


def places(depth: int) -> list[tuple[int, int]]:
    """The (i, j) of the nodes, in the order they are run.

    Example:
        >>> places(3)
        [(0, 1), (1, 1), (0, 2), (2, 1), (1, 2), (0, 3)]
    """
    return [(i, diagonal - i) for diagonal in range(1, depth + 1) for i in range(diagonal - 1, -1, -1)]


def reference_name(name: str) -> str:
    """Our name of a tensor of smp's network of five halvings, as ``rename`` of ``weights.load_weights``.

    Theirs count layers from the coarsest: x_d_l is node l - d + 1 of level 4 - l. Our names stay as they are.

    Example:
        >>> reference_name("decoder.blocks.x_1_3.conv2.1.weight"), reference_name("segmentation_head.0.bias")
        ('nodes.x_1_3.convs.bn2.weight', 'heads.0.bias')
    """
    name = re.sub(r"^segmentation_head\.0\.", "heads.0.", name)
    found = re.match(r"decoder\.blocks\.x_(\d)_(\d)\.conv(\d)\.([01])\.", name)
    if found is None:
        return name
    first, last, number, layer = map(int, found.groups())
    tensor = f"{('conv', 'bn')[layer]}{number}.{name[found.end() :]}"
    return f"nodes.x_{4 - last}_{last - first + 1}.convs.{tensor}"
