"""Losses of likeness against examples computed by hand, and against the papers' equations written as plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from chainrule.functional.metric_losses import (
    arcface_logits,
    contrastive_sum,
    distances,
    nt_xent,
    nt_xent_sum,
    triplet_anchors,
    triplet_sum,
)

B, D, K = 9, 5, 4


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def close(found: Tensor, expected: Tensor | float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, 1.2, math.pi / 2, 3.0])
def test_arcface_is_the_angle_plus_the_margin(margin: float) -> None:
    embeddings, centres, targets = rows(40, D), rows(K, D), torch.randint(K, (40,))
    found = arcface_logits(embeddings, centres, targets, margin, 7.0)
    beyond = 0
    for row in range(40):
        for label in range(K):
            theta = math.acos(cosine(embeddings[row], centres[label]))
            expected = math.cos(theta)
            if label == targets[row]:
                past = theta + margin >= math.pi
                beyond += past
                expected = math.cos(theta) - margin * math.sin(margin) if past else math.cos(theta + margin)
            close(found[row, label], 7.0 * expected)
    assert beyond > 0 or margin < 1


def test_arcface_by_hand() -> None:
    """A right angle to class 0, 45 degrees to class 1, and the margin a right angle's third."""
    embeddings = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    centres = torch.tensor([[3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    found = arcface_logits(embeddings, centres, torch.tensor([0]), math.pi / 6, 10.0)
    close(found, torch.tensor([[-5.0, 10 / math.sqrt(2)]], dtype=torch.float64))  # cos(90 + 30 degrees) = -1/2


def test_arcface_is_finite_and_falls_all_the_way() -> None:
    """From the centre itself to its very opposite, in float32, where rounding takes cosines beyond 1."""
    angles = torch.linspace(0, math.pi, 1001)
    embeddings = torch.stack((angles.cos(), angles.sin()), 1).requires_grad_()
    centres = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    own = arcface_logits(embeddings, centres, torch.zeros(1001, dtype=torch.long), 0.5, 1.0)[:, 0]
    assert bool((own.diff() < 1e-3).all())  # a step of one thousandth is rounding of the sine at the ends
    own.sum().backward()
    assert embeddings.grad is not None
    assert bool(embeddings.grad.isfinite().all())
    assert float(embeddings.grad.norm(dim=1).max()) < 3


def test_arcface_without_a_margin_is_a_scaled_cosine() -> None:
    embeddings, centres = rows(B, D), rows(K, D)
    expected = 3 * torch.nn.functional.cosine_similarity(embeddings[:, None], centres[None], dim=-1)
    close(arcface_logits(embeddings, centres, torch.zeros(B, dtype=torch.long), 0.0, 3.0), expected)


def plain_triplets(embeddings: Tensor, targets: Tensor, margin: float) -> tuple[float, list[bool]]:
    total, anchors = 0.0, []
    for a in range(len(targets)):
        others = [i for i in range(len(targets)) if i != a]
        positives = [distance(embeddings[a], embeddings[i]) for i in others if targets[i] == targets[a]]
        negatives = [distance(embeddings[a], embeddings[i]) for i in others if targets[i] != targets[a]]
        anchors.append(bool(positives and negatives))
        if anchors[-1]:
            total += max(0.0, margin + max(positives) - min(negatives))
    return total, anchors


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("classes", [1, 2, K, 100])
def test_triplets_take_the_hardest_of_the_batch(classes: int, margin: float) -> None:
    embeddings, targets = rows(B, D), torch.randint(classes, (B,))
    expected, anchors = plain_triplets(embeddings, targets, margin)
    close(triplet_sum(embeddings, targets, margin), expected)
    assert triplet_anchors(targets).tolist() == anchors


def test_triplets_by_hand() -> None:
    """On a line: 0 and 4 of one class, 1 and 2 of another, 9 alone."""
    embeddings = torch.tensor([[0.0], [4.0], [1.0], [2.0], [9.0]], dtype=torch.float64)
    targets = torch.tensor([0, 0, 1, 1, 2])
    # anchors: 0: 1 + 4 - 1 = 4; 4: 1 + 4 - 2 = 3; 1: 1 + 1 - 1 = 1; 2: 1 + 1 - 2 = 0; 9 has no partner
    close(triplet_sum(embeddings, targets, 1.0), 8.0)
    assert triplet_anchors(targets).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_contrastive_pairs(margin: float) -> None:
    embeddings, targets = rows(B, D), torch.randint(K, (B,))
    expected = 0.0
    for i in range(B):
        for j in range(i):
            away = distance(embeddings[i], embeddings[j])
            expected += (away if targets[i] == targets[j] else max(0.0, margin - away)) ** 2 / 2
    close(contrastive_sum(embeddings, targets, margin), expected)


def test_contrastive_by_hand() -> None:
    """On a line: 0 and 3 of one class, 5 of another: 9/2, then (4 - 5) is no cost, then (4 - 2)^2 / 2."""
    embeddings = torch.tensor([[0.0], [3.0], [5.0]], dtype=torch.float64)
    close(contrastive_sum(embeddings, torch.tensor([0, 0, 1]), 4.0), 4.5 + 2.0)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_its_equation(temperature: float) -> None:
    first, second = rows(B, D), rows(B, D)
    both = torch.cat((first, second))
    expected = []
    for i in range(2 * B):
        j = (i + B) % (2 * B)
        others = [math.exp(cosine(both[i], both[k]) / temperature) for k in range(2 * B) if k != i]
        expected.append(-math.log(math.exp(cosine(both[i], both[j]) / temperature) / sum(others)))
    close(nt_xent(first, second, temperature), torch.tensor(expected, dtype=torch.float64))
    close(nt_xent_sum(first, second, temperature), sum(expected))


def test_nt_xent_by_hand() -> None:
    """Two rows at a right angle, each version like the other: e^1 against e^1 + 2 e^0, at a temperature of 1."""
    pair = torch.eye(2, dtype=torch.float64)
    close(nt_xent(pair, 3 * pair, 1.0), torch.full((4,), math.log((math.e + 2) / math.e), dtype=torch.float64))
    alike = torch.ones(B, D, dtype=torch.float64)
    close(nt_xent_sum(alike, alike, 0.1), 2 * B * math.log(2 * B - 1))


def test_two_equal_rows_have_no_slope_but_a_finite_one() -> None:
    embeddings = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(distances(embeddings).sum(), embeddings)
    assert torch.equal(slope, torch.zeros_like(slope))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "triplet": lambda x, y: triplet_sum(x, y, 1.0),
    "contrastive": lambda x, y: contrastive_sum(x, y, 3.0),
    "nt_xent": lambda x, y: nt_xent_sum(x[:4], x[4:8], 0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    embeddings, targets = rows(8, D), torch.randint(3, (8,))
    order = torch.randperm(4).repeat(2) + torch.tensor([0] * 4 + [4] * 4)
    close(LOSSES[name](embeddings[order], targets[order]), LOSSES[name](embeddings, targets))
