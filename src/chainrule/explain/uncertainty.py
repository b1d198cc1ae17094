"""How sure a network is of each pixel: the entropy of what it answers to mirrored views of an image.

Source: entropy of the mean and mutual information, Gal 2016 ("Uncertainty in Deep Learning"), section 3.3.1; mirrored
views in the place of draws, Wang, Li, Aertsen, Deprest, Ourselin, Vercauteren 2019, arXiv:1807.07356.
Reference: the same sums in numpy, compared in tests/unit/test_explain_pixels.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from chainrule.functional.tiles import Window, windows
from chainrule.nn.fronted import Fronted
from chainrule.tasks.segment import VIEWS
from chainrule.tasks.whole import CORES, HALOS, MOST_PIXELS, Whole

Look = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is answered for one image, and how surely."""

    classes: UInt8[Tensor, "*size"]  # of the image as it is
    uncertainty: Float[Tensor, "*size"]  # entropy of the mean shares / ln K: 0 sure, 1 all classes alike
    disagreement: Float[Tensor, "*size"]  # mutual information of class and view / ln K: what the views differ in


def doubt(shares: list[Float[Tensor, "B K *size"]]) -> tuple[Tensor, Tensor, Tensor]:
    """Classes, uncertainty and disagreement (B, *size) of the shares that each view of an image gives.

    Example:
        >>> views = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
        >>> [round(float(x), 3) for x in doubt(views)[1:]]
        [1.0, 1.0]
    """
    most = math.log(shares[0].shape[1])
    whole = entropy(torch.stack(shares).mean(0))
    each = torch.stack([entropy(found) for found in shares]).mean(0)
    classes = shares[0].argmax(1).to(torch.uint8)
    return classes, whole / most, (whole - each).clamp(min=0) / most  # rounding may fall below 0


def entropy(shares: Float[Tensor, "B K *size"]) -> Tensor:
    """-sum p ln p in nats (B, *size), with 0 ln 0 = 0."""
    found: Tensor = torch.special.entr(shares).sum(1)
    return found


def shares_of(network: nn.Module, image: Tensor, views: int) -> list[Tensor]:
    """The shares that each of so many mirrored views gives, turned back: as it is, left-right, up-down, both."""
    return [torch.softmax(network(image.flip(axes)).float(), 1).flip(axes) for axes in VIEWS[:views]]


@torch.inference_mode()
def doubt_of(module: Fronted, image: UInt8[Tensor, " C *size"], views: int) -> Doubt:
    """The answer for one image, in tiles where it is large."""
    assert isinstance(module.network, Whole)

    def look(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return doubt(shares_of(module, part, views))

    size = image.shape[1:]
    if math.prod(size) <= MOST_PIXELS:
        return Doubt(*(found[0].cpu() for found in look(image[None])))
    known, axes = module.network.network, len(size)
    halo = min(known.margin, HALOS[axes])
    cut = [windows(side, CORES[axes], halo, 0, known.multiple) for side in size]
    return _in_tiles(look, image, cut)


def _in_tiles(look: Look, image: Tensor, cut: list[list[Window]]) -> Doubt:
    """Tile by tile, without blending: with a halo as wide as the network sees there are no seams."""
    size = image.shape[1:]
    maps = (torch.empty(size, dtype=torch.uint8), torch.empty(size), torch.empty(size))
    for tile in product(*cut):
        found = look(image[(slice(None), *(window.seen for window in tile))][None])
        counts, inner = (tuple(window.counts for window in tile), tuple(window.inner for window in tile))
        for kept, part in zip(maps, found, strict=True):
            kept[counts] = part[0][inner].cpu()
    return Doubt(*maps)
