"""Losses of likeness against differences of their values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from chainrule.functional.losses import cross_entropy_sum
from chainrule.functional.metric_losses import arcface_logits, contrastive_sum, nt_xent_sum, triplet_sum

TARGETS = torch.tensor([0, 1, 1, 2, 0, 2])
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arcface": lambda x, c: cross_entropy_sum(arcface_logits(x, c, TARGETS, 0.3, 8.0), TARGETS),
    "arcface_wide": lambda x, c: cross_entropy_sum(arcface_logits(x, c, TARGETS, 2.0, 8.0), TARGETS),  # beyond pi
    "triplet": lambda x, c: triplet_sum(x, TARGETS, 0.7),
    "contrastive": lambda x, c: contrastive_sum(x, TARGETS, 3.0),
    "nt_xent": lambda x, c: nt_xent_sum(x[:3], x[3:], 0.3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    embeddings = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    centres = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    inputs = (embeddings, centres) if name.startswith("arcface") else (embeddings, centres.detach())
    assert torch.autograd.gradcheck(LOSSES[name], inputs)
    assert LOSSES[name](*inputs).item() > 0
