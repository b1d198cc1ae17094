"""The hand-derived backpropagation against autograd, its fast form against its slow one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chainrule.functional.activations import ACTIVATIONS, KERNELS
from chainrule.functional.backprop import backward, collapse, forward, mlp, plain_mlp

DEPTHS = [(3, 2), (4, 5, 1), (3, 6, 4, 2), (2, 5, 3, 4, 6, 3)]
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # the bound, float64


def network(sizes: tuple[int, ...], rows: int = 6) -> tuple[Tensor, list[Tensor]]:
    """Inputs and W_1, b_1, W_2, b_2, ... in float64, all asking for gradients."""
    inputs = torch.randn(rows, sizes[0], dtype=torch.float64, requires_grad=True)
    parameters = []
    for i in range(len(sizes) - 1):
        parameters.append(torch.randn(sizes[i + 1], sizes[i], dtype=torch.float64, requires_grad=True))
        parameters.append(torch.randn(sizes[i + 1], dtype=torch.float64, requires_grad=True))
    return inputs, parameters


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", DEPTHS)
def test_every_derivative_equals_autograd(sizes: tuple[int, ...], activation: str) -> None:
    inputs, parameters = network(sizes)
    weights, biases = parameters[::2], parameters[1::2]
    passed = forward(inputs, weights, biases, activation)
    asked = [*weights, *biases, *passed.z, *passed.h]
    gradient = torch.randn_like(passed.logits)
    expected = torch.autograd.grad(passed.logits, asked, gradient)
    with torch.no_grad():
        kept = forward(inputs, weights, biases, activation)
        found = backward(gradient, weights, kept, activation)
    for ours, theirs in zip([*found.weights, *found.biases, *found.z, *found.h], expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", DEPTHS)
def test_fast_form_equals_the_slow_ones(sizes: tuple[int, ...], activation: str) -> None:
    inputs, parameters = network(sizes)
    gradient = torch.randn(6, sizes[-1], dtype=torch.float64)
    written_out = forward(inputs, parameters[::2], parameters[1::2], activation).logits
    results = []
    for logits in (
        mlp(inputs, activation, parameters),
        plain_mlp(inputs, KERNELS[activation], parameters),
        written_out,
    ):
        results.append([logits.detach(), *torch.autograd.grad(logits, [inputs, *parameters], gradient)])
    for fast, plain, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, **EXACT)
        torch.testing.assert_close(fast, slow, **EXACT)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation: str) -> None:
    inputs, parameters = network((3, 4, 4, 2), rows=3)
    asked = [tensor.detach().clone().requires_grad_() for tensor in (inputs, *parameters)]

    def logits(x: Tensor, *p: Tensor) -> Tensor:
        return mlp(x, activation, p)

    assert torch.autograd.gradcheck(logits, asked)
    assert torch.autograd.gradgradcheck(logits, asked)


@pytest.mark.parametrize("frozen", [(), (0,), (0, 1), (2,), (0, 1, 2, 3), (4, 5), (0, 2, 4), (1, 3, 5)])
@pytest.mark.parametrize("wants_inputs", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_frozen_parameters_get_no_gradient(frozen: tuple[int, ...], wants_inputs: bool, activation: str) -> None:
    inputs, parameters = network((3, 4, 5, 2))
    inputs.requires_grad_(wants_inputs)
    for i in frozen:
        parameters[i].requires_grad_(False)
    leaves = [inputs, *parameters]
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    mlp(inputs, activation, parameters).square().sum().backward()
    expected = torch.autograd.grad(plain_mlp(inputs, KERNELS[activation], parameters).square().sum(), asked)
    for leaf, theirs in zip(asked, expected, strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, theirs, **EXACT)
    assert all(leaf.grad is None for leaf in leaves if not leaf.requires_grad)


def test_identity_layers_collapse_into_one() -> None:
    inputs, parameters = network((3, 6, 4, 2))
    weights, biases = parameters[::2], parameters[1::2]
    weight, bias = collapse(weights, biases)
    torch.testing.assert_close(inputs @ weight.T + bias, forward(inputs, weights, biases, "identity").logits, **EXACT)
