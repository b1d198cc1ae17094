"""The losses over pixels against differences of their values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from chainrule.functional.pixel_losses import IGNORE, dice_loss_sum, focal_sum, pixel_cross_entropy_sum

K = 3
WEIGHTS = torch.tensor([0.5, 2.0, 1.5], dtype=torch.float64)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": pixel_cross_entropy_sum,
    "weighted": lambda logits, targets: pixel_cross_entropy_sum(logits, targets, WEIGHTS),
    "pixel_weights": lambda logits, targets: pixel_cross_entropy_sum(
        logits, targets, WEIGHTS, torch.linspace(0, 3, targets.numel(), dtype=torch.float64).view_as(targets)
    ),
    "focal": focal_sum,
    "focal_half": lambda logits, targets: focal_sum(logits, targets, 0.5, WEIGHTS),
    "dice": lambda logits, targets: dice_loss_sum(logits, targets, (1, 2)),
    "dice_all": lambda logits, targets: dice_loss_sum(logits, targets, (0, 1, 2), smooth=0.1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [(5,), (3, 4), (2, 3, 2)])
def test_gradcheck(size: tuple[int, ...], name: str) -> None:
    logits = torch.randn(2, K, *size, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(K, (2, *size), dtype=torch.uint8)
    targets.flatten(1)[:, 1] = IGNORE
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, targets), (logits,))
