"""Schedules against torch.optim.lr_scheduler, over whole runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from chainrule.functional.schedules import SCHEDULES, warmup_factor

LR = 0.3


def rates(steps: int, build: Callable[[Any], Any]) -> list[float]:
    """The learning rates a torch scheduler gives to each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = build(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def ours(name: str, steps: int, warmup: int = 0) -> list[float]:
    return [SCHEDULES[name](step, steps, LR, warmup) for step in range(steps)]


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_without_warmup(steps: int) -> None:
    expected = {
        "constant": rates(steps, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        "linear": rates(steps, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=steps)),
        "cosine": rates(steps, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=steps)),
    }
    for name, values in expected.items():
        assert ours(name, steps) == pytest.approx(values, abs=1e-12), name


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (100, 0), (40, 10), (33, 7)])
def test_onecycle(steps: int, warmup: int) -> None:
    share = warmup / steps if warmup else 0.3
    exact = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(exact, LR, total_steps=steps, pct_start=share)
    expected = [exact.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        exact.step()
        scheduler.step()
        expected.append(exact.param_groups[0]["lr"])
    assert ours("onecycle", steps, warmup) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("warmup", [2, 5])
def test_warmup(warmup: int) -> None:
    expected = rates(20, lambda o: lr_scheduler.LinearLR(o, 1 / warmup, 1.0, total_iters=warmup - 1))
    assert [LR * warmup_factor(step, warmup) for step in range(20)] == pytest.approx(expected, abs=1e-12)
    assert ours("constant", 20, warmup) == pytest.approx(expected, abs=1e-12)


def test_warmup_then_cosine() -> None:
    expected = rates(
        30,
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.2, 1.0, total_iters=4), lr_scheduler.CosineAnnealingLR(o, T_max=25)],
            milestones=[5],
        ),
    )
    assert ours("cosine", 30, 5) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 1), (2, 2), (3, 5), (50, 49), (50, 50)])
def test_short_runs_move_at_every_step(name: str, steps: int, warmup: int) -> None:
    found = ours(name, steps, warmup)
    assert all(0 < rate <= LR for rate in found)


def test_a_run_of_one_step_takes_the_full_rate() -> None:
    assert [SCHEDULES[name](0, 1, LR, 0) for name in SCHEDULES] == [LR] * len(SCHEDULES)
