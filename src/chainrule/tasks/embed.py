"""Embedding: a place for each row among all others, near to what is alike.

With labels alike is what has the same one; without, two random versions of one row are.

Source: Deng et al. 2018, ArcFace, arXiv:1801.07698, equation 3; Chen et al. 2020, SimCLR, arXiv:2002.05709, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError, nearest

LOSSES = ("auto", "arcface", "triplet", "contrastive", "nt_xent")


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How likeness is learned."""

    loss: str = "auto"  # arcface, triplet or contrastive by labels; nt_xent without; auto: arcface, or nt_xent
    dims: int = 128  # numbers in an embedding
    margin: float = 0.3  # arcface: radians between a row and the border of its class; triplet, contrastive: see there
    scale: float = 16.0  # arcface: factor on the cosines
    temperature: float = 0.2  # nt_xent: divisor of the cosines

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"task.loss is {self.loss!r}; {nearest(self.loss, LOSSES)}")
        if self.dims < 2 or self.scale <= 0 or self.temperature <= 0 or self.margin < 0:
            raise InputError(
                "task.dims must be 2 or more, task.scale and task.temperature positive, task.margin not negative"
            )


class Placed(nn.Module):
    """A network whose outputs are embeddings, with what its loss learns beside it."""

    def __init__(self, network: nn.Module, num_classes: int, dims: int) -> None:
        super().__init__()
        self.network = network
        if num_classes:
            self.centres = nn.Parameter(F.normalize(torch.randn(num_classes, dims)))

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """Embeddings, of any length."""
        outputs: Tensor = self.network(*inputs)
        return outputs
