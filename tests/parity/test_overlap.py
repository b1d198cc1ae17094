"""Counts of regions and the scores made of them against scikit-learn's over all pixels, and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from torch import Tensor

from chainrule.functional import overlap
from chainrule.functional.overlap import class_scores, overlap_scores, region_counts
from chainrule.functional.pixel_losses import IGNORE

B, K = 5, 4
SIZES = [(23,), (7, 9), (4, 5, 6)]
FOREGROUNDS = [(1,), (1, 2, 3), (0, 1, 2, 3), (2, 0)]


def case(*size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Answers that are often right, and uint8 targets; unknown pixels, rows without foreground and without anything."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(K, (B, *size), generator=generator)
    targets[1], targets[3] = 0, torch.where(targets[3] == 3, 2, targets[3])
    guesses = torch.randint(K, (B, *size), generator=generator)
    predicted = torch.where(torch.rand(B, *size, generator=generator) < 0.6, targets, guesses)
    targets[torch.rand(B, *size, generator=generator) < 0.2] = IGNORE
    targets[4] = IGNORE
    return predicted, targets.to(torch.uint8)


def arrays(predicted: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hits, answered, support = region_counts(predicted, targets, K).numpy().transpose(1, 0, 2)
    return hits, answered, support


def known(predicted: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The true and the answered class of every known pixel."""
    keep = (targets != IGNORE).flatten()
    return targets.flatten()[keep].numpy(), predicted.flatten()[keep].numpy()


@pytest.mark.parametrize("chunk", [7, 50, 2**22])
@pytest.mark.parametrize("size", SIZES)
def test_counts_are_margins_of_the_confusion_matrix(
    size: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "CHUNK", chunk)
    predicted, targets = case(*size)
    found = region_counts(predicted, targets, K)
    assert found.dtype == torch.int64
    assert found.shape == (B, 3, K)
    for row in range(B - 1):
        table = confusion_matrix(*known(predicted[row], targets[row]), labels=range(K))
        expected = np.stack((table.diagonal(), table.sum(0), table.sum(1)))
        np.testing.assert_array_equal(found[row].numpy(), expected)
    assert not found[B - 1].any()
    assert torch.equal(found, region_counts(predicted.to(torch.uint8), targets.long(), K))


@pytest.mark.parametrize("foreground", FOREGROUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_pooled_scores_are_scikit_learns(size: tuple[int, ...], foreground: tuple[int, ...]) -> None:
    predicted, targets = case(*size)
    found = overlap_scores(*arrays(predicted, targets), foreground)
    labels = {"labels": list(foreground), "average": "macro", "zero_division": np.nan}
    pixels = known(predicted, targets)
    assert found["dice"] == pytest.approx(f1_score(*pixels, **labels), rel=1e-12)
    labels.pop("zero_division")  # its jaccard_score knows no nan; every class occurs here
    assert found["iou"] == pytest.approx(jaccard_score(*pixels, **labels), rel=1e-12)
    assert found["accuracy"] == pytest.approx(accuracy_score(*pixels), rel=1e-12)


@pytest.mark.parametrize("foreground", FOREGROUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_scores_per_image_are_means_of_scikit_learns(size: tuple[int, ...], foreground: tuple[int, ...]) -> None:
    predicted, targets = case(*size)
    found = overlap_scores(*arrays(predicted, targets), foreground)
    for name, reference in (("dice_per_image", f1_score), ("iou_per_image", jaccard_score)):
        one_by_one = []
        for row in range(B - 1):
            truth, answer = known(predicted[row], targets[row])
            one_by_one += [reference(truth == c, answer == c) for c in foreground if c in truth]
        assert found[name] == pytest.approx(np.mean(one_by_one), rel=1e-12)


def test_class_scores_are_scikit_learns() -> None:
    predicted, targets = case(7, 9)
    targets[targets == 2] = IGNORE
    predicted[predicted == 2] = 1  # class 2 is nowhere
    found = class_scores(*arrays(predicted, targets))
    pixels = known(predicted, targets)
    expected = f1_score(*pixels, labels=range(K), average=None, zero_division=np.nan)
    np.testing.assert_allclose(found["dice"], expected, rtol=1e-12)
    assert np.isnan(found["dice"]).tolist() == np.isnan(found["iou"]).tolist() == [False, False, True, False]
    others = [0, 1, 3]
    np.testing.assert_allclose(found["iou"][others], jaccard_score(*pixels, labels=others, average=None), rtol=1e-12)


def test_numbers_by_hand() -> None:
    targets = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 255], [0, 1, 255, 255], [0, 0, 0, 0], [255, 255, 255, 255]])
    predicted = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    found = overlap_scores(*region_counts(predicted, targets, 2).numpy().transpose(1, 0, 2), foreground=(1,))
    assert found == pytest.approx(
        {
            "dice": 2 * 1 / (5 + 3), "iou": 1 / 7, "accuracy": 7 / 13,
            "dice_per_image": (0.5 + 0) / 2, "iou_per_image": (1 / 3 + 0) / 2,
            "found": 1 / 2,  # rows 0 and 2 have class 1; in row 0 a pixel of it is answered right
            "clean_kept": 1 / 2,  # rows 1 and 3 have none; in row 1 only the unknown pixel is claimed
        }
    )  # fmt: skip
