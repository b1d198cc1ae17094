"""One step's gradients: micro-batches that add up to the batch, out-of-memory, and the non-finite guard."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.nn.carried import Carried
from chainrule.tasks.task import At, Task
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.optimizer import Optimizer


def accumulate(
    task: Task, network: nn.Module, batch: Batch, at: At, micro_batch: int, arithmetic: Arithmetic
) -> Tensor:
    """Backward passes of one batch in micro-batches; gives the batch's loss, detached.

    Every term is a sum divided by its count over the whole batch, so micro-batches add up to the batch exactly
    as far as the network treats rows alone (batch norm and dropout do not).
    """
    parts = list(batch.split(micro_batch)) if 0 < micro_batch < len(batch) else [batch]
    counts = [task.counts(part) for part in parts]
    loss: Tensor | None = None
    for part in parts:
        with arithmetic.autocast():
            terms = task.loss(network, part, at)
        objective: Tensor | None = None
        for term in terms:
            share = term.total / (sum(count[term.name] for count in counts) / term.weight)
            objective = share if objective is None else objective + share
        assert objective is not None, "a loss needs at least one term"
        torch.autograd.backward(objective)  # without a start: checking one that is given costs 90 us a step
        loss = objective.detach() if loss is None else loss + objective.detach()
    assert loss is not None
    return loss


def total_norm(gradients: list[Tensor]) -> Tensor:
    """Euclidean norm over all gradients."""
    norms = torch.stack(torch._foreach_norm(gradients)) if len(gradients) > 1 else gradients[0]
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


def clip(gradients: list[Tensor], norm: Tensor, limit: float) -> None:
    """Scale gradients down, in place, so that their norm is at most ``limit``."""
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))


def carriers(network: nn.Module) -> list[Carried]:
    """The modules whose state goes from step to step."""
    return [module for module in network.modules() if isinstance(module, Carried)]


class Buffers:
    """What a forward pass may move: batch norm's buffers, a carried state. A refused step leaves no trace in it."""

    def __init__(self, network: nn.Module) -> None:
        self.moving = [b for name, b in network.named_buffers() if not name.startswith("front.")]
        self.kept = [b.clone() for b in self.moving]
        self.carriers = carriers(network)
        self.carries = [module.carry() for module in self.carriers]

    def keep(self) -> None:
        """Remember everything as it is before a step."""
        if self.moving:
            torch._foreach_copy_(self.kept, self.moving)
        self.carries = [module.carry() for module in self.carriers]

    def put_back(self, bad: Tensor | None = None) -> None:
        """Undo the step's changes, everywhere or where the device flag ``bad`` is set."""
        for moving, kept in zip(self.moving, self.kept, strict=True):
            moving.copy_(kept if bad is None else torch.where(bad, kept, moving))
        for module, carry in zip(self.carriers, self.carries, strict=True):
            module.go_on(carry if bad is None else _unless(bad, module.carry(), carry))


def _unless(bad: Tensor, moved: dict[str, Tensor], kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """What moved, or where the device flag ``bad`` is set what was kept; zeros where that has another shape."""
    shapes = {name: x.shape for name, x in kept.items()}
    return {
        name: torch.where(bad, kept[name] if shapes.get(name) == x.shape else torch.zeros_like(x), x)
        for name, x in moved.items()
    }


def first_bad_layer(task: Task, network: nn.Module, batch: Batch, at: At) -> str:
    """The first module, in the order of the forward pass, whose output is not finite; "the backward pass" if none."""
    found: list[str] = []

    def watch(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            bad = any(isinstance(x, Tensor) and x.is_floating_point() and not x.isfinite().all() for x in outputs)
            if bad and not found:
                found.append(name)

        return hook

    inner = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(watch(name)) for name, module in inner]
    try:
        with torch.no_grad():
            task.loss(network, batch, at)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the backward pass"


def gradients_of(optimizer: Optimizer, max_norm: float) -> Tensor:
    """The norm of the gathered gradients, which are scaled down to ``max_norm`` where that is set."""
    gradients = optimizer.gather()
    norm = total_norm(gradients)
    if max_norm:
        clip(gradients, norm, max_norm)
    return norm
