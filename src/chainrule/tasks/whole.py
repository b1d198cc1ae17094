"""A network that answers for every pixel, made to take images of any size: whole ones, and larger ones in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from chainrule.functional.tiles import mirror, windows

MULTIPLE = 32  # that the sides of a person's own network are brought to: five halvings
MOST_PIXELS = 2**19  # that go through a network at once outside training; beyond it an image is cut into tiles
CORES = {1: 2**17, 2: 512, 3: 64}  # pixels of a tile along each of so many axes, without what is only looked at
HALOS = {1: 1024, 2: 112, 3: 16}  # and of what is only looked at, at most; 107 are the whole margin of a plain U-Net
BLEND = 16  # pixels on either side of a seam in which two tiles are mixed

Shares = Callable[[Tensor], Tensor]  # (B C *size) -> (B K *size), shares that sum to 1


@runtime_checkable
class PixelNetwork(Protocol):
    """What the catalog's networks for pixels tell of themselves."""

    multiple: int  # tiles start at multiples of it, so that their pools stay in step with those of the whole image
    margin: int  # from so many pixels away a pixel's answer may depend on the input
    deep: bool  # whether several heads are supervised

    def input_size(self, side: int) -> int:
        """The smallest side of an input that is answered for on at least ``side`` pixels."""

    def output_size(self, side: int) -> int:
        """The side that an input of this side is answered for on; smaller where convolutions are not padded."""

    def branches(self, image: Tensor) -> tuple[Tensor, ...]:
        """The logits of every head that is supervised."""


class Unknown(nn.Module):
    """A person's own network as a ``PixelNetwork``: five halvings at most, padded, one head."""

    multiple, margin, deep = MULTIPLE, HALOS[2], False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def input_size(self, side: int) -> int:
        """The next multiple."""
        return -(-side // self.multiple) * self.multiple

    def output_size(self, side: int) -> int:
        """As large as the input."""
        return side

    def forward(self, image: Tensor) -> Tensor:
        """The network's own."""
        logits: Tensor = self.network(image)
        return logits

    def branches(self, image: Tensor) -> tuple[Tensor, ...]:
        """Its only one."""
        return (self(image),)


class Whole(nn.Module):
    """Fills an image up to a size that the network takes, by mirroring its edges, and cuts the logits to the image.

    A network whose convolutions are not padded gets as much mirrored context on all sides as it loses.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network if isinstance(network, PixelNetwork) else Unknown(network)
        self.deep: bool = self.network.deep  # whether several heads are supervised

    def forward(self, image: Float[Tensor, "B C *size"]) -> Float[Tensor, "B K *size"]:
        """Logits for every pixel of the image."""
        return self._cut(self.network(self._filled(image)), image)

    def branches(self, image: Float[Tensor, "B C *size"]) -> tuple[Float[Tensor, "B K *size"], ...]:
        """The logits of every supervised head, the same way."""
        return tuple(self._cut(logits, image) for logits in self.network.branches(self._filled(image)))

    def _filled(self, image: Tensor) -> Tensor:
        ends = []
        for side in image.shape[2:]:
            needed = self.network.input_size(side)
            before = (needed - self.network.output_size(needed)) // 2
            ends.append((before, needed - side - before))
        return mirror(image, tuple(ends))

    def _cut(self, logits: Tensor, image: Tensor) -> Tensor:
        sides: tuple[slice, ...] = tuple(slice(0, side) for side in image.shape[2:])
        return logits[(slice(None), slice(None), *sides)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered for one image."""

    classes: UInt8[Tensor, "*size"]
    shares: UInt8[Tensor, "*size"]  # of the class that is answered, 255 for 1


def answers_of(shares: Shares, image: Tensor, sizes: list[tuple[int, ...]], network: PixelNetwork) -> Iterator[Answer]:
    """An answer for every row of ``image`` (B C *size), whose real part has these ``sizes``; the rest is filling.

    Rows of one size go through the network together, as many as ``MOST_PIXELS`` allow; larger images in tiles. A row's
    answer does not depend on the others.
    """
    row = 0
    while row < len(sizes):
        size = sizes[row]
        part = (slice(None), *(slice(0, side) for side in size))
        if math.prod(size) > MOST_PIXELS:
            yield in_tiles(shares, image[row][part], network)
            row += 1
            continue
        most = max(1, MOST_PIXELS // math.prod(size))
        alike = next((n for n in range(1, most) if row + n == len(sizes) or sizes[row + n] != size), most)
        for found in shares(image[row : row + alike][(slice(None), *part)]):
            yield _answer(found)
        row += alike


def _answer(shares: Tensor) -> Answer:
    share, classes = shares.max(0)
    return Answer(classes.to(torch.uint8), (255 * share).round().to(torch.uint8))


def in_tiles(
    shares: Shares, image: Float[Tensor, " C *size"], network: PixelNetwork, core: int = 0, blend: int = BLEND
) -> Answer:
    """The answer for an image that is too large to be seen at once, tile by tile, seams blended.

    Beyond the image and its answer it keeps one band of tiles along the first axis. With a halo of the network's whole
    margin every pixel gets the shares that the whole image would give it.
    """
    size = tuple(image.shape[1:])
    core = core or CORES[len(size)]
    halo = min(network.margin, HALOS[len(size)])
    first, *others = (windows(side, core, halo, blend, network.multiple) for side in size)
    classes = torch.empty(size, dtype=torch.uint8, device=image.device)
    certain = torch.empty_like(classes)
    carried: Tensor | None = None
    for down in first:
        band: Tensor | None = None
        for across in product(*others):
            seen = image[(slice(None), down.seen, *(window.seen for window in across))][None]
            found = shares(seen)[0][(slice(None), down.inner, *(window.inner for window in across))]
            for axis, window in enumerate((down, *across), start=1):
                weights = window.weights().to(found)
                found = found * weights.view(-1, *[1] * (found.ndim - 1 - axis))
            if band is None:
                band = found.new_zeros((len(found), down.counts.stop - down.counts.start, *size[1:]))
            band[(slice(None), slice(None), *(window.counts for window in across))] += found
        assert band is not None
        if carried is not None:
            band[:, : carried.shape[1]] += carried
        done = band.shape[1] - down.fall
        carried = band[:, done:].clone()
        answer = _answer(band[:, :done])
        rows = slice(down.counts.start, down.counts.start + done)
        classes[rows], certain[rows] = answer.classes, answer.shares
    return Answer(classes, certain)
