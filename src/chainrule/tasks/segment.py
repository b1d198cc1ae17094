"""Segmentation: a class for every pixel.

Source: the loss of Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, section 3 (cross-entropy, weighted towards
borders); the sum of cross-entropy and Dice, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z; deep supervision, the
mean of the losses of all heads, Zhou et al. 2019, arXiv:1912.05074, section III-C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import MaskTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.metrics import Scorer
from chainrule.functional.overlap import overlap_scorer, overlap_scores, region_counts
from chainrule.functional.pixel_losses import (
    boundary_weights,
    dice_loss_sum,
    focal_sum,
    known_pixels,
    pixel_cross_entropy_sum,
)
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At, Headline, Loss, Rows, Term
from chainrule.tasks.whole import Answer, PixelNetwork, Whole, answers_of

LOSSES = ("cross_entropy_dice", "cross_entropy", "dice", "focal", "boundary")
WEIGHTS = ("none", "balanced")
MONITORS: dict[str, Literal["min", "max"]] = {
    "dice": "max", "iou": "max", "accuracy": "max", "dice_per_image": "max", "iou_per_image": "max",
}  # fmt: skip
MOST_WEIGHT = 10.0  # of a rare class, times that of the mean pixel
VIEWS = ((), (-1,), (-2,), (-2, -1))  # axes that an image is mirrored along, view by view


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How classes of pixels are learned."""

    loss: str = "cross_entropy_dice"  # their sum; or one of them, focal, or boundary: the U-Net paper's
    class_weight: str = "none"  # "balanced": pixels weigh total / (K x pixels of their class), at most 10
    gamma: float = 2.0  # of the focal loss: how little certain answers count
    boundary_weight: float = 10.0  # w0 of the boundary loss: what a narrow gap between objects weighs beside 1
    boundary_px: float = 5.0  # sigma of the boundary loss: how narrow, in pixels
    monitor: str = "dice"

    def __post_init__(self) -> None:
        known = {"loss": LOSSES, "class_weight": WEIGHTS, "monitor": tuple(MONITORS)}
        for name, choices in known.items():
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"task.{name} is {value!r}; {nearest(value, choices)}")
        for name in ("gamma", "boundary_weight"):
            if getattr(self, name) < 0:
                raise InputError(f"task.{name} must not be negative, got {getattr(self, name)}")
        if self.boundary_px <= 0:
            raise InputError(f"task.boundary_px is a distance in pixels above 0, got {self.boundary_px}")
        if self.loss == "dice" and self.class_weight != "none":
            raise InputError("task.loss=dice weighs all classes alike already; leave task.class_weight out")


class Segment:
    """Logits (B K *size) against a class for every pixel (B *size)."""

    name = "segment"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("dice", "max")

    def __init__(self, config: SegmentConfig, target: MaskTarget) -> None:
        if config.loss == "boundary" and target.background < 0:
            raise InputError(
                "task.loss=boundary looks for gaps between objects, but no class is the background; name it with "
                "--set data.background=NAME"
            )
        self.config = config
        self.target = target
        self.monitor = (config.monitor, MONITORS[config.monitor])
        self.weights = _class_weights(config, target)

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network, filled up to the sizes it takes."""
        return Whole(network)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Known pixels, or the sum of their class weights; and rows."""
        assert batch.targets is not None
        weights = None if self.weights is None else self.weights.to(batch.targets.device)
        return {"pixels": max(1.0, float(known_pixels(batch.targets, weights))), "rows": float(len(batch))}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed losses of pixels and of rows; of several supervised heads their mean."""
        assert isinstance(network, Fronted)
        assert batch.targets is not None
        whole = network.network
        assert isinstance(whole, Whole)
        heads = whole.branches(*network.front(*batch.inputs)) if whole.deep else (network(*batch.inputs),)
        terms = [term for logits in heads for term in self._terms(_exact(logits), batch, 1 / len(heads))]
        return tuple(terms)

    def _terms(self, logits: Tensor, batch: Batch, weight: float) -> list[Term]:
        loss, targets, weights = self.config.loss, batch.targets, self._weights(logits)
        assert targets is not None
        if loss == "focal":
            return [Term("pixels", focal_sum(logits, targets, self.config.gamma, weights), weight)]
        terms = []
        if loss != "dice":
            near = None
            if loss == "boundary":
                near = boundary_weights(
                    targets, self.target.background, self.config.boundary_weight, self.config.boundary_px
                )
            terms.append(Term("pixels", pixel_cross_entropy_sum(logits, targets, weights, near), weight))
        if "dice" in loss:
            terms.append(Term("rows", dice_loss_sum(logits, targets, self.target.foreground), weight))
        return terms

    def _weights(self, like: Tensor) -> Tensor | None:
        return None if self.weights is None else self.weights.to(like)

    def answers(self, network: nn.Module, batch: Batch, views: int = 1) -> Iterator[Answer]:
        """Row by row the class of every real pixel, and its share; the mean of so many mirrored views of the image.

        Raises:
            InputError: there are not so many views.
        """
        if not 1 <= views <= len(VIEWS):
            raise InputError(f"an image has 1 to {len(VIEWS)} mirrored views, got {views}")
        assert isinstance(network, Fronted)
        assert isinstance(network.network, Whole)
        known: PixelNetwork = network.network.network
        sizes = real_sizes(batch)

        def shares(image: Tensor) -> Tensor:
            found = [torch.softmax(_exact(network(image.flip(axes))), 1).flip(axes) for axes in VIEWS[:views]]
            return found[0] if views == 1 else torch.stack(found).mean(0)

        return answers_of(shares, batch.inputs[0], sizes, known)

    def measure(self, network: nn.Module, batch: Batch, views: int = 1) -> dict[str, Tensor]:
        """Pixels of each class (B K): answered right, answered, and truly of it; and whether a row has any object."""
        assert batch.targets is not None, "rows without masks cannot be measured"
        found = []
        for row, answer in enumerate(self.answers(network, batch, views)):
            truth = batch.targets[row][tuple(slice(0, side) for side in answer.classes.shape)]
            found.append(region_counts(answer.classes[None], truth[None], len(self.target.classes))[0])
        counts = torch.stack(found)
        present = counts[:, 2, list(self.target.foreground)].sum(1) > 0
        return {"hits": counts[:, 0], "answered": counts[:, 1], "support": counts[:, 2], "present": present}

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``, by the mean of so many mirrored views."""
        return self.measure(network, batch, views)

    def score(self, rows: Rows) -> dict[str, float]:
        """dice, iou, accuracy, dice_per_image, iou_per_image, found, clean_kept."""
        scores = overlap_scores(rows["hits"], rows["answered"], rows["support"], self.target.foreground)
        return {name: float(value) for name, value in scores.items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        return overlap_scorer(rows["hits"], rows["answered"], rows["support"], self.target.foreground)

    def outputs(self) -> list[str]:
        """The classes."""
        return list(self.target.classes)

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Class indices, as they are."""
        return targets

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "prediction" (the classes found, the largest area first) and the share of pixels of each class."""
        columns: dict[str, list[Any]] = {"prediction": []}
        for answer in self.answers(network, batch):
            for name, value in self.areas(answer).items():
                columns.setdefault(name, []).append(value)
        return columns

    def areas(self, answer: Answer) -> dict[str, Any]:
        """One answer in words, and the share of pixels of each class."""
        pixels = torch.bincount(answer.classes.flatten(), minlength=len(self.target.classes)).tolist()
        found = sorted((k for k in self.target.foreground if pixels[k]), key=lambda k: -pixels[k])
        nothing = self.target.classes[self.target.background]
        shares = {f"share({name})": pixels[k] / max(1, sum(pixels)) for k, name in enumerate(self.target.classes)}
        return {"prediction": ", ".join(self.target.classes[k] for k in found) or nothing, **shares}


def real_sizes(batch: Batch) -> list[tuple[int, ...]]:
    """Of each row the sides of its real part, which begins at the first pixel of every axis."""
    image = batch.inputs[0]
    if batch.mask is None:
        return [tuple(image.shape[2:])] * len(image)
    axes = range(1, batch.mask.ndim)
    sides = [batch.mask.amax(dim=[other for other in axes if other != axis]).sum(1).tolist() for axis in axes]
    return [tuple(row) for row in zip(*sides, strict=True)]


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better, whatever the network computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _class_weights(config: SegmentConfig, target: MaskTarget) -> Tensor | None:
    if config.class_weight == "none":
        return None
    pixels = torch.tensor(target.pixels, dtype=torch.float64).clamp(min=1)
    return (pixels.sum() / (len(pixels) * pixels)).clamp(max=MOST_WEIGHT)
