"""What the probe tries, and that compilation serves training alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chainrule.nn.fronted import Fronted
from chainrule.train import probe as room
from chainrule.train.config import TrainConfig
from chainrule.train.probe import Candidate, half_is_slow

CPU = torch.device("cpu")


class Halves(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x / 2,)


def tried(monkeypatch: pytest.MonkeyPatch, slow: bool, **settings: Any) -> list[str]:
    monkeypatch.setattr(room, "half_is_slow", lambda device: slow)
    network = nn.Conv2d(1, 1, 3)
    return [str(one) for one in room._others(TrainConfig(**settings), Candidate(threads=2), network, CPU, 1e4)]


def test_bfloat16_is_tried_only_where_it_is_not_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("bfloat16" in one for one in tried(monkeypatch, slow=False))
    assert not any("bfloat16" in one for one in tried(monkeypatch, slow=True))
    assert any("channels last" in one for one in tried(monkeypatch, slow=True))


def test_a_named_precision_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("bfloat16" in one for one in tried(monkeypatch, slow=False, precision="float32"))


def test_imitation_is_told_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    seconds = {torch.float32: 1.0, torch.bfloat16: 35.0}

    def convolution(x: Tensor, kernel: Tensor, padding: int) -> None:
        clock[0] += seconds[x.dtype]

    monkeypatch.setattr(room.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.nn.functional, "conv2d", convolution)
    half_is_slow.cache_clear()
    assert half_is_slow(CPU)
    half_is_slow.cache_clear()
    seconds[torch.bfloat16] = 0.5
    assert not half_is_slow(CPU)
    half_is_slow.cache_clear()


def test_only_training_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def fast(*inputs: Tensor) -> Tensor:
            calls.append("fast")
            return function(*inputs)

        return fast

    monkeypatch.setattr(torch, "compile", compiled)
    network = Fronted(Halves(), nn.Linear(2, 3))
    expected = network(torch.ones(1, 2))
    network.compile()
    assert torch.equal(network.train()(torch.ones(1, 2)), expected)
    assert calls == ["fast"]
    assert torch.equal(network.eval()(torch.ones(1, 2)), expected)
    assert calls == ["fast"]


def test_a_weight_of_a_recurrent_layer_counts_at_every_step() -> None:
    frames = torch.zeros(1, 96, 3)
    assert room._reuse(frames, over_time=True) == 96
    assert room._reuse(frames[0], over_time=False) == 1
