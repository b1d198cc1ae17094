"""The fused updates equal torch.optim's bit for bit, flat or per parameter, with and without decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from chainrule.errors import InputError
from chainrule.train.optimizer import Optimizer, OptimizerConfig


def net(kind: str) -> nn.Sequential:
    torch.manual_seed(3)
    if kind == "flat":
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    return nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 2), nn.Flatten(), nn.Linear(12, 2))


def groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


REFERENCES = {
    "sgd": lambda g: torch.optim.SGD(g, lr=0.05, fused=True),
    "momentum": lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "rmsprop": lambda g: torch.optim.RMSprop(g, lr=0.05, alpha=0.999, eps=1e-8, foreach=False),
    "adam": lambda g: torch.optim.Adam(g, lr=0.05, fused=True),
    "adamw": lambda g: torch.optim.AdamW(g, lr=0.05, fused=True),
}


@pytest.mark.parametrize("kind", ["flat", "shaped"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_twenty_steps_equal_torch(name: str, decay: float, kind: str) -> None:
    ours, theirs = net(kind), net(kind)
    optimizer = Optimizer(ours, OptimizerConfig(name=name, learning_rate=0.05, weight_decay=decay))
    assert all(group.flat for group in optimizer.groups) == (kind == "flat")
    reference = REFERENCES[name](groups(theirs, decay))
    x = torch.randn(16, 5)
    for step in range(20):
        optimizer.zero_grad()
        reference.zero_grad()
        for network in (ours, theirs):
            (network(x) ** 2).mean().backward()
        optimizer.gather()
        optimizer.step(0.05)
        reference.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            # a flat buffer is cut into other vector lanes than single tensors: the last bit may round differently
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7, msg=f"step {step}")


@pytest.mark.parametrize("name", list(REFERENCES))
def test_a_flagged_step_leaves_everything_as_it_was(name: str) -> None:
    network = net("flat")
    optimizer = Optimizer(network, OptimizerConfig(name=name, learning_rate=0.05, weight_decay=0.1))
    for found_inf in (0.0, 1.0):
        optimizer.zero_grad()
        (network(torch.randn(4, 5)) ** 2).sum().backward()
        before = {n: t.clone() for n, t in {**network.state_dict(), **optimizer.state()}.items()}
        optimizer.gather()
        optimizer.step(0.05, torch.tensor(found_inf))
        after = {**network.state_dict(), **optimizer.state()}
        changed = any(not torch.equal(before[n], after[n]) for n in before)
        assert changed == (found_inf == 0.0)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="adamw"):
        OptimizerConfig(name="adamm")
