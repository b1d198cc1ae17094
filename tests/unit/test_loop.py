"""The loop against a hand-written one, micro-batches, the non-finite guard, memory, stopping, the clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.toy import CPU, equal, fit, network, plan, samples, task, weights
from torch import nn

from chainrule.data.order import order, seed_of
from chainrule.data.samples import TensorSamples
from chainrule.errors import NonFiniteError
from chainrule.functional.schedules import SCHEDULES
from chainrule.train import loop
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.loop import Plan, train
from chainrule.train.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run.create(tmp_path / "run")
    yield run
    run.close()


def raw_torch(net: nn.Module, obeyed: Plan, data: TensorSamples) -> list[float]:
    """Twenty lines of plain torch with the same arithmetic."""
    x, y = data.inputs[0], data.targets
    assert y is not None
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": obeyed.optimizer.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=0.01,
        fused=True,
    )
    losses = []
    for step in range(obeyed.train.steps):
        epoch, place = divmod(step, 10)
        rows = order(len(x), obeyed.train.batch_size, obeyed.train.seed, epoch)[place]
        torch.manual_seed(seed_of(obeyed.train.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULES[obeyed.schedule.name](step, obeyed.train.steps, 0.01, 0)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows]), y[rows], reduction="sum") / len(rows)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["dropout", "norm", "image"])
def test_equals_a_raw_torch_loop_bit_for_bit(tmp_path: Path, kind: str) -> None:
    ours, theirs = network(kind), network(kind)
    theirs.train()
    losses = [report.loss for report in fit(tmp_path / "run", ours, plan())]
    assert losses == raw_torch(theirs, plan(), samples())
    assert equal(weights(ours), weights(theirs))


def test_iterations_per_epoch_are_the_textbooks(tmp_path: Path) -> None:
    data = samples(rows=1000)
    reports = fit(tmp_path / "run", network("plain"), plan(epochs=10, steps=100, batch_size=100), data=data)
    assert len(reports) == 100
    assert [str(r) for r in reports][26] == "epoch 3/10 · iteration 27/100"
    assert {r.rows for r in reports} == {100}


def test_a_short_last_batch_is_trained_on(tmp_path: Path) -> None:
    reports = fit(tmp_path / "run", network("plain"), plan(epochs=1, steps=4, batch_size=20))
    assert [r.rows for r in reports] == [20, 20, 20, 10]


@pytest.mark.parametrize("micro_batch", [1, 3, 7])
def test_micro_batches_equal_the_batch(tmp_path: Path, micro_batch: int) -> None:
    whole, parts = network("plain"), network("plain")
    a = fit(tmp_path / "a", whole, plan())
    b = fit(tmp_path / "b", parts, plan(micro_batch=micro_batch))
    for x, y in zip(a, b, strict=True):
        assert x.loss == pytest.approx(y.loss, rel=1e-4)  # float32 sums in another order, over 30 Adam steps
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(parts)[name], rtol=1e-3, atol=1e-4)


def test_weighted_micro_batches_use_the_whole_batchs_count(tmp_path: Path) -> None:
    from chainrule.tasks.task import At
    from chainrule.train.gradients import accumulate

    data, judged = samples(), task(class_weight="balanced")
    at = At(0, 1, torch.Generator())
    gradients = []
    for micro_batch in (0, 2):
        net = network("plain")
        batch = data.batch(torch.arange(9))
        accumulate(judged, net, batch, at, micro_batch, CPU)
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)  # float32 sums in another order


class Poisoned(nn.Module):
    """Gives NaN for one row of the data from a certain call on."""

    def __init__(self, row: float, calls: int) -> None:
        super().__init__()
        self.row, self.calls, self.norm = row, calls, nn.BatchNorm1d(6)

    def forward(self, x: Any) -> Any:
        self.calls -= self.training
        x = self.norm(x)
        return x * math.nan if self.training and self.calls < 0 else x


def test_a_non_finite_step_is_never_applied(tmp_path: Path, run: Run) -> None:
    net = network("plain")
    net.network = nn.Sequential(Poisoned(0, calls=12), *net.network)
    before = {}
    steps = train(task(), net, (samples(), samples()), plan(), run, CPU)
    for _ in range(12):
        next(steps)
        before = weights(net)
    with pytest.raises(NonFiniteError, match=r"step 13.*first in network\.0.*learning rate.*rows"):
        next(steps)
    assert equal(before, weights(net))
    saved = json.loads((tmp_path / "run/checkpoints/step-00000012/state.json").read_text())
    assert saved["step"] == 12


@pytest.fixture
def asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of an accelerator, where no step may wait for a value, taken on the CPU."""
    monkeypatch.setattr(Arithmetic, "asynchronous", property(lambda self: True))
    monkeypatch.setattr(loop, "CHECK_EVERY", 5)


@pytest.mark.usefixtures("asynchronous")
@pytest.mark.parametrize("kind", ["plain", "norm", "image"])
def test_the_path_of_an_accelerator_gives_the_same_weights(tmp_path: Path, kind: str) -> None:
    late, plain = network(kind), network(kind)
    fit(tmp_path / "late", late, plan())
    plain.train()
    raw_torch(plain, plan(), samples())
    assert equal(weights(late), weights(plain))


@pytest.mark.usefixtures("asynchronous")
def test_an_accelerator_refuses_a_bad_step_and_says_so_later(run: Run) -> None:
    net = network("plain")
    net.network = nn.Sequential(Poisoned(0, calls=12), *net.network)
    steps = train(task(), net, (samples(), samples()), plan(), run, CPU)
    seen = {next(steps).step: weights(net) for _ in range(14)}
    with pytest.raises(NonFiniteError, match=r"step 13.*first in network\.0"):
        next(steps)  # the look after step 15 finds step 13
    assert equal(seen[12], weights(net))  # later steps met NaN as well: nothing was applied since
    assert all(tensor.isfinite().all() for tensor in weights(net).values())


def test_a_retry_halves_the_learning_rate(run: Run) -> None:
    net = network("plain")

    class Once(nn.Module):
        calls = 0

        def forward(self, x: Any) -> Any:
            Once.calls += self.training
            return x * math.nan if self.training and Once.calls == 13 else x

    net.network = nn.Sequential(Once(), *net.network)
    obeyed = plan(retries=1)
    reports = list(train(task(), net, (samples(), samples()), obeyed, run, CPU))
    assert [r.step for r in reports] == list(range(1, 31))
    planned = SCHEDULES["cosine"](12, 30, 0.01, 0)
    assert reports[12].learning_rate == pytest.approx(planned / 2)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(tmp_path: Path, run: Run) -> None:
    whole, small = network("plain"), network("plain")
    fit(tmp_path / "whole", whole, plan())

    class Limited(nn.Module):
        def forward(self, x: Any) -> Any:
            if self.training and len(x) > 3:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
            return x

    small.network = nn.Sequential(Limited(), *small.network)
    reports = list(train(task(), small, (samples(), samples()), plan(), run, CPU))
    assert "micro-batches of 3 rows, the batch stays 7" in reports[0].notes[0]
    assert all(not r.notes for r in reports[1:])
    assert {r.rows for r in reports} == {7}
    trained = list(weights(small).values())
    for a, b in zip(weights(whole).values(), trained, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_another_runtime_error_is_not_taken_for_memory(run: Run) -> None:
    net = network("plain")
    net.network = nn.Sequential(nn.Linear(5, 5), *net.network)
    with pytest.raises(RuntimeError, match="shapes"):
        list(train(task(), net, (samples(), samples()), plan(), run, CPU))


def test_request_stop_finishes_the_step_and_saves(tmp_path: Path, run: Run) -> None:
    steps = []
    for report in train(task(), network(), (samples(), samples()), plan(save_every=0), run, CPU):
        steps.append(report.step)
        if report.step == 6:
            run.request_stop()
    assert steps[-1] == 6
    assert (tmp_path / "run/checkpoints/step-00000006").is_dir()


def test_the_clock_is_a_guard(tmp_path: Path, run: Run) -> None:
    obeyed = plan(epochs=100_000, steps=1_000_000, time_limit=0.3)
    reports = list(train(task(), network("plain"), (samples(), samples()), obeyed, run, CPU))
    assert run.out_of_time
    assert 1 < len(reports) < 100_000
    assert (tmp_path / "run/model.safetensors").is_file()


def test_saves_come_by_step_or_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    assert [step for step in range(1, 10) if loop.SaveClock(4).due(step)] == [4, 8]
    clock = loop.SaveClock(0)
    assert not clock.due(1)
    now[0] = 21.0
    assert clock.due(1)

    def slow() -> None:
        now[0] += 3.0

    clock.timed(slow)
    now[0] += 149.0
    assert not clock.due(2)  # a save of 3 s comes every 150 s at most
    now[0] += 2.0
    assert clock.due(2)


def test_averaged_weights_are_the_ones_judged_and_kept(tmp_path: Path) -> None:
    from chainrule.train.checkpoint import read_tensors

    net = network("plain")
    fit(tmp_path / "run", net, plan(average=0.5, steps=10, epochs=1))
    best = read_tensors(tmp_path / "run/model.safetensors")
    assert not equal(best, weights(net))


def test_overfits_one_batch(tmp_path: Path) -> None:
    data = samples(rows=7)
    reports = fit(tmp_path / "run", network("plain"), plan(epochs=300, steps=300, eval_every=300), data=data)
    assert reports[0].loss == pytest.approx(math.log(3), abs=0.4)
    assert reports[-1].loss < 0.02
