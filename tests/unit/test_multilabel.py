"""Several labels a row: the loss by hand, micro-batches, the scores against scikit-learn, weights, predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import LabelsTarget
from chainrule.errors import InputError
from chainrule.functional.label_metrics import labels_scorer, labels_scores
from chainrule.tasks.multilabel import Multilabel, MultilabelConfig
from chainrule.tasks.table import task_of
from chainrule.tasks.task import At, resampled

TARGET = LabelsTarget(name="tags", classes=("a", "b", "c"), counts=(5, 3, 2))
AT = At(0, 1, torch.Generator())


class Given(nn.Module):
    """Gives its input back as logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def task() -> Multilabel:
    return Multilabel(MultilabelConfig(), TARGET)


def batch(rows: int = 12, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(rows, 3, generator=generator) < 0.4).float()
    return Batch((torch.randn(rows, 3, generator=generator),), targets, torch.arange(rows))


def test_the_loss_begins_at_ln_2_for_each_label() -> None:
    empty = Batch((torch.zeros(4, 3),), torch.ones(4, 3), torch.arange(4))
    (term,) = task().loss(Given(), empty, AT)
    assert float(term.total) / task().counts(empty)["loss"] == pytest.approx(3 * math.log(2))


def test_micro_batches_add_up() -> None:
    whole = batch()
    (term,) = task().loss(Given(), whole, AT)
    parts = [task().loss(Given(), part, AT)[0].total for part in whole.split(5)]
    assert float(sum(parts)) == pytest.approx(float(term.total), rel=1e-6)  # float32 sums in another order
    assert sum(task().counts(part)["loss"] for part in whole.split(5)) == task().counts(whole)["loss"] == 12


def test_scores_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    targets = (generator.random((60, 4)) < 0.3).astype(np.float32)
    shares = np.round(generator.random((60, 4)), 2).astype(np.float32)  # with ties
    said, found = shares >= 0.5, labels_scores(shares, targets)
    expected = {
        "macro_f1": metrics.f1_score(targets, said, average="macro"),
        "micro_f1": metrics.f1_score(targets, said, average="micro"),
        "average_precision": metrics.average_precision_score(targets, shares, average="macro"),
        "exact": metrics.accuracy_score(targets, said),
        "hamming": metrics.hamming_loss(targets, said),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    p = np.where(targets > 0, shares, 1 - shares).astype(np.float64)
    assert found["nats"] == pytest.approx(-np.log(np.maximum(p, 1e-38)).sum(1).mean())


def test_weights_are_how_often_a_row_counts() -> None:
    generator = np.random.default_rng(2)
    rows = {
        "probabilities": generator.random((20, 3)).astype(np.float32),
        "targets": (generator.random((20, 3)) < 0.5).astype(np.float32),
    }
    draws = generator.integers(0, 20, (5, 20))
    weights = np.stack([np.bincount(draw, minlength=20) for draw in draws])
    together = task().scorer(rows)(weights)
    for place, draw in enumerate(draws):
        alone = task().score(resampled(rows, draw))
        for name, value in alone.items():
            assert together[name][place] == pytest.approx(value, abs=1e-9), name


def test_labels_that_never_come_are_left_out_of_the_mean() -> None:
    shares = np.array([[0.9, 0.1], [0.2, 0.1]])
    assert labels_scores(shares, np.array([[1, 0], [0, 0]]))["macro_f1"] == 1
    nothing = labels_scores(np.full((2, 2), 0.1), np.zeros((2, 2)))
    assert "macro_f1" not in nothing
    assert nothing["exact"] == 1
    with pytest.raises(InputError, match="as many answers as targets"):
        labels_scorer(shares, np.zeros((3, 2)))


def test_the_names_above_the_threshold_are_answered() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [-1.0, -2.0, -3.0]])
    answers = task().predict(Given(), Batch((logits,), None, torch.arange(2)))
    assert answers["prediction"] == ["a; c", ""]
    assert answers["p(b)"] == pytest.approx(torch.sigmoid(logits[:, 1]).tolist())
    assert task().outputs() == ["a", "b", "c"]
    assert task_of(TARGET) == "multilabel"
    with pytest.raises(InputError, match=r"task\.monitor is 'f1'"):
        MultilabelConfig(monitor="f1")
