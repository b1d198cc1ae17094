"""What a training carries from step to step, by name: this and nothing else is saved and restored."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.train.average import Average
from chainrule.train.config import TrainConfig
from chainrule.train.gradients import Buffers
from chainrule.train.optimizer import Optimizer, OptimizerConfig
from chainrule.train.run import Run

COUNTERS = (
    "best_step", "best_value", "stale", "refused", "learning_scale", "micro_batch", "seconds", "batch_seconds",
    "update_seconds", "valid_seconds", "steps",
)  # fmt: skip


class TrainState:
    """Weights, moments, averages and counters of one training."""

    def __init__(
        self, network: nn.Module, optimizer: OptimizerConfig, config: TrainConfig, asynchronous: bool = False
    ) -> None:
        self.asynchronous = asynchronous
        self.network = network
        self.optimizer = Optimizer(network, optimizer)
        self.average = Average(self.optimizer.tensors(), config.average)
        self.buffers = Buffers(network)
        self.best: dict[str, Tensor] = {}  # weights of the best evaluation, on the CPU
        self.best_unsaved = False
        self.step = 0
        self.steps = config.steps  # planned in all
        self.best_step = 0
        self.best_value = math.nan
        self.stale = 0  # evaluations since the best one
        self.refused = 0  # non-finite steps that were not applied
        self.learning_scale = 1.0  # halved by each refused step where retries are allowed
        self.micro_batch = config.micro_batch
        self.seconds = 0.0  # the loop alone, of which
        self.batch_seconds = 0.0  # ... went into making batches
        self.update_seconds = 0.0  # ... and into updating the weights
        self.valid_seconds = 0.0
        device = next(network.parameters()).device
        self.first_bad = torch.full((), math.inf, device=device)  # first refused step not yet read from the device

    def apply(self, loss: Tensor, norm: Tensor, learning_rate: float) -> bool:
        """Update the weights unless loss or norm is not finite; on an accelerator the refusal is known only later.

        Returns False where the step was refused and that is known now.
        """
        if not self.asynchronous:
            if not math.isfinite(float(loss) + float(norm)):
                self.buffers.put_back()
                return False
            self.optimizer.step(learning_rate)
        else:
            bad = ~torch.isfinite(loss + norm)
            self.optimizer.step(learning_rate, bad.to(torch.float32))
            self.buffers.put_back(bad)
            self.first_bad = torch.minimum(self.first_bad, torch.where(bad, float(self.step), math.inf))
        self.step += 1
        self.average.update(self.step)
        return True

    def count(self, started: float, batched: float, derived: float, updated: float) -> None:
        """Take in when a step began, had its batch, had its gradients and had its update."""
        self.seconds += updated - started
        self.batch_seconds += batched - started
        self.update_seconds += updated - derived

    def refused_step(self) -> int | None:
        """The first step that an accelerator refused since this was last asked; waits for the device."""
        first = float(self.first_bad)
        if math.isinf(first):
            return None
        self.first_bad.fill_(math.inf)
        return int(first)

    def consider(self, value: float, direction: Literal["min", "max"]) -> bool:
        """Keep the weights if this evaluation is the best so far."""
        better = not math.isnan(value) and (
            math.isnan(self.best_value) or (value < self.best_value if direction == "min" else value > self.best_value)
        )
        if better or not self.best:
            self.best = {name: t.detach().cpu().clone() for name, t in self.network.state_dict().items()}
            self.best_value, self.best_step, self.stale, self.best_unsaved = value, self.step, 0, True
        else:
            self.stale += 1
        return better

    def save(self, run: Run, last: bool = False) -> None:
        """A checkpoint of everything, and the best weights where they are new.

        ``last``: the process is about to leave, so weights that were never evaluated are better than none.
        """
        if last and not self.best:
            self.consider(math.nan, "min")
        tensors = {"model": self.network.state_dict(), "optimizer": self.optimizer.state()}
        tensors |= {"average": self.average.state()} if self.average.decay else {}
        tensors |= {"best": self.best} if self.best else {}
        for place, module in enumerate(self.buffers.carriers):
            tensors |= {f"carry{place}": carry} if (carry := module.carry()) else {}
        state: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        state["best_value"] = None if math.isnan(self.best_value) else self.best_value
        run.save(self.step, tensors, state)
        if self.best and self.best_unsaved:
            run.save_best(self.best)
            self.best_unsaved = False

    def restore(self, run: Run) -> None:
        """Continue where the newest whole checkpoint of ``run`` stands; a fresh run gets one of its first weights."""
        checkpoint = run.restore()
        if checkpoint is None:
            self.save(run)
            return
        own, saved = self.network.state_dict(), checkpoint.tensors["model"]
        if {name: x.shape for name, x in own.items()} != {name: x.shape for name, x in saved.items()}:
            raise InputError("the checkpoint holds another network than the recipe builds; the run folder was changed")
        for name, tensor in saved.items():
            own[name].copy_(tensor)
        self.optimizer.load_state(checkpoint.tensors["optimizer"])
        if self.average.decay:
            self.average.load_state(checkpoint.tensors["average"])
        device = next(self.network.parameters()).device
        for place, module in enumerate(self.buffers.carriers):
            carry = checkpoint.tensors.get(f"carry{place}", {})
            module.go_on({name: x.to(device) for name, x in carry.items()})
        self.best = checkpoint.tensors.get("best", {})
        self.best_unsaved = bool(self.best)
        self.step = checkpoint.step
        steps, state = self.steps, dict(checkpoint.state)
        state["best_value"] = math.nan if state["best_value"] is None else state["best_value"]
        for name, value in state.items():
            assert name in COUNTERS, f"the checkpoint holds an unknown counter {name!r}"
            setattr(self, name, value)
        if self.steps != steps:  # a run that is to go on longer gets its patience anew
            self.steps, self.stale = steps, 0
        run.forget_after(self.step)
