"""Losses over pixels against torch's, smp's and numbers by hand; the weights of narrow gaps against their slow twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from tests import peers
from torch import Tensor

from chainrule.functional.pixel_losses import (
    IGNORE,
    boundary_weights,
    dice_loss_sum,
    focal_sum,
    known_pixels,
    pixel_cross_entropy_sum,
)

B, K = 3, 4
SIZES = [(11,), (6, 5), (3, 4, 5)]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of some hundred pixels
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": pixel_cross_entropy_sum,
    "weighted_cross_entropy": partial(pixel_cross_entropy_sum, weights=torch.tensor([1.0, 2.0, 0.5, 3.0]).double()),
    "focal": focal_sum,
    "weighted_focal": partial(focal_sum, gamma=1.5, weights=torch.tensor([1.0, 2.0, 0.5, 3.0]).double()),
    "dice": partial(dice_loss_sum, foreground=(1, 3)),
}


def case(*size: int, unknown: float = 0.2) -> tuple[Tensor, Tensor]:
    """Logits in float64 and uint8 targets, of which a share is unknown."""
    logits = 3 * torch.randn(B, K, *size, dtype=torch.float64)
    targets = torch.randint(K, (B, *size), dtype=torch.uint8)
    targets[torch.rand(targets.shape) < unknown] = IGNORE
    return logits, targets


def class_weights(weighted: bool) -> Tensor | None:
    return torch.rand(K, dtype=torch.float64) + 0.5 if weighted else None


# cross-entropy


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_is_torchs_and_its_equation(size: tuple[int, ...], weighted: bool) -> None:
    logits, targets = case(*size)
    weights = class_weights(weighted)
    found = pixel_cross_entropy_sum(logits, targets, weights)
    theirs = F.cross_entropy(logits, targets.long(), weights, ignore_index=255)  # a weighted mean
    torch.testing.assert_close(found / known_pixels(targets, weights), theirs, **CLOSE)
    expected = 0.0
    for scores, target in zip(logits.movedim(1, -1).reshape(-1, K).tolist(), targets.flatten().tolist(), strict=True):
        if target != IGNORE:
            share = math.exp(scores[target]) / sum(math.exp(score) for score in scores)
            expected -= (1.0 if weights is None else weights[target].item()) * math.log(share)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_pixel_weights_multiply_each_pixels_loss(weighted: bool) -> None:
    logits, targets = case(6, 5)
    weights, of_pixels = class_weights(weighted), torch.rand(B, 6, 5, dtype=torch.float64)
    expected = sum(
        of_pixels[b, y, x] * pixel_cross_entropy_sum(logits[b, :, y, x][None], targets[b, y, x][None], weights)
        for b in range(B)
        for y in range(6)
        for x in range(5)
    )
    torch.testing.assert_close(pixel_cross_entropy_sum(logits, targets, weights, of_pixels), expected, **CLOSE)
    ones = pixel_cross_entropy_sum(logits, targets, weights, torch.ones_like(of_pixels))
    torch.testing.assert_close(ones, pixel_cross_entropy_sum(logits, targets, weights), **CLOSE)


def test_equal_logits_cost_ln_k_a_pixel() -> None:
    targets = torch.randint(K, (B, 6, 5))
    assert pixel_cross_entropy_sum(torch.zeros(B, K, 6, 5), targets).item() / (B * 30) == pytest.approx(math.log(K))


def test_known_pixels_are_counted_or_weighed() -> None:
    targets = torch.tensor([[0, 1, 255, 1], [2, 255, 255, 0]], dtype=torch.uint8)
    assert known_pixels(targets).item() == 5
    assert known_pixels(targets.long()).item() == 5
    assert known_pixels(targets, torch.tensor([1.0, 10.0, 100.0])).item() == 122
    assert known_pixels(torch.full((2, 3), 255)).item() == 0


# focal loss


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_focal_of_two_classes_is_the_binary_one_of_smp(gamma: float) -> None:
    one = 3 * torch.randn(B, 1, 6, 5, dtype=torch.float64)
    targets = torch.randint(2, (B, 6, 5))
    targets[:, 0] = IGNORE
    theirs = peers.segmentation_models().losses.FocalLoss("binary", gamma=gamma, ignore_index=IGNORE, reduction="sum")
    found = focal_sum(torch.cat((torch.zeros_like(one), one), 1), targets, gamma)
    torch.testing.assert_close(found, theirs(one, targets), **CLOSE)


def test_focal_numbers_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]], dtype=torch.float64).log()[None]  # p of each class
    targets = torch.tensor([[0, 1, IGNORE]])
    expected = 0.1**2 * -math.log(0.9) + 0.6**2 * -math.log(0.4)
    assert focal_sum(logits, targets).item() == pytest.approx(expected, rel=1e-12)
    weighted = focal_sum(logits, targets, 2.0, torch.tensor([2.0, 5.0], dtype=torch.float64)).item()
    assert weighted == pytest.approx(2 * 0.1**2 * -math.log(0.9) + 5 * 0.6**2 * -math.log(0.4), rel=1e-12)


def test_focal_without_gamma_is_the_cross_entropy() -> None:
    logits, targets = case(6, 5)
    weights = class_weights(True)
    expected = pixel_cross_entropy_sum(logits, targets, weights)
    torch.testing.assert_close(focal_sum(logits, targets, 0.0, weights), expected, **CLOSE)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_finite_slopes_where_all_is_certain_or_unknown(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]])[None].requires_grad_()
    focal_sum(logits, torch.tensor([[0, 0, IGNORE]]), gamma).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 2].tolist() == [0, 0]
    assert logits.grad[0, 1, 1] > 0.9  # certain and wrong


# dice loss


@pytest.mark.parametrize("smooth", [1.0, 0.1])
@pytest.mark.parametrize("foreground", [(1,), (1, 2, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_dice_of_each_row_is_smps(size: tuple[int, ...], foreground: tuple[int, ...], smooth: float) -> None:
    logits, targets = case(*size)
    targets.flatten(1)[:, :K] = torch.arange(K)  # smp leaves classes out that a batch does not have
    half = smooth / 2  # theirs is added to half of numerator and denominator
    theirs = peers.segmentation_models().losses.DiceLoss(
        "multiclass", list(foreground), smooth=half, ignore_index=IGNORE
    )
    flat = logits.flatten(2)[..., None], targets.flatten(1)[..., None].long()
    expected = sum(theirs(flat[0][b : b + 1], flat[1][b : b + 1]) for b in range(B))
    torch.testing.assert_close(dice_loss_sum(logits, targets, foreground, smooth), expected, **CLOSE)


def test_dice_numbers_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]], dtype=torch.float64).log()[None]  # p of each class
    first = dice_loss_sum(logits, torch.tensor([[0, 1, 1]]), (1,)).item()
    assert first == pytest.approx(1 - (2 * 1.2 + 1) / (1.3 + 2 + 1), rel=1e-12)
    absent = dice_loss_sum(logits, torch.tensor([[0, 0, IGNORE]]), (1,)).item()
    assert absent == pytest.approx(1 - 1 / (0.5 + 1), rel=1e-12)
    both = dice_loss_sum(logits, torch.tensor([[0, 1, IGNORE]]), (0, 1), smooth=0.5).item()
    assert both == pytest.approx(1 - (2.3 / 3.0 + 1.3 / 2.0) / 2, rel=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_perfect_logits_cost_nothing(size: tuple[int, ...]) -> None:
    _, targets = case(*size)
    logits = 200 * F.one_hot(targets.long() % IGNORE, K).movedim(-1, 1).double()
    assert dice_loss_sum(logits, targets, (1, 2)).item() == pytest.approx(0, abs=1e-12)
    assert focal_sum(logits, targets).item() == pytest.approx(0, abs=1e-12)
    assert pixel_cross_entropy_sum(logits, targets).item() == pytest.approx(0, abs=1e-12)


# what holds for all of them


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", SIZES)
def test_unknown_pixels_change_nothing(size: tuple[int, ...], name: str) -> None:
    logits, targets = case(*size)
    unknown = (targets == IGNORE).unsqueeze(1).expand_as(logits)
    other = torch.where(unknown, 50 * torch.randn_like(logits), logits).requires_grad_()
    found = LOSSES[name](other, targets)
    torch.testing.assert_close(found, LOSSES[name](logits, targets), **CLOSE)
    (slope,) = torch.autograd.grad(found, other)
    assert not slope[unknown].any()
    assert slope[~unknown].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_is_the_sum_of_its_parts(name: str) -> None:
    logits, targets = case(6, 5)
    parts = [LOSSES[name](logits[part], targets[part]) for part in (slice(0, 2), slice(2, 3))]
    torch.testing.assert_close(LOSSES[name](logits, targets), sum(parts), **CLOSE)


@pytest.mark.parametrize("name", LOSSES)
def test_targets_of_one_byte_are_those_of_eight(name: str) -> None:
    logits, targets = case(6, 5)
    assert torch.equal(LOSSES[name](logits, targets), LOSSES[name](logits, targets.long()))


@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_which_nothing_is_known_cost_nothing(name: str) -> None:
    logits, targets = case(6, 5)
    found = LOSSES[name](logits.requires_grad_(), torch.full_like(targets, IGNORE))
    assert found.item() == 0
    (slope,) = torch.autograd.grad(found, logits)
    assert not slope.any()


# weights of narrow gaps


def blobs(count: int, side: int, seed: int) -> Tensor:
    """A mask with discs of two classes, some of which touch, and an unknown corner."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    y, x = np.mgrid[:side, :side]
    for number in range(count):
        centre, radius = generator.uniform(0, side, 2), generator.uniform(1, side / 12)
        mask[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = 1 + number % 2
    mask[:5, :7] = IGNORE
    return torch.from_numpy(mask)


def plain_boundary_weights(mask: Tensor, w0: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Equation 2 with every distance to every object, background 0; and d2, the distance to the second nearest."""
    targets = mask.numpy()
    objects, count = ndimage.label((targets != 0) & (targets != IGNORE))
    y, x = np.mgrid[: targets.shape[0], : targets.shape[1]]
    here = np.stack((y.ravel(), x.ravel()), 1).astype(np.float64)
    distances = []
    for number in range(1, count + 1):
        there = np.stack(np.nonzero(objects == number), 1)
        squares = (here**2).sum(1)[:, None] - 2 * here @ there.T + (there**2).sum(1)
        distances.append(np.sqrt(squares.min(1)).reshape(targets.shape))
    ordered = np.sort(np.stack(distances), 0)
    extra = w0 * np.exp(-((ordered[0] + ordered[1]) ** 2) / (2 * sigma**2))
    return 1 + np.where(targets == 0, extra, 0), ordered[1]


@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 2.0)])
@pytest.mark.parametrize("seed", range(3))
def test_weights_of_gaps_equal_their_slow_twin(seed: int, w0: float, sigma: float) -> None:
    mask = blobs(12, 96, seed)
    found = boundary_weights(mask[None], 0, w0, sigma)[0].numpy()
    expected, second = plain_boundary_weights(mask, w0, sigma)
    reached = second <= 4 * sigma
    assert (expected[reached] > 1.01 * expected.min()).any()
    np.testing.assert_allclose(found[reached], expected[reached], rtol=1e-6)  # float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=w0 * math.exp(-8))  # what lies further counts as nothing


def test_weights_of_gaps_by_hand() -> None:
    mask = torch.zeros(2, 3, 9, dtype=torch.uint8)
    mask[0, :, 0], mask[0, :, 4] = 1, 2  # two walls with a gap of three
    mask[1, :, :4] = 2  # one object only
    found = boundary_weights(mask, 0, w0=10.0, sigma=5.0)
    gap, beyond = 1 + 10 * math.exp(-(4**2) / 50), [1 + 10 * math.exp(-((4 + 2 * d) ** 2) / 50) for d in (1, 2, 3, 4)]
    expected = torch.tensor([1, gap, gap, gap, 1, *beyond])
    torch.testing.assert_close(found[0], expected.expand(3, 9))
    assert torch.equal(found[1], torch.ones(3, 9))


def test_the_background_may_be_any_class_and_masks_may_be_empty() -> None:
    mask = blobs(6, 48, 0)
    moved = torch.where(mask == 0, 7, mask).long()
    assert torch.equal(boundary_weights(moved[None], 7), boundary_weights(mask[None], 0))
    assert torch.equal(boundary_weights(torch.zeros(2, 4, 4, dtype=torch.uint8), 0), torch.ones(2, 4, 4))
    assert boundary_weights(mask[None], 0).dtype == torch.float32


def test_unknown_pixels_are_neither_object_nor_gap() -> None:
    mask = torch.zeros(1, 3, 7, dtype=torch.uint8)
    mask[0, :, 0] = 1
    mask[0, :, 4] = IGNORE
    assert torch.equal(boundary_weights(mask, 0), torch.ones(1, 3, 7))
    mask[0, :, 6] = 1
    assert boundary_weights(mask, 0)[0, :, 4].tolist() == [1, 1, 1]
    assert (boundary_weights(mask, 0)[0, :, [1, 2, 3, 5]] > 1).all()
