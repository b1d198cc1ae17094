"""One iteration of any network: each layer's input, output, gradient and update, by hooks and autograd."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.functional.losses import LOSSES
from chainrule.functional.optimizers import OPTIMIZERS
from chainrule.nn.recurrent import Recurrent
from chainrule.trace.notation import number
from chainrule.trace.tree import Check, Line, Section

FIRST = 4  # numbers shown of each tensor


@dataclass
class Call:
    """One call of one layer."""

    name: str
    module: nn.Module
    inputs: list[Tensor] = field(default_factory=list)
    output: Tensor | None = None
    gradient: Tensor | None = None  # dL/doutput


@dataclass(frozen=True)
class Layered:
    """The calls of one iteration in their order, and the parameters before and after."""

    calls: tuple[Call, ...]
    before: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    after: dict[str, Tensor]
    loss_before: float
    loss_after: float


def compute(
    network: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor, loss: str, optimizer: str, learning_rate: float
) -> Layered:
    """Run one iteration in training mode on a copy; the network itself stays as it is."""
    twin = copy.deepcopy(network).train()
    calls: list[Call] = []
    inner = {module.fused for module in twin.modules() if isinstance(module, Recurrent)}  # their stack is the layer
    watched = [(name, module) for name, module in twin.named_modules() if _is_layer(module) and module not in inner]
    handles = [handle for name, module in watched for handle in _watch(name, module, calls)]
    before = {name: p.detach().clone() for name, p in twin.named_parameters()}
    mean = _mean_loss(twin, inputs, targets, loss)
    twin.zero_grad()
    mean.backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    gradients = {name: None if p.grad is None else p.grad.detach() for name, p in twin.named_parameters()}
    update = OPTIMIZERS[optimizer].step
    after = {}
    for name, parameter in twin.named_parameters():
        slope = gradients[name]
        after[name] = before[name] if slope is None else update(before[name], slope, {}, learning_rate)[0]
        parameter.data = after[name]
    with torch.no_grad():
        again = _mean_loss(twin, inputs, targets, loss)
    return Layered(tuple(calls), before, gradients, after, float(mean.detach()), float(again))


def _mean_loss(network: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor, loss: str) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout falls alike before and after the update
        outputs = network(*inputs)
    if not isinstance(outputs, Tensor):
        raise InputError(f"trace needs a network whose output is one tensor of logits, got {type(outputs).__name__}")
    return LOSSES[loss].total(outputs, targets) / len(targets)


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, Recurrent):
        return True
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


def _watch(name: str, module: nn.Module, calls: list[Call]) -> list[Any]:
    """Record every call of a layer: copies of what came and went, and later the gradient."""

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        earlier = sum(call.module is module for call in calls)
        call = Call(f"{name or 'network'}{f' (call {earlier + 1})' if earlier else ''}", module)
        call.inputs = [x.detach().clone() for x in inputs if isinstance(x, Tensor)]
        calls.append(call)

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        call = next(call for call in reversed(calls) if call.module is module)
        result = next((x for x in (output if isinstance(output, tuple) else (output,)) if isinstance(x, Tensor)), None)
        if result is None:
            return
        call.output = result.detach().clone()
        if result.requires_grad:
            result.register_hook(partial(_keep_gradient, call))  # type: ignore[no-untyped-call]

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def _keep_gradient(call: Call, gradient: Tensor) -> None:
    call.gradient = gradient.detach().clone()


def sections(layered: Layered, rule: str) -> Iterator[Section]:
    """One section for each call of a layer, in the order of the forward pass."""
    updated: set[str] = set()
    for call in layered.calls:
        lines = [describe("input", x) for x in call.inputs]
        lines += [describe("output", call.output)] if call.output is not None else []
        lines += [describe("dL/doutput", call.gradient)] if call.gradient is not None else []
        path = call.name.split(" ")[0]
        for own, _ in call.module.named_parameters(recurse=isinstance(call.module, Recurrent)):
            name = own if path == "network" and own in layered.before else f"{path}.{own}"
            if name not in updated and name in layered.before:
                lines += _update(layered, name, own)
                updated.add(name)
        moved = any(line.symbol.endswith(" new") for line in lines)
        yield Section(f"{call.name}: {type(call.module).__name__}", rule if moved else "", tuple(lines))
    rest = [name for name in layered.before if name not in updated]
    if rest:
        lines = [line for name in rest for line in _update(layered, name, name)]
        yield Section("Weights that no layer above owns", rule, tuple(lines))


def _update(layered: Layered, name: str, own: str) -> Iterator[Line]:
    yield describe(own, layered.before[name])
    slope = layered.gradients[name]
    if slope is None:
        yield Line(f"dL/d{own}", note="none: the loss does not depend on it")
    else:
        yield describe(f"dL/d{own}", slope)
        yield describe(f"{own} new", layered.after[name])


def describe(symbol: str, tensor: Tensor) -> Line:
    """Shape, spread and first numbers of a tensor."""
    numbers = tensor.detach().double().flatten()
    shape = " x ".join(map(str, tensor.shape)) or "one number"
    if not len(numbers):
        return Line(symbol, note=f"{shape}: empty")
    spread = number(float(numbers.std(correction=0)))
    text = f"mean {number(float(numbers.mean()))}, std {spread}, "
    text += f"min {number(float(numbers.min()))}, max {number(float(numbers.max()))}"
    first = ", ".join(number(float(value)) for value in numbers[:FIRST])
    return Line(symbol, numbers=f"{text}; first {first}", note=shape)


def check(layered: Layered, learning_rate: float) -> tuple[Check, ...]:
    """How far the loss fell, beside what its gradient foretells for a small step of plain gradient descent."""
    slopes = [slope for slope in layered.gradients.values() if slope is not None]
    foretold = learning_rate * sum(float(slope.double().square().sum()) for slope in slopes)
    fell = layered.loss_before - layered.loss_after
    text = f"the loss fell by {number(fell)}; lr * sum (dL/dw)^2 foretells {number(foretold)} to first order"
    return (Check(text, abs(fell - foretold)),)
