"""Losses of blended rows: gradients against finite differences, and linear in the shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from chainrule.functional.losses import (
    binary_cross_entropy_sum,
    cross_entropy_sum,
    probability_error_sum,
    squared_error_sum,
)

B, K = 5, 4
Loss = Callable[..., Tensor]


def cases() -> list[tuple[str, Loss, tuple[int, ...], int]]:
    """Name, loss of (outputs, targets, rows=), shape of the outputs, classes (0: numbers)."""
    weights = torch.tensor([0.4, 2.0, 1.3, 0.7], dtype=torch.float64)
    found: list[tuple[str, Loss, tuple[int, ...], int]] = []
    for members in ((), (3,)):
        shape = (B, *members)
        for smoothing in (0.0, 0.1):
            for w in (None, weights):
                words = f"{len(members)}-{smoothing}-{w is not None}"
                entropy = partial(cross_entropy_sum, weights=w, label_smoothing=smoothing)
                pair = None if w is None else w[:2]
                binary = partial(binary_cross_entropy_sum, weights=pair, label_smoothing=smoothing)
                found.append((f"entropy-{words}", entropy, (*shape, K), K))
                found.append((f"binary-{words}", binary, (*shape, 1), 2))
        found.append((f"probability-{len(members)}", probability_error_sum, (*shape, K), K))
        found.append((f"probability-one-logit-{len(members)}", probability_error_sum, (*shape, 1), 2))
        found.append((f"squared-{len(members)}", squared_error_sum, (*shape, 1), 0))
    return found


CASES = cases()


@pytest.mark.parametrize(("loss", "shape", "classes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_gradients_of_blended_rows(loss: Loss, shape: tuple[int, ...], classes: int) -> None:
    outputs = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    own, partner = (torch.randint(classes, (B,)) if classes else torch.randn(B, dtype=torch.float64) for _ in range(2))
    share = torch.rand(B, dtype=torch.float64)

    def blended(z: Tensor) -> Tensor:
        return loss(z, own, rows=share) + loss(z, partner, rows=1 - share)

    assert torch.autograd.gradcheck(blended, (outputs,))
    rowwise = [
        share[i] * loss(outputs[i : i + 1], own[i : i + 1])
        + (1 - share[i]) * loss(outputs[i : i + 1], partner[i : i + 1])
        for i in range(B)
    ]
    torch.testing.assert_close(blended(outputs), torch.stack(rowwise).sum(), rtol=1e-12, atol=0)
