"""Activations against torch's, values and derivatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from chainrule.functional.activations import ACTIVATIONS, KERNELS

REFERENCE = {
    "identity": lambda z: z.clone(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softmax": lambda z: F.softmax(z, -1),
}


def points() -> torch.Tensor:
    """Ordinary, extreme and corner values, float64."""
    extremes = torch.tensor([-800.0, -40.0, -9.0, -1e-8, 0.0, 1e-8, 9.0, 40.0, 800.0], dtype=torch.float64)
    return torch.cat((extremes, torch.linspace(-6, 6, 51, dtype=torch.float64))).reshape(6, 10)


def test_every_activation_has_a_reference() -> None:
    assert ACTIVATIONS.keys() == KERNELS.keys() == REFERENCE.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value(name: str) -> None:
    z = points()
    torch.testing.assert_close(ACTIVATIONS[name].value(z), REFERENCE[name](z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_equals_autograd(name: str) -> None:
    z = points().requires_grad_()
    gradient = torch.randn(z.shape, dtype=torch.float64)
    (expected,) = torch.autograd.grad(REFERENCE[name](z), z, gradient)
    found = ACTIVATIONS[name].pull_back(gradient, z.detach())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_softmax_jacobian_equals_autograd() -> None:
    z = torch.randn(5, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, 0), z)
    torch.testing.assert_close(ACTIVATIONS["softmax"].derivative(z), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_equals_equation(name: str, dtype: torch.dtype) -> None:
    exact = 1e-12 if dtype == torch.float64 else 2e-6  # a few units in the last place of values up to 6
    z, gradient = torch.linspace(-6, 6, 60, dtype=dtype).reshape(6, 10), torch.randn(6, 10, dtype=dtype)
    kernel, activation = KERNELS[name], ACTIVATIONS[name]
    torch.testing.assert_close(kernel.value(z), activation.value(z), rtol=exact, atol=exact)
    kept = z if kernel.in_place is None else kernel.in_place(z.clone())
    torch.testing.assert_close(
        kernel.backward(gradient, kept), activation.pull_back(gradient, z), rtol=exact, atol=exact
    )


def test_known_values() -> None:
    one = torch.ones(1, dtype=torch.float64)
    assert ACTIVATIONS["sigmoid"].value(0 * one).item() == 0.5
    assert ACTIVATIONS["sigmoid"].derivative(0 * one).item() == 0.25
    assert ACTIVATIONS["leaky_relu"].value(-one).item() == -0.01
    assert ACTIVATIONS["gelu"].value(one).item() == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))), abs=1e-15)
    assert ACTIVATIONS["softmax"].value(torch.zeros(1, 4)).tolist() == [[0.25] * 4]


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_autograd_takes_the_stated_side_of_the_corner(name: str) -> None:
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    ACTIVATIONS[name].value(z).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, ACTIVATIONS[name].derivative(z.detach()), rtol=0, atol=0)
    assert ACTIVATIONS[name].value(torch.tensor([torch.nan])).isnan().all()
