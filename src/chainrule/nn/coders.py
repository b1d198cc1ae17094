"""Encoders and decoders of autoencoders: dense ones for vectors, convolutional ones for pictures.

Source: dense: Hinton, Salakhutdinov 2006, doi:10.1126/science.1127647, Fig. 1; convolutions of stride 2 and their
    transposes: Radford, Metz, Chintala 2015, arXiv:1511.06434, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Conv2d

Layout = Literal["auto", "dense", "convolutional"]
DENSE, CONVOLUTIONAL = (512, 256), (32, 64)  # widths where none are given
SMALL_VECTOR = 64  # inputs up to which a dense coder's usual widths shrink with them


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is coded and how: the shape of a row, the layout and its widths, resolved."""

    shape: tuple[int, ...]  # (F,), (T, F) or (C, H, W)
    layout: Layout = "auto"
    widths: tuple[int, ...] = ()  # hidden units, or channels of the maps, each half the side of the one before

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"model.shape is the shape of a row, such as (1, 28, 28), got {self.shape}")
        if self.layout == "convolutional" and len(self.shape) != 3:
            raise InputError(f"model.layout=convolutional is for pictures; rows have the shape {self.shape}")
        if any(width < 1 for width in self.widths):
            raise InputError(f"model.widths must be 1 or more each, got {self.widths}")

    @property
    def convolutional(self) -> bool:
        """Whether rows are seen as pictures."""
        return self.layout == "convolutional" or (self.layout == "auto" and len(self.shape) == 3)

    @property
    def usual_widths(self) -> tuple[int, ...]:
        """The widths, found where none are given."""
        if self.widths or self.convolutional:
            return self.widths or CONVOLUTIONAL
        size = math.prod(self.shape)
        return DENSE if size > SMALL_VECTOR else (max(16, 2 * size), max(8, size))


def build_encoder(form: Form, outputs: int) -> nn.Module:
    """From rows (B, *shape) to (B, outputs)."""
    return ConvEncoder(form, outputs) if form.convolutional else DenseEncoder(form, outputs)


def build_decoder(form: Form, code: int) -> nn.Module:
    """From codes (B, code) to rows (B, *shape), linear at the end."""
    return ConvDecoder(form, code) if form.convolutional else DenseDecoder(form, code)


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return layers[:-1]


class DenseEncoder(nn.Module):
    """Hidden layers, then the outputs."""

    def __init__(self, form: Form, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_dense((math.prod(form.shape), *form.usual_widths, outputs)))

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B outputs"]:
        """The outputs."""
        outputs: Tensor = self.layers(x.flatten(1))
        return outputs


class DenseDecoder(nn.Module):
    """The encoder's layers mirrored."""

    def __init__(self, form: Form, code: int) -> None:
        super().__init__()
        self.shape = form.shape
        self.layers = nn.Sequential(*_dense((code, *reversed(form.usual_widths), math.prod(form.shape))))

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built."""
        rows: Tensor = self.layers(code)
        return rows.view(-1, *self.shape)


def _sides(form: Form) -> list[tuple[int, int]]:
    """(H, W) of the picture and of each map."""
    sizes = [form.shape[-2:]]
    for _ in form.usual_widths:
        H, W = sizes[-1]
        sizes.append((-(-H // 2), -(-W // 2)))
    return [(H, W) for H, W in sizes]


class ConvEncoder(nn.Module):
    """3 x 3 convolutions of stride 2 with batch norm and ReLU, then a linear layer."""

    def __init__(self, form: Form, outputs: int) -> None:
        super().__init__()
        channels = (form.shape[0], *form.usual_widths)
        self.maps = nn.Sequential(
            *(
                nn.Sequential(Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise(channels)
            )
        )
        self.linear = nn.Linear(channels[-1] * math.prod(_sides(form)[-1]), outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B outputs"]:
        """The outputs."""
        outputs: Tensor = self.linear(self.maps(x).flatten(1))
        return outputs


class ConvDecoder(nn.Module):
    """A linear layer to the coarsest map, then transposed convolutions, each twice the side of the one before."""

    def __init__(self, form: Form, code: int) -> None:
        super().__init__()
        sides, channels = _sides(form), (form.shape[0], *form.usual_widths)
        self.start = (channels[-1], *sides[-1])
        self.linear = nn.Linear(code, math.prod(self.start))
        layers: list[nn.Module] = []
        for level in range(len(channels) - 1, 0, -1):
            odd = [size % 2 for size in sides[level - 1]]
            last = level == 1
            up = nn.ConvTranspose2d(
                channels[level], channels[level - 1], 3, stride=2, padding=1, bias=last,
                output_padding=(1 - odd[0], 1 - odd[1]),
            )  # fmt: skip
            layers.append(up if last else nn.Sequential(up, nn.BatchNorm2d(channels[level - 1]), nn.ReLU()))
        self.maps = nn.Sequential(*layers)

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """What is built."""
        built: Tensor = self.maps(torch.relu(self.linear(code)).view(-1, *self.start))
        return built
