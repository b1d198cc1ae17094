"""What holds for scores of any rows: bounds, invariances, and samples in which a class is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import InputError
from chainrule.functional import metrics

SHARES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "average_precision",
    "sensitivity_at_specificity",
)


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N K) with many ties, and targets in which classes may be missing."""
    K, N = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    raw = generator.integers(0, draw(st.sampled_from([1, 3, 1000])), (N, K)) + 1e-3
    return raw / raw.sum(1, keepdims=True), generator.integers(0, draw(st.integers(1, K)), N)


@given(classified())
@settings(max_examples=150, deadline=None)
def test_scores_are_finite_and_bounded_even_without_some_classes(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = case
    scores = metrics.classification_scores(probabilities, targets)
    assert {"accuracy", "balanced_accuracy", "macro_f1", "nats"} <= scores.keys()
    assert all(np.isfinite(value) for value in scores.values())
    assert all(0 <= scores[name] <= 1 + 1e-12 for name in SHARES if name in scores)
    assert scores["nats"] >= 0
    curved = len(np.unique(targets)) > 1 and probabilities.shape[1] > 1
    assert ("roc_auc" in scores) == curved
    assert ("average_precision" in scores) == curved


@given(classified(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_order_of_rows_does_not_matter(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    probabilities, targets = case
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    expected = metrics.classification_scores(probabilities, targets)
    assert metrics.classification_scores(probabilities[shuffled], targets[shuffled]) == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_area_counts_pairs_and_flips_with_the_score(positives: list[bool], seed: int) -> None:
    hits = np.array(positives)
    scores = np.random.default_rng(seed).integers(0, 6, len(hits)).astype(float)
    area = metrics.roc_auc(metrics.ranking(scores, hits).curve())
    if hits.all() or not hits.any():
        assert np.isnan(area)
        return
    pairs = scores[hits][:, None] - scores[~hits][None, :]
    assert area == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert metrics.roc_auc(metrics.ranking(-scores, hits).curve()) == pytest.approx(1 - area)


def test_perfect_and_useless_answers() -> None:
    targets = np.arange(30) % 3
    perfect = metrics.classification_scores(np.eye(3)[targets], targets)
    assert all(value == pytest.approx(1) for name, value in perfect.items() if name != "nats")
    assert perfect["nats"] == 0
    useless = metrics.classification_scores(np.full((30, 3), 1 / 3), targets)
    assert useless["nats"] == pytest.approx(np.log(3))
    assert useless["roc_auc"] == pytest.approx(0.5)


def test_equal_targets_have_no_r2_and_equal_rows_no_error() -> None:
    scores = metrics.regression_scores(np.full(9, 0.3), np.full(9, 0.1))
    assert "r2" not in scores
    assert scores["rmse"] == pytest.approx(0.2)
    assert metrics.regression_scores(np.arange(4.0), np.arange(4.0)) == {"mse": 0, "rmse": 0, "mae": 0, "r2": 1}


def test_a_diverged_network_shows_in_its_scores() -> None:
    broken = np.array([[np.nan, np.nan], [0.5, 0.5]])
    assert np.isnan(metrics.classification_scores(broken, np.array([0, 1]))["nats"])
    assert metrics.regression_scores(np.array([np.inf, 1.0]), np.array([0.0, 1.0]))["mse"] == np.inf


def test_float32_ranks_and_sums_without_loss() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(2), 200_000).astype(np.float32)
    targets = generator.integers(0, 2, 200_000)
    wide = metrics.classification_scores(probabilities.astype(np.float64), targets)
    assert metrics.classification_scores(probabilities, targets) == pytest.approx(wide, rel=1e-6)  # float32 logarithms


def test_many_classes_leave_the_curves_out() -> None:
    K = metrics.CURVE_CLASSES + 1
    probabilities = np.full((2 * K, K), 1 / K)
    assert set(metrics.classification_scores(probabilities, np.arange(2 * K) % K)) == {
        "accuracy", "balanced_accuracy", "macro_f1", "nats",
    }  # fmt: skip


@pytest.mark.parametrize(("outputs", "targets"), [(0, 0), (3, 2)])
def test_rows_that_do_not_belong_together_are_refused(outputs: int, targets: int) -> None:
    with pytest.raises(InputError, match=f"got {outputs} and {targets}"):
        metrics.classification_scores(np.ones((outputs, 2)), np.zeros(targets, int))
    with pytest.raises(InputError, match=f"got {outputs} and {targets}"):
        metrics.regression_scores(np.ones(outputs), np.zeros(targets))


def test_scores_need_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, chainrule.functional.metrics; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
