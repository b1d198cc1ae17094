"""The rules by which a gradient changes a weight, as equations: the slow, readable twins of ``train/optimizer.py``.

Each rule takes a weight w, its gradient g and the state it carried, {} before the first step; it gives the new weight
and the new state and changes nothing in place. A weight decay c adds c w to the gradient; AdamW alone takes it off the
weight instead.

Source: momentum: Sutskever et al. 2013; RMSprop: Hinton 2012, Coursera lecture 6e; Adam: arXiv:1412.6980; AdamW:
arXiv:1711.05101.
Reference: torch.optim, compared step by step in tests/parity/test_optimizers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def sgd(
    weight: Tensor, gradient: Tensor, state: State, learning_rate: float, *, weight_decay: float = 0.0
) -> tuple[Tensor, State]:
    """w <- w - lr g.

    Example:
        >>> sgd(torch.tensor(1.0), torch.tensor(0.5), {}, 0.01)[0]
        tensor(0.9950)
    """
    return weight - learning_rate * (gradient + weight_decay * weight), {}


def momentum(
    weight: Tensor, gradient: Tensor, state: State, learning_rate: float,
    *, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = True,
) -> tuple[Tensor, State]:  # fmt: skip
    """v <- m v + g, w <- w - lr v; in Nesterov's form w <- w - lr (g + m v)."""
    gradient = gradient + weight_decay * weight
    velocity = momentum * state["velocity"] + gradient if state else gradient
    direction = gradient + momentum * velocity if nesterov else velocity
    return weight - learning_rate * direction, {"velocity": velocity}


def rmsprop(
    weight: Tensor, gradient: Tensor, state: State, learning_rate: float,
    *, weight_decay: float = 0.0, beta2: float = 0.999, eps: float = 1e-8,
) -> tuple[Tensor, State]:  # fmt: skip
    """s <- b2 s + (1 - b2) g^2, w <- w - lr g / (sqrt(s) + eps)."""
    gradient = gradient + weight_decay * weight
    square = (beta2 * state["square"] if state else 0.0) + (1 - beta2) * gradient**2
    return weight - learning_rate * gradient / (square.sqrt() + eps), {"square": square}


def adam(
    weight: Tensor, gradient: Tensor, state: State, learning_rate: float,
    *, weight_decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
) -> tuple[Tensor, State]:  # fmt: skip
    """m <- b1 m + (1 - b1) g, s <- b2 s + (1 - b2) g^2, w <- w - lr (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps).

    The divisions by 1 - b^t undo that both averages start at zero; t counts the steps from 1.
    """
    gradient = gradient + weight_decay * weight
    zero = torch.zeros_like(gradient)
    step = state.get("step", torch.zeros((), dtype=torch.float64)) + 1
    first = beta1 * state.get("first", zero) + (1 - beta1) * gradient
    square = beta2 * state.get("second", zero) + (1 - beta2) * gradient**2
    direction = (first / (1 - beta1**step)) / ((square / (1 - beta2**step)).sqrt() + eps)
    return weight - learning_rate * direction, {"step": step, "first": first, "second": square}


def adamw(
    weight: Tensor, gradient: Tensor, state: State, learning_rate: float,
    *, weight_decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
) -> tuple[Tensor, State]:  # fmt: skip
    """w <- w - lr c w first, then Adam's step with the plain gradient."""
    smaller = weight - learning_rate * weight_decay * weight
    return adam(smaller, gradient, state, learning_rate, beta1=beta1, beta2=beta2, eps=eps)


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """One step of an optimizer, and its equation as text."""

    step: Callable[[Tensor, Tensor, State, float], tuple[Tensor, State]]
    formula: str


OPTIMIZERS: dict[str, UpdateRule] = {
    "sgd": UpdateRule(sgd, "w_new = w_old - lr * dL/dw"),
    "momentum": UpdateRule(momentum, "v = 0.9 v + dL/dw; w_new = w_old - lr * (dL/dw + 0.9 v)"),
    "rmsprop": UpdateRule(
        rmsprop, "s = 0.999 s + 0.001 (dL/dw)^2; w_new = w_old - lr * dL/dw / (sqrt(s) + 1e-8)"
    ),
    "adam": UpdateRule(
        adam,
        "m = 0.9 m + 0.1 dL/dw; s = 0.999 s + 0.001 (dL/dw)^2; "
        "w_new = w_old - lr * (m / (1 - 0.9^t)) / (sqrt(s / (1 - 0.999^t)) + 1e-8)",
    ),
    "adamw": UpdateRule(
        adamw,
        "m = 0.9 m + 0.1 dL/dw; s = 0.999 s + 0.001 (dL/dw)^2; "
        "w_new = w_old - lr * decay * w_old - lr * (m / (1 - 0.9^t)) / (sqrt(s / (1 - 0.999^t)) + 1e-8)",
    ),
}  # fmt: skip
