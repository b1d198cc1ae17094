"""Optimizers over fused kernels: one call updates every parameter of a group.

The equations are in ``functional/optimizers.py`` and are held equal to these kernels by
tests/parity/test_fused_optimizer.py. ``torch.optim`` is not used because its first use imports the compiler
(1.7 s, more than a small run takes); the kernels are the ones it calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.functional.schedules import SCHEDULES
from chainrule.train.stages import stages

NAMES = ("sgd", "momentum", "rmsprop", "adam", "adamw")
FLAT_LIMIT = 1_000_000  # parameters; below it one flat buffer saves more calls than its extra pass costs


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which update rule, and its numbers."""

    name: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0  # adamw: decoupled; others: added to the gradient; matrices and kernels only
    momentum: float = 0.9  # momentum only, in Nesterov's form
    beta1: float = 0.9
    beta2: float = 0.999  # rmsprop: its smoothing constant
    eps: float = 1e-8
    layer_decay: float = 1.0  # factor on the rate for each stage further from the head; see train/stages.py

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InputError(f"optimizer.name is {self.name!r}; {nearest(self.name, NAMES)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"optimizer.learning_rate must be a number above 0, got {self.learning_rate}")
        if self.weight_decay < 0:
            raise InputError(f"optimizer.weight_decay must not be negative, got {self.weight_decay}")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"optimizer.layer_decay must be above 0 and at most 1, got {self.layer_decay}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves over the run."""

    name: str = "constant"
    warmup: float = 0.0  # share of all steps (below 1) or number of steps (1 and more) of linear warm-up

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise InputError(f"schedule.name is {self.name!r}; {nearest(self.name, tuple(SCHEDULES))}")
        if self.warmup < 0:
            raise InputError(f"schedule.warmup must not be negative, got {self.warmup}")

    def warmup_steps(self, steps: int) -> int:
        """The warm-up in steps."""
        return int(self.warmup if self.warmup >= 1 else self.warmup * steps)


@dataclass(slots=True)
class Group:
    """Parameters that share a decay and a learning-rate factor, with their gradients and moments."""

    parameters: list[Tensor]
    gradients: list[Tensor]  # flat: views of one buffer; otherwise refreshed before each update
    moments: dict[str, list[Tensor]]
    steps: list[Tensor]
    weight_decay: float
    rate: float  # factor on the learning rate
    flat: bool


class Optimizer:
    """Owns the moments, clears and measures gradients, applies one update.

    Small networks of matrices are laid into one flat buffer (parameters become views of it), so that a step is a
    handful of kernel calls whatever the number of layers.
    """

    def __init__(self, network: nn.Module, config: OptimizerConfig) -> None:
        self.config = config
        self.trained = [p for p in network.parameters() if p.requires_grad]
        size = sum(p.numel() for p in self.trained)
        flat = 0 < size <= FLAT_LIMIT and all(p.ndim <= 2 for p in self.trained)
        self.groups = [
            _group(members, decay, config.layer_decay**distance, flat, config)
            for distance, stage in enumerate(_by_distance(network, self.trained, config))
            for members, decay in _by_decay(stage, config.weight_decay)
        ]

    def zero_grad(self) -> None:
        """Clear the gradients; flat buffers are kept and zeroed."""
        if self.groups and self.groups[0].flat:
            for group in self.groups:
                group.gradients[0].zero_()
        else:
            for parameter in self.trained:
                parameter.grad = None
            for group in self.groups:
                group.gradients = []  # a reference kept here would hold the old gradients beside the new ones

    def gather(self) -> list[Tensor]:
        """The gradients of this step, flat or one per parameter; a parameter that got none counts as zero."""
        if self.groups and not self.groups[0].flat:
            for group in self.groups:
                group.gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in group.parameters]
        return [gradient for group in self.groups for gradient in group.gradients]

    def tensors(self) -> list[Tensor]:
        """What is trained: the flat buffers, or every parameter."""
        return [tensor for group in self.groups for tensor in group.parameters]

    def step(self, learning_rate: float, found_inf: Tensor | None = None) -> None:
        """Apply one update; where ``found_inf`` (a device flag) is 1 the kernels leave everything as it was."""
        rule = _RULES[self.config.name]
        with torch.no_grad():
            for group in self.groups:
                rule(group, learning_rate * group.rate, self.config, found_inf)

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by name."""
        tensors: dict[str, Tensor] = {}
        for g, group in enumerate(self.groups):
            for name, moments in {**group.moments, "step": group.steps}.items():
                tensors |= {f"{g}.{name}.{i}": moment for i, moment in enumerate(moments)}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put saved moments back, in place."""
        own = self.state()
        assert own.keys() == tensors.keys(), "the checkpoint's optimizer state has other tensors"
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _by_distance(network: nn.Module, trained: list[nn.Parameter], config: OptimizerConfig) -> list[list[nn.Parameter]]:
    """What shares a rate, the head first; everything where all rates are equal."""
    return [trained] if config.layer_decay == 1 else stages(network)[::-1]


def _by_decay(members: list[nn.Parameter], decay: float) -> Iterator[tuple[list[nn.Parameter], float]]:
    """Matrices and kernels with the decay, the rest without; parts that have no member are left out."""
    parts = ([p for p in members if decay and p.ndim >= 2], [p for p in members if not decay or p.ndim < 2])
    for part, own in zip(parts, (decay, 0.0), strict=True):
        if part:
            yield part, own


def _group(members: list[nn.Parameter], decay: float, rate: float, flat: bool, config: OptimizerConfig) -> Group:
    parameters, gradients = _flatten(members) if flat else (list[Tensor](members), list[Tensor]())
    names = {"sgd": (), "momentum": ("momentum",), "rmsprop": ("square",)}.get(config.name, ("first", "second"))
    moments = {name: [torch.zeros_like(p, requires_grad=False) for p in parameters] for name in names}
    counted = config.name in ("adam", "adamw")
    steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in parameters] if counted else []
    return Group(parameters, gradients, moments, steps, decay, rate, flat)


def _flatten(members: Sequence[nn.Parameter]) -> tuple[list[Tensor], list[Tensor]]:
    buffer = torch.cat([p.detach().reshape(-1) for p in members])
    gradient = torch.zeros_like(buffer)
    start = 0
    for parameter in members:
        part = slice(start, start + parameter.numel())
        parameter.data = buffer[part].view(parameter.shape)
        parameter.grad = gradient[part].view(parameter.shape)
        start = part.stop
    return [buffer], [gradient]


def _sgd(group: Group, learning_rate: float, config: OptimizerConfig, found_inf: Tensor | None) -> None:
    nesterov = config.name == "momentum"
    torch._fused_sgd_(
        group.parameters, group.gradients, group.moments.get("momentum", []),
        weight_decay=group.weight_decay, momentum=config.momentum if nesterov else 0.0, lr=learning_rate,
        dampening=0.0, nesterov=nesterov, maximize=False, is_first_step=False, found_inf=found_inf,
    )  # fmt: skip


def _adam(group: Group, learning_rate: float, config: OptimizerConfig, found_inf: Tensor | None) -> None:
    kernel = torch._fused_adamw_ if config.name == "adamw" else torch._fused_adam_
    for step in group.steps:
        step.add_(1.0 if found_inf is None else 1.0 - found_inf)
    kernel(
        group.parameters, group.gradients, group.moments["first"], group.moments["second"], [], group.steps,
        lr=learning_rate, beta1=config.beta1, beta2=config.beta2, weight_decay=group.weight_decay, eps=config.eps,
        amsgrad=False, maximize=False, found_inf=found_inf,
    )  # fmt: skip


def _rmsprop(group: Group, learning_rate: float, config: OptimizerConfig, found_inf: Tensor | None) -> None:
    for parameter, gradient, square in zip(group.parameters, group.gradients, group.moments["square"], strict=True):
        if group.weight_decay:
            gradient = gradient.add(parameter, alpha=group.weight_decay)
        if found_inf is not None:  # rmsprop has no fused kernel: keep both by selection
            kept = found_inf.bool()
            moved = square.mul(config.beta2).addcmul(gradient, gradient, value=1 - config.beta2)
            update = gradient / moved.sqrt().add_(config.eps)
            square.copy_(torch.where(kept, square, moved))
            parameter.copy_(torch.where(kept, parameter, parameter - learning_rate * update))
        else:
            square.mul_(config.beta2).addcmul_(gradient, gradient, value=1 - config.beta2)
            parameter.addcdiv_(gradient, square.sqrt().add_(config.eps), value=-learning_rate)


_RULES: dict[str, Callable[[Group, float, OptimizerConfig, Tensor | None], None]] = {
    "sgd": _sgd, "momentum": _sgd, "rmsprop": _rmsprop, "adam": _adam, "adamw": _adam,
}  # fmt: skip
