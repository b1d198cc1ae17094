"""Feedforward and backpropagation of a multi-layer perceptron, derived by hand.

With h_0 = x, layer l of L adds up z_l = W_l h_(l-1) + b_l and hands on h_l = f(z_l); the last layer hands on z_L as it
is (the logits). Given dL/dz_L, the chain rule walks back from layer to layer:

    dL/dW_l = sum_rows dL/dz_l h_(l-1)^T    dL/db_l = sum_rows dL/dz_l
    dL/dh_(l-1) = W_l^T dL/dz_l             dL/dz_(l-1) = dL/dh_(l-1) * f'(z_(l-1))

``forward`` and ``backward`` write this out and keep every number; ``mlp`` computes the same as one autograd function.

Source: Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0, equations 1 to 7.
Reference: autograd, compared in tests/gradient/test_backprop.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from chainrule.functional.activations import ACTIVATIONS, KERNELS, Kernel


@dataclass(frozen=True, slots=True)
class Forward:
    """Every number of the forward pass: ``z[l]`` of each layer, and ``h[l]``, its input (``h[0]`` is x)."""

    z: tuple[Tensor, ...]
    h: tuple[Tensor, ...]

    @property
    def logits(self) -> Tensor:
        """What the last layer hands on."""
        return self.z[-1]


@dataclass(frozen=True, slots=True)
class Backward:
    """Every derivative of the loss, by layer in the order of the forward pass."""

    weights: tuple[Tensor, ...]  # dL/dW
    biases: tuple[Tensor, ...]  # dL/db
    z: tuple[Tensor, ...]  # dL/dz of each layer
    h: tuple[Tensor, ...]  # dL/dh: of each layer's input; h[0] is dL/dx


def forward(
    inputs: Float[Tensor, "B F"], weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> Forward:
    """The forward pass; weights are (out, in) as in torch.

    Example:
        >>> forward(torch.ones(1, 2), [torch.ones(1, 2)], [torch.ones(1)], "relu").logits
        tensor([[3.]])
    """
    z: list[Tensor] = []
    h = [inputs]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if layer:
            h.append(ACTIVATIONS[activation].value(z[-1]))
        z.append(h[-1] @ weight.T + bias)
    return Forward(tuple(z), tuple(h))


def backward(gradient: Float[Tensor, "B K"], weights: Sequence[Tensor], passed: Forward, activation: str) -> Backward:
    """The backward pass from ``gradient`` = dL/dlogits through what ``forward`` kept."""
    dz, dh = [gradient], [gradient @ weights[-1]]
    for layer in reversed(range(len(weights) - 1)):
        dz.append(ACTIVATIONS[activation].pull_back(dh[-1], passed.z[layer]))
        dh.append(dz[-1] @ weights[layer])
    dz.reverse()
    dh.reverse()
    dw = tuple(grad.T @ h for grad, h in zip(dz, passed.h, strict=True))
    return Backward(dw, tuple(grad.sum(0) for grad in dz), tuple(dz), tuple(dh))


def collapse(
    weights: Sequence[Float[Tensor, "to from"]], biases: Sequence[Float[Tensor, " to"]]
) -> tuple[Float[Tensor, "K F"], Float[Tensor, " K"]]:
    """The one layer that layers with identity activations are: W = W_L ... W_1, b = W_L (... b_1 ...) + b_L.

    Example:
        >>> collapse([torch.full((2, 1), 2.0), torch.ones(1, 2)], [torch.zeros(2), torch.ones(1)])
        (tensor([[4.]]), tensor([1.]))
    """
    product, shift = weights[0], biases[0]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        product, shift = weight @ product, weight @ shift + bias
    return product, shift


def mlp(inputs: Float[Tensor, "B F"], activation: str, parameters: Sequence[Tensor]) -> Float[Tensor, "B K"]:
    """The logits of ``forward``, as one autograd function; parameters are W_1, b_1, W_2, b_2, ..."""
    return _apply(KERNELS[activation], inputs, *parameters)


def plain_mlp(inputs: Float[Tensor, "*rows F"], kernel: Kernel, parameters: Sequence[Tensor]) -> Tensor:
    """The same logits by torch's layers, differentiable any number of times."""
    h = F.linear(inputs, parameters[0], parameters[1])
    for weight, bias in zip(parameters[2::2], parameters[3::2], strict=True):
        h = F.linear(kernel.value(h), weight, bias)
    return h


class _MLP(torch.autograd.Function):
    """``forward`` and ``backward`` above with as few kernel calls as they need."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, inputs: Tensor, *parameters: Tensor) -> Tensor:
        h, kept = inputs, [inputs]
        z = torch.addmm(parameters[1], inputs, parameters[0].t())
        for layer in range(2, len(parameters), 2):
            if kernel.in_place is None:
                h = kernel.value(z)
                kept.append(z)
            else:
                h = kernel.in_place(z)
            kept.append(h)
            z = torch.addmm(parameters[layer + 1], h, parameters[layer].t())
        ctx.save_for_backward(*parameters, *kept)
        ctx.kernel = kernel
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved, needs, kernel = ctx.saved_tensors, ctx.needs_input_grad, ctx.kernel
        count = len(needs) - 2
        if torch.is_grad_enabled():  # someone differentiates this derivative: let autograd see how it comes about
            return _differentiable(kernel, (saved[count], *saved[:count]), needs, gradients[0])
        stride = 2 if kernel.in_place is None else 1  # kept per layer: z and h, or h alone
        lowest = needs.index(True) // 2 - 1  # the layer below which nothing is asked for; -1: the inputs are
        result: list[Tensor | None] = [None] * len(needs)
        gradient, place = gradients[0], len(saved) - 1
        for weight in range(count - 2, -1, -2):
            if needs[weight + 2]:
                result[weight + 2] = gradient.t().mm(saved[place])
            if needs[weight + 3]:
                result[weight + 3] = gradient.sum(0)
            if weight // 2 <= lowest:
                break
            gradient = gradient.mm(saved[weight])
            if weight:
                gradient = kernel.backward(gradient, saved[place + 1 - stride])
                place -= stride
        if needs[1]:
            result[1] = gradient
        return tuple(result)


# the inherited C function: the wrapper that Function puts before it serves torch.func and costs 6 us a call
_apply: Callable[..., Tensor] = super(torch.autograd.Function, _MLP).apply


def _differentiable(
    kernel: Kernel, arguments: Sequence[Tensor], needs: Sequence[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    logits = plain_mlp(arguments[0], kernel, arguments[1:])
    wanted = [tensor for tensor, need in zip(arguments, needs[1:], strict=True) if need]
    found = iter(torch.autograd.grad(logits, wanted, gradient, create_graph=True))
    return (None, *(next(found) if need else None for need in needs[1:]))
