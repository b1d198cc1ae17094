"""Encoders and decoders of autoencoders: dense ones for vectors, convolutional ones for pictures.

Source: dense: Hinton, Salakhutdinov 2006, doi:10.1126/science.1127647, Fig. 1; convolutions of stride 2 and their
    transposes: Radford, Metz, Chintala 2015, arXiv:1511.06434, section 3.
Reference: torch.nn layers in a row, compared in tests/parity/test_autoencoder.py.
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
COARSEST_PX = 7  # the longer side at which a picture is halved no further
FINEST, MOST = 32, 256  # channels of the first map, doubled by each halving, and of any
DENSE = (512, 256)  # hidden units for many values
SMALL_VECTOR = 64  # values up to which a dense coder's usual widths shrink with them
PER_CODE = 4  # values of a vector that one number of its usual code stands for


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is coded and how: the shape of a row, the layout and its widths."""

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
    def size(self) -> int:
        """Values of a row."""
        return math.prod(self.shape)

    @property
    def convolutional(self) -> bool:
        """Whether rows are seen as pictures."""
        return self.layout == "convolutional" or (self.layout == "auto" and len(self.shape) == 3)

    @property
    def usual_widths(self) -> tuple[int, ...]:
        """The widths, found where none are given: pictures are halved to 7 x 7 or less, small vectors get few units."""
        if self.widths:
            return self.widths
        if self.convolutional:
            halvings = max(1, math.ceil(math.log2(max(self.shape[1:]) / COARSEST_PX)))
            return tuple(min(MOST, FINEST << level) for level in range(halvings))
        return DENSE if self.size > SMALL_VECTOR else (max(16, 2 * self.size), max(8, self.size))

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(H, W) of a picture and of each of its maps."""
        _, H, W = self.shape
        return [(-(-H // 2**level), -(-W // 2**level)) for level in range(len(self.usual_widths) + 1)]

    def code(self, most: int) -> int:
        """Numbers of the usual code: ``most``, of a vector not more than a quarter of its values."""
        return most if self.convolutional else min(most, max(1, self.size // PER_CODE))


def build_encoder(form: Form, outputs: int) -> nn.Module:
    """From rows (B, *shape) to (B, outputs)."""
    return ConvEncoder(form, outputs) if form.convolutional else DenseEncoder(form, outputs)


def build_decoder(form: Form, code: int) -> nn.Module:
    """From codes (B, code) to rows (B, *shape), linear at the end."""
    return ConvDecoder(form, code) if form.convolutional else DenseDecoder(form, code)


def _dense(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class DenseEncoder(nn.Module):
    """Hidden layers, then the outputs."""

    def __init__(self, form: Form, outputs: int) -> None:
        super().__init__()
        self.layers = _dense((form.size, *form.usual_widths, outputs))

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B outputs"]:
        """The outputs."""
        outputs: Tensor = self.layers(x.flatten(1))
        return outputs


class DenseDecoder(nn.Module):
    """The encoder's layers mirrored."""

    def __init__(self, form: Form, code: int) -> None:
        super().__init__()
        self.shape = form.shape
        self.layers = _dense((code, *reversed(form.usual_widths), form.size))

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built."""
        rows: Tensor = self.layers(code)
        return rows.view(-1, *self.shape)


def halvings(form: Form) -> nn.Sequential:
    """From pictures to their coarsest map: 3 x 3 convolutions of stride 2 with batch norm and ReLU."""
    channels = (form.shape[0], *form.usual_widths)
    return nn.Sequential(
        *(
            nn.Sequential(Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(channels)
        )
    )


def doublings(form: Form) -> nn.Sequential:
    """From the coarsest map to pictures: transposed 3 x 3 convolutions, batch norm and ReLU between them."""
    sides, channels = form.sides, (form.shape[0], *form.usual_widths)
    layers: list[nn.Module] = []
    for level in range(len(channels) - 1, 0, -1):
        last = level == 1
        H, W = (1 - size % 2 for size in sides[level - 1])
        up = nn.ConvTranspose2d(
            channels[level], channels[level - 1], 3, stride=2, padding=1, output_padding=(H, W), bias=last
        )
        layers.append(up if last else nn.Sequential(up, nn.BatchNorm2d(channels[level - 1]), nn.ReLU()))
    return nn.Sequential(*layers)


class ConvEncoder(nn.Module):
    """Halvings, then a linear layer."""

    def __init__(self, form: Form, outputs: int) -> None:
        super().__init__()
        self.maps = halvings(form)
        self.linear = nn.Linear(form.usual_widths[-1] * math.prod(form.sides[-1]), outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B outputs"]:
        """The outputs."""
        outputs: Tensor = self.linear(self.maps(x).flatten(1))
        return outputs


class ConvDecoder(nn.Module):
    """A linear layer to the coarsest map, then doublings."""

    def __init__(self, form: Form, code: int) -> None:
        super().__init__()
        self.start = (form.usual_widths[-1], *form.sides[-1])
        self.linear = nn.Linear(code, math.prod(self.start))
        self.maps = doublings(form)

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """What is built."""
        built: Tensor = self.maps(torch.relu(self.linear(code)).view(-1, *self.start))
        return built
