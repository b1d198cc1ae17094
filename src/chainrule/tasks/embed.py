"""Embedding: a place for each row among all others, near to what is alike.

With labels alike is what has the same one; without, two random versions of one row are.

Source: Deng et al. 2018, ArcFace, arXiv:1801.07698, equation 3; Hermans, Beyer, Leibe 2017, arXiv:1703.07737; Hadsell,
    Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100; Chen et al. 2020, SimCLR, arXiv:2002.05709, equation 1, section 4.2.
Differs: ArcFace's margin rises from 0: with all of it at the start, and few classes, everything moves to where the
    margin costs least, opposite to all centres, and stays there. What SimCLR takes from its encoder is here what the
    network's last layer gives, ``dims`` numbers. Places are of unit length for triplets and pairs as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import EmbeddingTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.losses import cross_entropy_sum
from chainrule.functional.metric_losses import arcface_logits, contrastive_sum, nt_xent_sum, triplet_sum
from chainrule.functional.metrics import Scorer, Weights
from chainrule.functional.retrieval import mean_of, precisions, versions
from chainrule.tasks.task import At, Headline, Loss, Rows, Term, total_of

LOSSES = ("auto", "arcface", "triplet", "contrastive", "nt_xent")
MARGINS = {"arcface": 0.3, "triplet": 0.3, "contrastive": 1.0, "nt_xent": 0.0}  # radians; lengths between unit vectors
NEAREST = 10  # rows that a question is answered with in the scores
PLACES = ("embeddings", "altered", "projected", "projected_altered")  # measured rows that are places


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How likeness is learned."""

    loss: str = "auto"  # arcface, triplet or contrastive by labels; nt_xent without; auto: arcface, or nt_xent
    dims: int = 128  # numbers in an embedding
    margin: float = 0.0  # radians (arcface), distance of unit vectors (triplet, contrastive); 0: the loss's usual one
    warmup: float = 0.3  # arcface: share of the steps over which the margin rises from 0
    scale: float = 16.0  # arcface: factor on the cosines
    temperature: float = 0.2  # nt_xent: divisor of the cosines

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"task.loss is {self.loss!r}; {nearest(self.loss, LOSSES)}")
        if self.dims < 2 or self.scale <= 0 or self.temperature <= 0 or self.margin < 0 or not 0 <= self.warmup <= 1:
            raise InputError(
                "task.dims must be 2 or more, task.scale and task.temperature positive, task.margin not negative and "
                f"task.warmup a share; got {self.dims}, {self.scale:g}, {self.temperature:g}, {self.margin:g} and "
                f"{self.warmup:g}"
            )


class Placed(nn.Module):
    """A network whose outputs are embeddings, with what its loss learns beside it."""

    def __init__(self, network: nn.Module, num_classes: int, dims: int, projects: bool = False) -> None:
        super().__init__()
        self.network = network
        if num_classes:
            self.centres = nn.Parameter(F.normalize(torch.randn(num_classes, dims)))
        if projects:
            self.head = nn.Sequential(nn.BatchNorm1d(dims), nn.ReLU(), nn.Linear(dims, dims))

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """Embeddings, of any length."""
        outputs: Tensor = self.network(*inputs)
        return outputs


class Embed:
    """Places that are learned by what is alike.

    ``altered`` gives another version of a batch's rows, the same every time; who puts task and data together sets it.
    """

    name = "embed"
    altered: Callable[[Batch], Batch]

    def __init__(self, config: EmbedConfig, target: EmbeddingTarget) -> None:
        self.config = config
        self.target = target
        self.loss_name = config.loss if config.loss != "auto" else "arcface" if target.classes else "nt_xent"
        if self.loss_name != "nt_xent" and not target.classes:
            raise InputError(
                f"task.loss={self.loss_name} needs labels of two classes or more, and there are none; leave it out"
            )
        self.margin = config.margin or MARGINS[self.loss_name]
        self.by_versions = self.loss_name == "nt_xent"
        self.unit: Literal["row", "group", "batch"] = "row" if self.loss_name == "arcface" else "batch"
        self.headline: Headline = (f"precision_at_{NEAREST}" if target.classes else "found_again", "max")
        self.monitor: Headline = ("nt_xent", "min") if self.by_versions else self.headline

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network with the centres of its classes, or with a projection."""
        centres = len(self.target.classes) if self.loss_name == "arcface" else 0
        return Placed(network, centres, self.config.dims, self.by_versions)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows, or pairs of them."""
        B = len(batch)
        return {"likeness": float(max(1, B * (B - 1) // 2) if self.loss_name == "contrastive" else B)}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """One term. For nt_xent the second half of the batch is another version of the first."""
        places = network(*batch.inputs)
        with torch.autocast(places.device.type, enabled=False):  # cosines need more than 8 bits
            places = places.to(torch.promote_types(places.dtype, torch.float32))
            return (Term("likeness", self._total(placed_of(network), places, batch, at)),)

    def _total(self, placed: Placed, places: Tensor, batch: Batch, at: At) -> Tensor:
        if self.by_versions:
            first, second = placed.head(places).chunk(2)
            return nt_xent_sum(first, second, self.config.temperature)
        assert batch.targets is not None
        if self.loss_name == "arcface":
            margin = self.margin * min(1.0, (at.step + 1) / max(1.0, self.config.warmup * at.steps))

            def total(targets: Tensor, rows: Tensor | None) -> Tensor:
                logits = arcface_logits(places, placed.centres, targets, margin, self.config.scale)
                return cross_entropy_sum(logits, targets, rows=rows)

            return total_of(batch, total)
        compare = triplet_sum if self.loss_name == "triplet" else contrastive_sum
        return compare(F.normalize(places), batch.targets, self.margin)

    def embed(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B D"]:
        """The places, of unit length."""
        return F.normalize(_places(network, batch))

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The place and class of each row; where versions are learned, also an altered version's, and projections."""
        here = _places(network, batch)
        rows = {"embeddings": F.normalize(here)}
        if self.by_versions:
            there, head = _places(network, self.altered(batch)), placed_of(network).head
            rows |= {
                "altered": F.normalize(there),
                "projected": F.normalize(head(here).float()),
                "projected_altered": F.normalize(head(there).float()),
            }
        return rows if batch.targets is None else rows | {"targets": batch.targets}

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def questions(self, rows: Rows) -> Rows:
        """What each row finds among the others, instead of its place: what the scores are means of."""
        if "embeddings" not in rows:
            return rows
        found: Rows = {}
        if "targets" in rows:
            found |= precisions(rows["embeddings"], rows["targets"], NEAREST)
        if "altered" in rows:
            here, there, z, z_altered = (rows[name] for name in PLACES)
            found |= versions(here, there, z, z_altered, self.config.temperature)
        if not found:
            raise InputError("there are no labels to judge what is alike by; give a source with labels")
        return found

    def score(self, rows: Rows) -> dict[str, float]:
        """precision_at_10, precision_at_1, map by labels; found_again, nt_xent, alignment, uniformity by versions."""
        found = {name: float(value) for name, value in self.scorer(rows)(None).items()}
        return {name: value for name, value in found.items() if np.isfinite(value) or name == self.headline[0]}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per question; the rows that answer stay the same."""
        asked = self.questions(rows)

        def scores(weights: Weights = None) -> dict[str, Any]:
            found = {name: mean_of(values, weights) for name, values in asked.items()}
            if "average_precision" in found:
                found["map"] = found.pop("average_precision")
            if "closeness" in found:
                found["uniformity"] = np.log(found.pop("closeness"))
            return found

        return scores

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Class indices."""
        return targets

    def outputs(self) -> list[str]:
        """The numbers of a place."""
        return [f"place_{number}" for number in range(1, self.config.dims + 1)]

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """A column for each number of a place."""
        columns = self.embed(network, batch).T.tolist()
        return dict(zip(self.outputs(), columns, strict=True))


def _places(network: nn.Module, batch: Batch) -> Tensor:
    """What the network gives, in float32 at least."""
    places: Tensor = network(*batch.inputs)
    return places.to(torch.promote_types(places.dtype, torch.float32))


def placed_of(network: nn.Module) -> Placed:
    """The network with what its loss learns, behind the front."""
    placed = network.network
    assert isinstance(placed, Placed)
    return placed
