"""Choose precision, memory format, compilation and threads by timed steps, and turn a time limit into steps.

Nothing is assumed of a machine: bfloat16 is several times faster on some processors and slower on others. The probe
runs only where the expected run is long enough to pay for it, on copies, so that it changes no weight and no stream.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from chainrule.data.samples import Samples
from chainrule.tasks.task import At, Task
from chainrule.train.arithmetic import CHANNELS_LAST, Arithmetic, available_threads, is_deep
from chainrule.train.config import TrainConfig
from chainrule.train.gradients import accumulate, gradients_of
from chainrule.train.loop import Augment, Batches, Plan, smallest_tail
from chainrule.train.measure import measure
from chainrule.train.state import TrainState

WORTHWHILE_S = 60.0  # expected training below this is not worth a probe of other arithmetics
COMPILE_S = 1200.0  # and below this not worth a compilation
PLANNED_SHARE = 0.88  # of a time limit; the rest is for steps that are slower than the few that were timed
CLEARLY = 0.97  # of the seconds of what was chosen so far, below which another way is taken
FAR_SLOWER = 2.0  # times the seconds in float32 from which bfloat16 is not tried
VALID_ROWS = 512
OVER_TIME = (nn.RNNBase, nn.Conv1d)  # layers that use their weights once for each step of a sequence
DIVISIBLE = 2e8  # operations of a step below which a second thread costs more than it brings


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run the steps."""

    precision: str = "float32"
    channels_last: str = "off"
    compile: str = "off"
    threads: int = 1

    def __str__(self) -> str:
        parts = [self.precision, f"{self.threads} thread{'s' * (self.threads > 1)}"]
        last = {"on": ["channels last"], "shallow": ["channels last where shallow"]}
        parts += last.get(self.channels_last, []) + ["compiled"] * (self.compile == "on")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The resolved settings, and what was timed in seconds per step."""

    config: TrainConfig
    timings: dict[str, float]


def probe(
    task: Task, network: nn.Module, data: tuple[Samples, Samples], plan: Plan, device: torch.device,
    augment: Augment | None = None,
) -> Probed:  # fmt: skip
    """Resolve every "auto" of ``plan.train``, and its steps.

    Settings that the user fixed are kept. With a time limit the steps are what fits into it, at most the epochs'.
    """
    config = plan.train
    per_epoch = Batches(data[0], config, smallest_tail(network), Arithmetic(device), None).per_epoch
    steps = config.steps or config.epochs * per_epoch
    timed = _Timer(task, network, data, plan, device, augment)
    chosen, timings = _first(config, device, timed.operations < DIVISIBLE), dict[str, float]()
    if timed.operations * steps < 1e9 * WORTHWHILE_S and not config.time_limit:
        return Probed(config=_resolved(config, chosen, steps), timings=timings)
    timings[str(chosen)] = timed(chosen)
    for candidate in _others(config, chosen, network, device, timings[str(chosen)] * steps):
        chosen = timed.better(candidate, chosen, timings)
    fused = any(isinstance(module, nn.RNNBase) for module in network.modules())  # no compiler betters their kernels
    if config.compile == "auto" and not fused and timings[str(chosen)] * steps > COMPILE_S:
        chosen = timed.better(replace(chosen, compile="on"), chosen, timings)
    if config.time_limit:
        cost = timings[str(chosen)] + timed.validation(chosen) / (config.eval_every or per_epoch)
        steps = max(1, min(steps, int(PLANNED_SHARE * config.time_limit / cost)))
    return Probed(config=_resolved(config, chosen, steps), timings=timings)


def _first(config: TrainConfig, device: torch.device, small: bool) -> Candidate:
    """What is taken without a probe; steps that are too small to divide get one thread."""
    return Candidate(
        precision="float32" if config.precision == "auto" else config.precision,
        channels_last="off" if config.channels_last == "auto" else config.channels_last,
        compile="on" if config.compile == "on" else "off",
        threads=config.threads or (available_threads() if device.type == "cpu" and not small else 1),
    )


def _others(
    config: TrainConfig, first: Candidate, network: nn.Module, device: torch.device, expected: float
) -> list[Candidate]:
    """What else may be faster, among the settings that were left open; nothing for short runs."""
    if expected < WORTHWHILE_S:
        return []
    images = config.channels_last == "auto" and any(p.ndim in CHANNELS_LAST for p in network.parameters())
    others = []
    if config.threads == 0 and first.threads > 1:
        others.append(replace(first, threads=1))
    if images:
        others.append(replace(first, channels_last="on"))
    if config.precision == "auto" and not half_is_slow(device):
        half = replace(first, precision="bfloat16", channels_last="on" if images else first.channels_last)
        others.append(half)
        if images and device.type == "cpu" and any(is_deep(module) for module in network.modules()):
            others.append(replace(half, channels_last="shallow"))
    return others


@cache
def half_is_slow(device: torch.device) -> bool:
    """Whether a small convolution in bfloat16 takes far longer than in float32, as on processors that only imitate it.

    There one step of a large network would take minutes, so it is not tried.
    """
    if device.type != "cpu":
        return False
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones((1, 32, 32, 32), dtype=dtype)
        kernel = torch.ones((32, 32, 3, 3), dtype=dtype)
        taken = []
        for _ in range(4):
            started = time.perf_counter()
            torch.nn.functional.conv2d(x, kernel, padding=1)
            taken.append(time.perf_counter() - started)
        seconds[dtype] = min(taken)
    return seconds[torch.bfloat16] > FAR_SLOWER * seconds[torch.float32]


def _resolved(config: TrainConfig, chosen: Candidate, steps: int) -> TrainConfig:
    return replace(
        config, precision=chosen.precision, channels_last=chosen.channels_last, compile=chosen.compile,
        threads=chosen.threads, steps=steps,
    )  # fmt: skip


class _Timer:
    """Seconds per step of a candidate, on a copy of the network, with the loop's own pieces."""

    def __init__(
        self, task: Task, network: nn.Module, data: tuple[Samples, Samples], plan: Plan, device: torch.device,
        augment: Augment | None,
    ) -> None:  # fmt: skip
        self.task, self.network, self.data, self.plan = task, network, data, plan
        self.device, self.augment = device, augment

        looked_up = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Embedding))
        weights = sum(p.numel() for p in network.parameters()) - looked_up
        over_time = any(isinstance(m, OVER_TIME) for m in network.modules())
        reuse = max((_reuse(x, over_time) for x in data[0].batch(torch.arange(1)).inputs), default=1)
        self.operations = 6.0 * weights * reuse * min(plan.train.batch_size, len(data[0]))  # of a step, estimated

    def better(self, candidate: Candidate, chosen: Candidate, timings: dict[str, float]) -> Candidate:
        """The candidate if it is clearly faster than what was chosen so far; its time joins the others."""
        timings[str(candidate)] = self(candidate)
        return candidate if timings[str(candidate)] < CLEARLY * timings[str(chosen)] else chosen

    def __call__(self, candidate: Candidate) -> float:
        """Median seconds of a few steps, after two that warm up; infinity where the candidate does not run."""
        try:
            return self._run(candidate)
        except Exception as error:  # a candidate that this machine cannot run is no error of the user's
            if candidate.compile == "on" or candidate.precision == "bfloat16":
                return math.inf
            raise error

    def _run(self, candidate: Candidate) -> float:
        torch.set_num_threads(candidate.threads)
        arithmetic = Arithmetic(self.device, candidate.precision, candidate.channels_last)
        network = arithmetic.place(copy.deepcopy(self.network))
        if candidate.compile == "on":
            network.compile()
        config = self.plan.train
        state = TrainState(network, self.plan.optimizer, config)
        batches = Batches(self.data[0], config, smallest_tail(network), arithmetic, self.augment)
        network.train()
        seconds: list[float] = []
        began = time.perf_counter()
        while len(seconds) < 7 and (len(seconds) < 3 or time.perf_counter() - began < 10):
            started = time.perf_counter()
            step = len(seconds)
            batch = batches.at(step % batches.per_epoch)
            state.optimizer.zero_grad()
            at = At(step, 1, batches.seeded(step))
            loss = accumulate(self.task, network, batch, at, config.micro_batch, arithmetic)
            state.apply(loss, gradients_of(state.optimizer, config.max_grad_norm), 1e-9)
            float(loss)
            seconds.append(time.perf_counter() - started)
        return sorted(seconds[2:])[len(seconds[2:]) // 2]

    def validation(self, candidate: Candidate) -> float:
        """Expected seconds of one pass over the validation split."""
        torch.set_num_threads(candidate.threads)
        arithmetic = Arithmetic(self.device, candidate.precision, candidate.channels_last)
        network = arithmetic.place(copy.deepcopy(self.network))
        rows = min(VALID_ROWS, len(self.data[1]))
        started = time.perf_counter()
        measure(self.task.measure, network, _First(self.data[1], rows), 256, arithmetic)
        return (time.perf_counter() - started) * len(self.data[1]) / rows


class _First:
    """The first rows of some samples."""

    def __init__(self, samples: Samples, rows: int) -> None:
        self.samples, self.rows = samples, rows
        self.ids = samples.ids[:rows]
        self.lengths = None if samples.lengths is None else samples.lengths[:rows]
        self.arrangement = samples.arrangement
        self.batch: Callable[..., Any] = samples.batch

    def __len__(self) -> int:
        return self.rows


def _reuse(inputs: torch.Tensor, over_time: bool) -> int:
    """How often a weight is used on one input: at each of its positions, for images at a quarter on average."""
    if inputs.ndim >= 4:
        return max(1, inputs[0, 0].numel() // 4)
    return inputs.shape[1] if over_time and inputs.ndim >= 2 else 1
