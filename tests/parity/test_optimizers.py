"""Update rules against torch.optim, step by step."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from chainrule.functional import optimizers
from chainrule.functional.optimizers import OPTIMIZERS

LR = 0.05
SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
CASES: dict[str, tuple[Any, Any]] = {
    "sgd": (optimizers.sgd, partial(SGD)),
    "sgd with decay": (partial(optimizers.sgd, weight_decay=0.1), partial(SGD, weight_decay=0.1)),
    "momentum": (partial(optimizers.momentum, nesterov=False), partial(SGD, momentum=0.9)),
    "momentum with decay": (
        partial(optimizers.momentum, nesterov=False, momentum=0.5, weight_decay=0.1),
        partial(SGD, momentum=0.5, weight_decay=0.1),
    ),
    "nesterov": (optimizers.momentum, partial(SGD, momentum=0.9, nesterov=True)),
    "rmsprop": (optimizers.rmsprop, partial(RMSprop, alpha=0.999)),
    "rmsprop with decay": (
        partial(optimizers.rmsprop, beta2=0.9, weight_decay=0.1), partial(RMSprop, alpha=0.9, weight_decay=0.1),
    ),
    "adam": (optimizers.adam, partial(Adam)),
    "adam with decay": (
        partial(optimizers.adam, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.1),
        partial(Adam, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    ),
    "adamw": (optimizers.adamw, partial(AdamW, weight_decay=0.0)),
    "adamw with decay": (partial(optimizers.adamw, weight_decay=0.1), partial(AdamW, weight_decay=0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_twelve_steps(name: str) -> None:
    rule, reference = CASES[name]
    weight = torch.randn(4, 3, dtype=torch.float64)
    theirs = weight.clone().requires_grad_()
    optimizer = reference([theirs], lr=LR)
    state: Any = {}
    for step in range(12):
        gradient = torch.randn_like(weight) * 10 ** (step % 3 - 1)
        theirs.grad = gradient.clone()
        optimizer.step()
        weight, state = rule(weight, gradient, state, LR)
        torch.testing.assert_close(weight, theirs.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_changes_in_place(name: str) -> None:
    weight, gradient = torch.ones(2), torch.full((2,), 0.5)
    moved, state = OPTIMIZERS[name].step(weight, gradient, {}, LR)
    kept = {key: value.clone() for key, value in state.items()}
    OPTIMIZERS[name].step(moved, gradient, state, LR)
    assert weight.tolist() == [1.0, 1.0]
    assert gradient.tolist() == [0.5, 0.5]
    assert all(torch.equal(kept[key], state[key]) for key in kept)
    assert (moved < weight).all()
