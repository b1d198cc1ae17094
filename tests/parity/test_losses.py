"""Losses against torch's, and their hand-derived gradients against autograd."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chainrule.functional import losses
from chainrule.functional.losses import LOSSES

B, E, K = 7, 3, 5
SETTINGS = [(weighted, smoothing) for weighted in (False, True) for smoothing in (0.0, 0.1)]


def case(*shape: int, classes: int) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(*shape, dtype=torch.float64), torch.randint(classes, (B,))


def class_weights(weighted: bool, classes: int) -> Tensor | None:
    return torch.rand(classes, dtype=torch.float64) + 0.5 if weighted else None


@pytest.mark.parametrize(("weighted", "smoothing"), SETTINGS)
@pytest.mark.parametrize("shape", [(B, K), (B, E, K)])
def test_cross_entropy(shape: tuple[int, ...], weighted: bool, smoothing: float) -> None:
    logits, targets = case(*shape, classes=K)
    weights = class_weights(weighted, K)
    loss = partial(F.cross_entropy, target=targets, weight=weights, label_smoothing=smoothing, reduction="sum")
    members = logits.reshape(B, -1, K).unbind(1)
    expected = sum(loss(member) for member in members) / len(members)
    for found in (losses.cross_entropy_sum, losses.cross_entropy_equation):
        torch.testing.assert_close(found(logits, targets, weights, smoothing), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("weighted", "smoothing"), SETTINGS)
@pytest.mark.parametrize("shape", [(B, 1), (B, E, 1)])
def test_one_logit_is_the_softmax_of_zero_and_it(shape: tuple[int, ...], weighted: bool, smoothing: float) -> None:
    logits, targets = case(*shape, classes=2)
    weights = class_weights(weighted, 2)
    pair = torch.cat((torch.zeros_like(logits), logits), -1)
    expected = losses.cross_entropy_sum(pair, targets, weights, smoothing)
    found = losses.binary_cross_entropy_sum(logits, targets, weights, smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("weighted", "smoothing"), SETTINGS)
@pytest.mark.parametrize("shape", [(B, K), (B, E, K), (B, 1), (B, E, 1)])
def test_entropy_gradients_equal_autograd(shape: tuple[int, ...], weighted: bool, smoothing: float) -> None:
    name = "binary_cross_entropy" if shape[-1] == 1 else "cross_entropy"
    classes = max(2, shape[-1])
    logits, targets = case(*shape, classes=classes)
    settings = (targets, class_weights(weighted, classes), smoothing)
    total, gradient = getattr(losses, f"{name}_sum"), getattr(losses, f"{name}_gradient")
    (expected,) = torch.autograd.grad(total(logits.requires_grad_(), *settings), logits)
    torch.testing.assert_close(gradient(logits.detach(), *settings), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda z: total(z, *settings), (logits,))


@pytest.mark.parametrize("shape", [(B, K), (B, E, K), (B, 1), (B, E, 1)])
def test_probability_error(shape: tuple[int, ...]) -> None:
    classes = max(2, shape[-1])
    logits, targets = case(*shape, classes=classes)
    wanted = targets[:, None].double() if shape[-1] == 1 else F.one_hot(targets, classes).double()
    members = logits.requires_grad_().reshape(B, -1, shape[-1])
    probs = torch.sigmoid(members) if shape[-1] == 1 else torch.softmax(members, -1)
    expected = B * F.mse_loss(probs, wanted.unsqueeze(1).expand_as(probs))
    torch.testing.assert_close(losses.probability_error_sum(logits, targets), expected, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(expected, logits)
    found = losses.probability_error_gradient(logits.detach(), targets)
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(B, 1), (B, E, 1)])
def test_squared_error(shape: tuple[int, ...]) -> None:
    predictions, _ = case(*shape, classes=2)
    targets = torch.randn(B, dtype=torch.float64)
    members = predictions.requires_grad_().reshape(B, -1)
    expected = B * F.mse_loss(members, targets[:, None].expand_as(members))
    torch.testing.assert_close(losses.squared_error_sum(predictions, targets), expected, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(expected, predictions)
    found = losses.squared_error_gradient(predictions.detach(), targets)
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classes", [2, 10])
def test_cross_entropy_starts_at_ln_k(classes: int) -> None:
    targets = torch.randint(classes, (B,))
    logits = torch.zeros(B, classes, dtype=torch.float64)
    assert losses.cross_entropy_sum(logits, targets).item() / B == pytest.approx(math.log(classes), abs=1e-12)


def test_large_logits_stay_finite() -> None:
    huge = torch.tensor([[1e4], [-1e4]])
    targets = torch.tensor([0, 1])
    for weights in (None, torch.ones(2)):
        assert losses.binary_cross_entropy_sum(huge, targets, weights).item() == pytest.approx(2e4)
    assert losses.cross_entropy_sum(torch.cat((0 * huge, huge), 1), targets).item() == pytest.approx(2e4)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_is_the_sum_of_its_rows(name: str) -> None:
    width = 1 if name in ("binary_cross_entropy", "squared_error") else K
    logits, targets = case(B, width, classes=max(2, width))
    answers = targets.double() if name == "squared_error" else targets
    rows = [LOSSES[name].total(logits[i : i + 1], answers[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(LOSSES[name].total(logits, answers), torch.stack(rows).sum(), rtol=1e-12, atol=0)
