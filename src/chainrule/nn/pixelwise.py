"""Parts of networks that answer for every pixel: a path that halves the map level by level, and one that doubles it.

A level has half the sides of the level before it (a quarter of the samples of a signal: the rule of nn/convolution.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.nn.convolution import AXES, CONVOLUTIONS, SAFE, Dims, batch_norm, convolution, window

Padding = Literal["same", "valid"]
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
ENCODERS = ("plain", *RESNETS, "mobilenet_v2")  # names of the catalog, but for the first
DECODER = (16, 32, 64, 128, 256)  # channels beside an encoder of the catalog, finest first: the usual ones
RESNET_WIDTH = 64


class Encoder(Protocol):
    """A network that halves the map level by level and shows what it saw."""

    map_channels: tuple[int, ...]

    def maps(self, image: Tensor, deepest: int | None = None) -> tuple[Tensor, ...]:
        """A map of the image's size, then one for each halving; only up to number ``deepest`` if that is given."""


class DoubleConvolution(nn.Module):
    """Two 3x3 convolutions at one resolution, each with batch norm (or a bias instead) and a ReLU.

    With ``halve`` the largest of 2x2 comes first.
    """

    def __init__(
        self, dims: Dims, c_in: int, c_out: int, *, norm: bool = True, padding: Padding = "same", halve: bool = False
    ) -> None:
        super().__init__()
        kernel = window(dims, 3)
        around: Any = tuple(side // 2 if padding == "same" else 0 for side in kernel)
        layer: Any = SAFE[dims - 1]
        self.pool = POOLS[dims - 1](window(dims, 2)) if halve else nn.Identity()
        self.conv1 = layer(c_in, c_out, kernel, padding=around, bias=not norm)
        self.bn1 = batch_norm(dims, c_out) if norm else nn.Identity()
        self.conv2 = layer(c_out, c_out, kernel, padding=around, bias=not norm)
        self.bn2 = batch_norm(dims, c_out) if norm else nn.Identity()

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B c_out *smaller"]:
        """The new map."""
        x = F.relu(self.bn1(self.conv1(self.pool(x))), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


class ContractingPath(nn.Module):
    """The encoder of the papers: two convolutions at each level, a pool between levels."""

    def __init__(self, dims: Dims, c_in: int, widths: tuple[int, ...], norm: bool, padding: Padding = "same") -> None:
        super().__init__()
        self.map_channels = widths
        self.levels = nn.ModuleList(
            DoubleConvolution(dims, a, b, norm=norm, padding=padding, halve=level > 0)
            for level, (a, b) in enumerate(pairwise((c_in, *widths)))
        )
        he_init_pixels(self)

    def maps(self, image: Float[Tensor, "B C *size"], deepest: int | None = None) -> tuple[Tensor, ...]:
        """The output of each level, finest first."""
        x, maps = image, list[Tensor]()
        for block in self.levels[: len(self.levels) if deepest is None else deepest + 1]:
            x = block(x)
            maps.append(x)
        return tuple(maps)


class ExpandingBlock(nn.Module):
    """A coarser map, doubled, beside maps of this level: two convolutions over all of them.

    Doubling is learned (a transposed convolution of 2x2 with stride 2 and ``c_out`` channels) or repeats the nearest
    pixel, which also reaches a size that is not twice the coarser one.
    """

    def __init__(
        self, dims: Dims, c_below: int, c_beside: int, c_out: int, *, learned: bool, norm: bool,
        padding: Padding = "same",
    ) -> None:  # fmt: skip
        super().__init__()
        two: Any = window(dims, 2)
        self.up = TRANSPOSED[dims - 1](c_below, c_out, two, two) if learned else None
        c_in = (c_out if learned else c_below) + c_beside
        self.convs = DoubleConvolution(dims, c_in, c_out, norm=norm, padding=padding)
        he_init_pixels(self)

    def forward(
        self, below: Float[Tensor, "B C *coarse"], beside: list[Tensor], size: tuple[int, ...]
    ) -> Float[Tensor, "B c_out *smaller"]:
        """The new map; ``size`` is that of the level, whose maps are cut to what the doubled one shows."""
        x = F.interpolate(below, size=size, mode="nearest") if self.up is None else self.up(below)
        return self.convs(torch.cat((x, *(central(skip, x.shape[2:]) for skip in beside)), dim=1))  # type: ignore[no-any-return]


def central(x: Float[Tensor, "B C *size"], size: tuple[int, ...]) -> Float[Tensor, "B C *smaller"]:
    """The middle of a map, of this size."""
    for dim, length in enumerate(size, 2):
        if x.shape[dim] != length:
            x = x.narrow(dim, (x.shape[dim] - length) // 2, length)
    return x


def pixel_head(dims: Dims, channels: int, num_classes: int, side: int) -> nn.Module:
    """Logits of each pixel from a window of ``side``, with a spread of about 1 from the start.

    A head near zero, as classifiers have, lets next to no gradient through: small runs then learn nothing but the
    background for dozens of steps (docs/log.md).
    """
    head: Any = convolution(dims, channels, num_classes, side, bias=True)
    nn.init.normal_(head.weight, std=1 / math.sqrt(head.weight[0].numel()))
    nn.init.zeros_(head.bias)
    module: nn.Module = head
    return module


def he_init_pixels(network: nn.Module) -> None:
    """Convolutions as He et al. 2015 (fan-in, arXiv:1502.01852 equation 10), biases zero."""
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            weight = module.weight
            inputs = weight.shape[0] if isinstance(module, TRANSPOSED) else weight[0].numel()  # of one output value
            nn.init.normal_(weight, std=math.sqrt(2 / inputs))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_encoder(
    dims: Dims, encoder: str, encoder_width: int, widths: tuple[int, ...], usual: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """The widths and the encoder's width that a config asks for, its empty ones replaced by the usual.

    Raises:
        InputError: a setting that no such encoder has.
    """
    if dims not in AXES:
        raise InputError(f"model.dims must be 1 (signals), 2 (images) or 3 (clips), got {dims}")
    if encoder not in ENCODERS:
        raise InputError(f"model.encoder is {encoder!r}; {nearest(encoder, ENCODERS)}")
    if encoder_width < 0 or (encoder_width and encoder not in RESNETS):
        raise InputError(
            f"model.encoder_width is for a ResNet (its first stage's channels, 0 for {RESNET_WIDTH}), "
            f"got {encoder_width} with model.encoder={encoder}; leave it out"
        )
    if encoder in RESNETS:
        encoder_width = encoder_width or RESNET_WIDTH
    halvings = 4 if dims == 3 and encoder in RESNETS else 5  # R3D's stem halves once, that for images twice
    widths = widths or (usual if encoder == "plain" else DECODER[:halvings])
    if min(widths) < 1 or len(widths) < 2:
        raise InputError(f"model.widths needs channels of at least two levels, finest first, got {widths}")
    if encoder != "plain" and len(widths) != halvings:
        raise InputError(
            f"model.widths needs {halvings} numbers of channels, finest first, as {encoder} halves the map so often; "
            f"got {widths}"
        )
    return widths, encoder_width


def check_sides(image: Tensor, multiples: tuple[int, ...]) -> None:
    """Raise InputError unless every side of the image is a multiple of its number."""
    size = tuple(image.shape[2:])
    if any(side % multiple or not side for side, multiple in zip(size, multiples, strict=True)):
        wanted = str(multiples[0]) if len(set(multiples)) == 1 else " x ".join(map(str, multiples))
        raise InputError(f"the sides of an image must be multiples of {wanted}, got {size}; pad or resize it")


def windows_of(encoder: nn.Module) -> list[tuple[tuple[int, int, int], ...]]:
    """(window, stride, padding) along each axis of every layer on an encoder's longest path, in its order.

    A window of stride 1 counts as centred, padded or not. Shortcuts (``downsample``) see no more than what they pass.
    """
    found = []
    for name, module in encoder.named_modules():
        if isinstance(module, (*CONVOLUTIONS, *POOLS)) and "downsample" not in name:
            kernels, strides = _axes(module.kernel_size), _axes(module.stride)
            paddings = _axes(module.padding) * (len(kernels) // len(_axes(module.padding)))
            layer = zip(kernels, strides, paddings, strict=True)
            found.append(tuple((k, s, (k - 1) // 2 if s == 1 else p) for k, s, p in layer))
    return found


def _axes(sizes: Any) -> tuple[int, ...]:
    return sizes if isinstance(sizes, tuple) else (sizes,)


def multiples_of(encoder: nn.Module) -> tuple[int, ...]:
    """By what an encoder divides each side of the image."""
    layers = windows_of(encoder)
    return tuple(math.prod(layer[axis][1] for layer in layers) for axis in range(len(layers[0])))


def margin_of(encoder: nn.Module, doublings: int, head_side: int = 1) -> int:
    """How far from a pixel the input can still change its logits: an encoder, then ``doublings`` expanding blocks.

    Which pixels a coarse one covers depends on its place in the coarsest grid, so each place is followed down and back
    up, along the last axis, which is halved most. Shorter ways see no more than the one through the coarsest map.
    """
    layers = [layer[-1] for layer in windows_of(encoder)]
    dims = len(windows_of(encoder)[0])
    (pool,), (kernel,) = {*window(dims, 2)}, {*window(dims, 3)}  # type: ignore[arg-type]
    around, head = 2 * (kernel // 2), _axes(window(dims, head_side))[-1] // 2  # type: ignore[arg-type]
    return reach(layers, doublings, pool, around, head)


def reach(layers: Iterable[tuple[int, int, int]], doublings: int, pool: int, around: int, head: int) -> int:
    """As ``margin_of``, from numbers: an expanding block sees ``around`` pixels on each side, the head ``head``.

    Example:
        >>> convolutions, pool = [(3, 1, 1)] * 2, [(2, 2, 0)]
        >>> reach(convolutions, 0, pool=2, around=2, head=0)
        2
        >>> reach((convolutions + pool) * 4 + convolutions, 4, pool=2, around=2, head=0)
        107
    """
    upwards, furthest = list(layers)[::-1], 0
    for place in range(pool**doublings):
        low, high = place - head, place + head
        for _ in range(doublings):
            low, high = (low - around) // pool, (high + around) // pool
        for kernel, stride, padding in upwards:
            low, high = stride * low - padding, stride * high - padding + kernel - 1
        furthest = max(furthest, place - low, high - place)
    return furthest
