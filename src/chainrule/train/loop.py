"""The training loop: a generator that yields one report per optimizer step.

Batch order is a function of (seed, epoch), every draw of (seed, step); so a run that was killed and resumed, or
evaluated more often, or saved at other moments, ends with the same weights to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.data.order import arranged, iterations_per_epoch, seed_of
from chainrule.data.samples import Batch, Samples
from chainrule.errors import NonFiniteError
from chainrule.functional.schedules import SCHEDULES
from chainrule.tasks.task import At, Task
from chainrule.train.arithmetic import Arithmetic, is_out_of_memory
from chainrule.train.config import TrainConfig
from chainrule.train.gradients import accumulate, first_bad_layer, gradients_of
from chainrule.train.measure import measure
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig
from chainrule.train.report import Report
from chainrule.train.run import Run
from chainrule.train.state import TrainState

Augment = Callable[[Batch, torch.Generator], Batch]
SAVE_SECONDS = 20.0  # between saves by the clock, at least
CHECK_EVERY = 50  # steps between looks at an accelerator's refused-step flag


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything the loop obeys. ``train.steps`` is the total, already counted."""

    train: TrainConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig


def train(
    task: Task, network: nn.Module, data: tuple[Samples, Samples], plan: Plan, run: Run, arithmetic: Arithmetic,
    augment: Augment | None = None,
) -> Iterator[Report]:  # fmt: skip
    """Fit ``network`` to the first samples, judged by the second; yield a report after each optimizer step.

    The caller prints, draws, streams, or stops by leaving its for-loop, which saves.

    Raises:
        NonFiniteError: the loss or a gradient is not a number; everything is saved as it was before that step.
    """
    config, samples = plan.train, data[0]
    steps = config.steps
    state = TrainState(network, plan.optimizer, config, arithmetic.asynchronous)
    state.restore(run)
    batches = Batches(samples, config, smallest_tail(network), arithmetic, augment)
    schedule, warmup = SCHEDULES[plan.schedule.name], plan.schedule.warmup_steps(steps)
    eval_every = config.eval_every or batches.per_epoch
    network.train()
    clock = SaveClock(config.save_every)
    try:
        while state.step < steps and not run.stopping and not 0 < config.patience <= state.stale:
            started = time.perf_counter()
            step, notes = state.step, list[str]()
            batch = batches.at(step)
            batched = time.perf_counter()
            at = At(step, steps, batches.seeded(step))
            learning_rate = state.learning_scale * schedule(step, steps, plan.optimizer.learning_rate, warmup)
            loss = _backward(task, batch, at, state, arithmetic, notes)
            derived = time.perf_counter()
            norm = gradients_of(state.optimizer, config.max_grad_norm)
            if not state.apply(loss, norm, learning_rate):
                _refuse(task, batch, at, state, config, learning_rate)
                continue
            state.count(started, batched, derived, time.perf_counter())
            epoch = step // batches.per_epoch + 1
            report = Report(state.step, steps, epoch, config.epochs, len(batch), learning_rate, loss, norm, notes=notes)
            if state.asynchronous and (state.step % CHECK_EVERY == 0 or state.step == steps):
                _refuse_late(task, batches, state, steps, config, learning_rate)
            if state.step % eval_every == 0 or state.step == steps:
                _evaluate(task, data[1], state, config, arithmetic, report)
            if clock.due(state.step):
                clock.timed(lambda: state.save(run))
            yield report
            if config.time_limit and state.seconds + state.valid_seconds > config.time_limit:
                run.out_of_time = True
                break
    except (GeneratorExit, NonFiniteError):
        state.save(run, last=True)
        raise
    state.save(run, last=True)


class SaveClock:
    """When to save: every so many steps, or by the clock, which may decide because saving changes no weight."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.wait = SAVE_SECONDS
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after this step."""
        return step % self.every == 0 if self.every else time.monotonic() - self.last > self.wait

    def timed(self, save: Callable[[], None]) -> None:
        """Save; the next one waits long enough that saving takes at most a fiftieth of the time."""
        started = time.monotonic()
        save()
        self.last = time.monotonic()
        self.wait = max(SAVE_SECONDS, 50 * (self.last - started))


class Batches:
    """The batch of any step: rows by (seed, epoch), augmentation by (seed, step)."""

    def __init__(
        self, samples: Samples, config: TrainConfig, min_tail: int, arithmetic: Arithmetic, augment: Augment | None
    ) -> None:
        self.samples, self.config, self.min_tail = samples, config, min_tail
        self.arithmetic, self.augment = arithmetic, augment
        self.per_epoch = iterations_per_epoch(len(samples), config.batch_size, min_tail)
        self.generator = torch.Generator(arithmetic.device)
        self.epoch = -1
        self.rows: list[Tensor] = []

    def at(self, step: int) -> Batch:
        """The augmented batch of ``step``, on the device."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self.rows = arranged(self.samples, self.config.batch_size, self.config.seed, epoch, self.min_tail)
        generator = self.seeded(step)
        batch = self.arithmetic.place_batch(self.samples.batch(self.rows[place], generator))
        return batch if self.augment is None else self.augment(batch, generator)

    def seeded(self, step: int) -> torch.Generator:
        """The step's generator; torch's own (dropout) is seeded with it."""
        seed = seed_of(self.config.seed, step)
        torch.default_generator.manual_seed(seed)
        if self.arithmetic.asynchronous:
            torch.manual_seed(seed)
        return self.generator.manual_seed(seed)


def smallest_tail(network: nn.Module) -> int:
    """Rows that the last batch of an epoch needs: two where batch norm has to see a spread."""
    return 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()) else 1


def _backward(task: Task, batch: Batch, at: At, state: TrainState, arithmetic: Arithmetic, notes: list[str]) -> Tensor:
    """The batch's loss and gradients; out of memory halves the micro-batch and starts the step again."""
    state.buffers.keep()
    while True:
        state.optimizer.zero_grad()
        try:
            return accumulate(task, state.network, batch, at, state.micro_batch, arithmetic)
        except (RuntimeError, MemoryError) as error:
            rows = state.micro_batch or len(batch)
            if not is_out_of_memory(error) or rows == 1 or task.unit == "batch":
                raise
        state.buffers.put_back()
        torch.manual_seed(at.generator.initial_seed())
        state.micro_batch = max(1, min(rows, len(batch)) // 2)
        notes.append(f"out of memory: micro-batches of {state.micro_batch} rows, the batch stays {len(batch)}")


def _evaluate(
    task: Task, samples: Samples, state: TrainState, config: TrainConfig, arithmetic: Arithmetic, report: Report
) -> None:
    started = time.perf_counter()
    metric, direction = task.monitor
    with state.average.applied():
        rows = measure(task.measure, state.network, samples, max(config.batch_size, 256), arithmetic)
        report.valid = task.score(rows)
        report.best = state.consider(report.valid[metric], direction)
    state.valid_seconds += time.perf_counter() - started


def _refuse(task: Task, batch: Batch, at: At, state: TrainState, config: TrainConfig, learning_rate: float) -> None:
    """Halve the learning rate where a retry is left, otherwise say what happened and stop."""
    state.refused += 1
    if state.refused <= config.retries:
        state.learning_scale /= 2
        return
    layer = first_bad_layer(task, state.network, batch, at)
    state.buffers.put_back()
    rows = ", ".join(str(int(row)) for row in batch.ids[:8])
    raise NonFiniteError(
        f"step {at.step + 1}: the loss or a gradient is not finite, first in {layer}, at learning rate "
        f"{learning_rate:.3g}, rows {rows}{', ...' if len(batch) > 8 else ''} of the train split. The step was not "
        "applied and the last good weights are kept. Lower --lr, look at these rows, or allow --set train.retries=1"
    )


def _refuse_late(
    task: Task, batches: Batches, state: TrainState, steps: int, config: TrainConfig, learning_rate: float
) -> None:
    step = state.refused_step()
    if step is not None:
        batch = batches.at(step)
        _refuse(task, batch, At(step, steps, batches.seeded(step)), state, config, learning_rate)
