"""Activation functions and their derivatives, derived by hand.

A layer adds up z = sum_j w_j x_j + b and hands on h = f(z). Without a non-linear f, layers in a row are one layer.

Source: Goodfellow, Bengio, Courville 2016, Deep Learning, section 6.3; GELU: arXiv:1606.08415; SiLU: arXiv:1702.03118.
Reference: torch.nn.functional, values and autograd's derivatives compared in tests/parity/test_activations.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEAK = 0.01  # slope of the leaky ReLU below zero, as in Maas et al. 2013 and torch


def identity(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = z."""
    return z


def identity_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = 1."""
    return torch.ones_like(z)


def sigmoid(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = 1 / (1 + e^-z)."""
    return torch.sigmoid(z)


def sigmoid_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = f(z) (1 - f(z)) = f(z) f(-z); the second form loses no digits where f(z) is near 1."""
    return torch.sigmoid(z) * torch.sigmoid(-z)


def tanh(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = (e^z - e^-z) / (e^z + e^-z)."""
    return torch.tanh(z)


def tanh_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = 1 - f(z)^2."""
    return 1 - torch.tanh(z) ** 2


def relu(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = max(0, z); not clamp, whose derivative at the corner z = 0 is the right one."""
    return torch.where(z <= 0, torch.zeros_like(z), z)


def relu_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = 1 where z > 0, else 0; at the corner z = 0 the left one, 0, is taken."""
    return (z > 0).to(z.dtype)


def leaky_relu(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = z where z > 0, else 0.01 z."""
    return torch.where(z > 0, z, LEAK * z)


def leaky_relu_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = 1 where z > 0, else 0.01."""
    return torch.where(z > 0, torch.ones_like(z), torch.full_like(z, LEAK))


def gelu(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = z P(z), P the normal distribution function, (1 + erf(z / sqrt 2)) / 2 = erfc(-z / sqrt 2) / 2."""
    return z * _normal_share(z)


def gelu_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = P(z) + z p(z), with the normal density p(z) = e^(-z^2 / 2) / sqrt(2 pi) = P'(z)."""
    return _normal_share(z) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _normal_share(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def silu(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(z) = z s(z), s the sigmoid."""
    return z * torch.sigmoid(z)


def silu_derivative(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f'(z) = s(z) + z s(z) s(-z)."""
    share = torch.sigmoid(z)
    return share * (1 + z * torch.sigmoid(-z))


def softmax(z: Float[Tensor, "*rows K"]) -> Float[Tensor, "*rows K"]:
    """f_k(z) = e^z_k / sum_j e^z_j; the largest z is taken off first, which changes nothing and cannot overflow."""
    powers = torch.exp(z - z.amax(-1, keepdim=True))
    return powers / powers.sum(-1, keepdim=True)


def softmax_jacobian(z: Float[Tensor, "*rows K"]) -> Float[Tensor, "*rows K K"]:
    """df_k / dz_j = f_k ([k = j] - f_j), symmetric in k and j."""
    shares = softmax(z)
    return torch.diag_embed(shares) - shares.unsqueeze(-1) * shares.unsqueeze(-2)


@dataclass(frozen=True, slots=True)
class Activation:
    """A function with its derivative, and both as text. Only softmax mixes the units of a layer."""

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]  # per element; of softmax the Jacobian (..., K, K)
    formula: str  # of z
    derivative_formula: str
    elementwise: bool = True

    def pull_back(self, gradient: Tensor, z: Tensor) -> Tensor:
        """The chain rule: dL/dz from dL/dh."""
        if self.elementwise:
            return gradient * self.derivative(z)
        return (gradient.unsqueeze(-2) @ self.derivative(z)).squeeze(-2)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_derivative, "z", "1"),
    "sigmoid": Activation(sigmoid, sigmoid_derivative, "1 / (1 + e^-z)", "f(z) (1 - f(z))"),
    "tanh": Activation(tanh, tanh_derivative, "tanh(z)", "1 - f(z)^2"),
    "relu": Activation(relu, relu_derivative, "max(0, z)", "1 if z > 0 else 0"),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative, "z if z > 0 else 0.01 z", "1 if z > 0 else 0.01"),
    "gelu": Activation(gelu, gelu_derivative, "z P(z), P(z) = (1 + erf(z / sqrt 2)) / 2", "P(z) + z p(z), p = P'"),
    "silu": Activation(silu, silu_derivative, "z s(z), s(z) = 1 / (1 + e^-z)", "s(z) + z s(z) (1 - s(z))"),
    "softmax": Activation(softmax, softmax_jacobian, "e^z_k / sum_j e^z_j", "f_k ([k = j] - f_j)", elementwise=False),
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """The same function as torch's own kernels, for speed; tests/parity/test_activations.py holds both equal."""

    value: Callable[[Tensor], Tensor]  # differentiable by autograd
    backward: Callable[[Tensor, Tensor], Tensor]  # dL/dz from dL/dh and what was kept
    in_place: Callable[[Tensor], Tensor] | None = None  # where dh/dz can be read off h: h overwrites z and is kept


_aten: Any = torch.ops.aten

KERNELS: dict[str, Kernel] = {
    "identity": Kernel(identity, lambda gradient, h: gradient, identity),
    "sigmoid": Kernel(torch.sigmoid, lambda gradient, h: _aten.sigmoid_backward(gradient, h), torch.sigmoid_),
    "tanh": Kernel(torch.tanh, lambda gradient, h: _aten.tanh_backward(gradient, h), torch.tanh_),
    "relu": Kernel(torch.relu, lambda gradient, h: _aten.threshold_backward(gradient, h, 0), torch.relu_),
    "leaky_relu": Kernel(
        lambda z: F.leaky_relu(z, LEAK),
        lambda gradient, h: _aten.leaky_relu_backward(gradient, h, LEAK, True),
        lambda z: F.leaky_relu_(z, LEAK),
    ),
    "gelu": Kernel(F.gelu, lambda gradient, z: _aten.gelu_backward(gradient, z)),
    "silu": Kernel(F.silu, lambda gradient, z: _aten.silu_backward(gradient, z)),
    "softmax": Kernel(
        lambda z: torch.softmax(z, -1),
        lambda gradient, z: _aten._softmax_backward_data(gradient, torch.softmax(z, -1), -1, z.dtype),
    ),
}
