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

from torch import nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Conv2d

Layout = Literal["auto", "dense", "convolutional"]
COARSEST_PX = 7  # the longer side at which a picture is halved no further
FINEST, MOST = 32, 256  # channels of the first map, doubled by each halving, and of any
SMALL_PICTURE = 1024  # values up to which a picture is seen as a vector: at 28 x 28 that learns more in less time
SMALL_VECTOR, LARGE_VECTOR = 64, 512  # values up to which usual hidden layers shrink, and beyond which they grow


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is coded and how: the shape of a row, the layout and its widths, the size of the code."""

    shape: tuple[int, ...]  # (F,), (T, F) or (C, H, W)
    layout: Layout = "auto"
    widths: tuple[int, ...] = ()  # hidden units, or channels of the maps, each half the side of the one before
    code: int = 0  # numbers in a code; 0: ``most``
    most: int = 32
    share: float = 0.25  # of a vector's values that its usual code is long at most

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"model.shape is the shape of a row, such as (1, 28, 28), got {self.shape}")
        if self.layout == "convolutional" and len(self.shape) != 3:
            raise InputError(f"model.layout=convolutional is for pictures; rows have the shape {self.shape}")
        if any(width < 1 for width in self.widths):
            raise InputError(f"model.widths must be 1 or more each, got {self.widths}")
        if self.code < 0:
            raise InputError(f"model.code is the number of values in a code, or 0 (found), got {self.code}")

    @property
    def size(self) -> int:
        """Values of a row."""
        return math.prod(self.shape)

    @property
    def convolutional(self) -> bool:
        """Whether rows are seen as pictures."""
        large = len(self.shape) == 3 and self.size > SMALL_PICTURE
        return self.layout == "convolutional" or (self.layout == "auto" and large)

    @property
    def usual_widths(self) -> tuple[int, ...]:
        """The widths, found where none are given: maps are halved to 7 x 7 or less, small vectors get few units."""
        if self.widths:
            return self.widths
        if self.convolutional:
            halvings = max(1, math.ceil(math.log2(max(self.shape[1:]) / COARSEST_PX)))
            return tuple(min(MOST, FINEST << level) for level in range(halvings))
        if self.size > SMALL_VECTOR:
            return (1024, 512) if self.size > LARGE_VECTOR else (512, 256)
        return (max(16, 2 * self.size), max(8, self.size))

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(H, W) of a picture and of each of its maps."""
        _, H, W = self.shape
        return [(-(-H // 2**level), -(-W // 2**level)) for level in range(len(self.usual_widths) + 1)]

    @property
    def code_size(self) -> int:
        """Numbers in a code, found where none are given: a short row gets a short one."""
        usual = self.most if len(self.shape) == 3 else min(self.most, max(1, int(self.share * self.size)))
        return self.code or usual


def build_encoder(form: Form, outputs: int) -> nn.Sequential:
    """From rows (B, *shape) to (B, outputs): halvings and a linear layer, or hidden layers."""
    if not form.convolutional:
        return nn.Sequential(nn.Flatten(), *_dense((form.size, *form.usual_widths, outputs)))
    coarsest = form.usual_widths[-1] * math.prod(form.sides[-1])
    return nn.Sequential(*halvings(form), nn.Flatten(), nn.Linear(coarsest, outputs))


def build_decoder(form: Form, code: int) -> nn.Sequential:
    """From codes (B, code) to rows (B, *shape): the encoder mirrored, linear at the end."""
    if not form.convolutional:
        widths = (code, *reversed(form.usual_widths), form.size)
        return nn.Sequential(*_dense(widths), nn.Unflatten(1, form.shape))
    start = (form.usual_widths[-1], *form.sides[-1])
    return nn.Sequential(nn.Linear(code, math.prod(start)), nn.ReLU(), nn.Unflatten(1, start), *doublings(form))


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return layers[:-1]


def halvings(form: Form) -> list[nn.Module]:
    """From pictures to their coarsest map: 3 x 3 convolutions of stride 2 with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise((form.shape[0], *form.usual_widths)):
        layers += [Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return layers


def doublings(form: Form) -> list[nn.Module]:
    """From the coarsest map to pictures: transposed 3 x 3 convolutions with batch norm and ReLU, the last one alone."""
    sides, channels = form.sides, (form.shape[0], *form.usual_widths)
    layers: list[nn.Module] = []
    for level in range(len(channels) - 1, 0, -1):
        a, b, last = channels[level], channels[level - 1], level == 1
        H, W = (1 - size % 2 for size in sides[level - 1])  # an odd side has no row and no column beyond
        layers.append(nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=(H, W), bias=last))
        layers += [] if last else [nn.BatchNorm2d(b), nn.ReLU()]
    return layers
