"""Verification: whether two photos show one person, also where nobody has seen that person before.

The people of the train split are examples of what tells people apart. The loss compares what the network gives; but a
photo's place is what its last layer reads, since that layer learns to tell only these people, beside the stage below,
averaged over 4 x 4 parts of the photo: fine features, and where they are. Both count alike. It is the mean direction of
the photo's and of its mirror image's, and the likeness of two photos is the cosine between their places.

Source: Deng, Guo, Xue, Zafeiriou 2018, ArcFace, arXiv:1801.07698; two stages together: Sun, Wang, Tang 2014, "Deep
    learning face representation from predicting 10,000 classes" (CVPR), section 3.1; the mirrored photo: Parkhi,
    Vedaldi, Zisserman 2015, "Deep face recognition" (BMVC), as averaging over views; what stands before the last layer
    serves better elsewhere: Chen et al. 2020, arXiv:2002.05709, section 4.2.
Differs: see tasks/embed.py, whose losses these are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import EmbeddingTarget, IdentityTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.metrics import Scorer
from chainrule.functional.verification import Operating, operating_point, pairs_of, verification_scorer
from chainrule.nn.featured import Featured, Staged
from chainrule.tasks.costs import seen_by
from chainrule.tasks.embed import Embed, EmbedConfig, placed_of
from chainrule.tasks.task import At, Headline, Loss, Rows, Task

LOSSES = ("arcface", "triplet", "contrastive")
MARGIN = 0.5  # radians, of arcface, as its authors have it
GRID = 4  # parts of a photo, down and across, of which the last stage but one is averaged


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """How people are told apart, and from which likeness on two photos are of one person."""

    loss: str = "arcface"  # arcface, triplet or contrastive
    dims: int = 128  # numbers in an embedding
    margin: float = 0.0  # radians (arcface), or distance of unit vectors (triplet, contrastive); 0: the usual one
    scale: float = 32.0  # arcface: factor on the cosines
    false_accept: float = 0.01  # share of pairs of two validation people that the threshold may take for one person

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"task.loss is {self.loss!r}; {nearest(self.loss, LOSSES)}")
        if not 0 <= self.false_accept < 1:
            raise InputError(f"task.false_accept is a share from 0 to below 1, got {self.false_accept}")
        self.likeness()

    def likeness(self) -> EmbedConfig:
        """The same as settings of an embedding."""
        margin = self.margin or (MARGIN if self.loss == "arcface" else 0.0)
        return EmbedConfig(loss=self.loss, dims=self.dims, margin=margin, scale=self.scale)


class Verify:
    """Embeddings of people, judged on people who were not learned from."""

    name = "verify"
    headline: Headline = ("eer", "min")
    monitor: Headline = ("decidability", "max")  # few people soon have an equal error rate of 0; this still tells

    def __init__(self, config: VerifyConfig, target: IdentityTarget) -> None:
        self.config = config
        self.target = target
        self.places = Embed(config.likeness(), EmbeddingTarget(classes=target.classes, counts=target.counts))
        self.unit = self.places.unit

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network with the centres of the people it learns from."""
        return self.places.wrap(network, schema)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows, or pairs of them."""
        return self.places.counts(batch)

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """One term."""
        return self.places.loss(network, batch, at)

    def embed(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B D"]:
        """The places, of unit length: of each photo and its mirror image together."""
        image, *others = batch.inputs
        mirrored = replace(batch, inputs=(image.flip(-1), *others))
        return F.normalize(_directions(network, batch) + _directions(network, mirrored))

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The place of each photo and who it is."""
        rows = {"embeddings": self.embed(network, batch)}
        return rows if batch.targets is None else rows | {"targets": batch.targets}

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """eer, roc_auc, true_accept_at_1, identification, decidability; what these people do not define is left out."""
        found = {name: float(value) for name, value in self.scorer(rows)(None).items()}
        return {name: value for name, value in found.items() if np.isfinite(value) or name == self.headline[0]}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per photo, equal within a person."""
        return verification_scorer(rows["embeddings"], rows["targets"])

    def operating_point(self, rows: Rows) -> Operating:
        """The threshold at which these people are taken for each other as rarely as asked, and what it costs."""
        return operating_point(pairs_of(rows["embeddings"], rows["targets"]), self.config.false_accept)

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Indices of people."""
        return targets

    def outputs(self) -> list[str]:
        """The numbers of a place."""
        return self.places.outputs()

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """A column for each number of a place."""
        columns = self.embed(network, batch).T.tolist()
        return dict(zip(self.outputs(), columns, strict=True))


def _directions(network: nn.Module, batch: Batch) -> Float[Tensor, "B D"]:
    """The place of each photo as it is, of unit length."""
    (image,), inner = seen_by(network, batch), placed_of(network).network
    if not isinstance(inner, Featured):
        return _unit(inner(image))
    places = _unit(inner.features(image))
    if not isinstance(inner, Staged):
        return places
    grid = _unit(F.adaptive_avg_pool2d(inner.maps(image)[-2], GRID).flatten(1))
    return F.normalize(torch.cat((places, grid), dim=1))


def _unit(places: Tensor) -> Tensor:
    return F.normalize(places.to(torch.promote_types(places.dtype, torch.float32)))


def comparing_within(task: Task) -> Embed | None:
    """What learns by comparing the rows of a batch with each other; None where each is learned from by itself."""
    places = task.places if isinstance(task, Verify) else task
    return places if isinstance(places, Embed) and places.unit == "batch" else None
