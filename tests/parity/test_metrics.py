"""Scores equal scikit-learn's, and weights equal repeated rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from chainrule.functional import metrics

EXACT = 1e-10  # both sum in float64; only the order of summation differs


def classification_case(seed: int, N: int, K: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(K), N)
    if ties:
        probabilities = np.round(probabilities, 1) + 0.05
        probabilities /= probabilities.sum(1, keepdims=True)
    targets = np.append(np.arange(K), generator.integers(0, K, N - K))
    return probabilities, targets


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("N", [5, 40, 700])
def test_two_classes(N: int, ties: bool, positive: int) -> None:
    probabilities, targets = classification_case(N, N, 2, ties)
    threshold = 0.37
    ours = metrics.classification_scores(probabilities, targets, positive, threshold)
    share, truth = probabilities[:, positive], targets == positive
    answered = np.where(share >= threshold, positive, 1 - positive)
    false_alarms, sensitivity, _ = reference.roc_curve(truth, share, drop_intermediate=False)
    expected = {
        "accuracy": reference.accuracy_score(targets, answered),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, answered),
        "macro_f1": reference.f1_score(targets, answered, average="macro"),
        "roc_auc": reference.roc_auc_score(truth, share),
        "average_precision": reference.average_precision_score(truth, share),
        "sensitivity_at_specificity": sensitivity[false_alarms <= 0.05 + 1e-12].max(),
        "nats": reference.log_loss(targets, probabilities),
    }
    assert ours == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("N", "K"), [(12, 3), (300, 3), (500, 11)])
def test_several_classes(N: int, K: int, ties: bool) -> None:
    probabilities, targets = classification_case(N, N, K, ties)
    answered = probabilities.argmax(1)
    one_against_rest = np.eye(K)[targets]
    expected = {
        "accuracy": reference.accuracy_score(targets, answered),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, answered),
        "macro_f1": reference.f1_score(targets, answered, average="macro", zero_division=0),
        "roc_auc": reference.roc_auc_score(targets, probabilities, multi_class="ovr"),
        "average_precision": reference.average_precision_score(one_against_rest, probabilities),
        "nats": reference.log_loss(targets, probabilities),
    }
    assert metrics.classification_scores(probabilities, targets) == pytest.approx(expected, abs=EXACT)


def test_table_of_classes_and_confusion() -> None:
    probabilities, targets = classification_case(3, 200, 4, ties=False)
    answered = probabilities.argmax(1)
    counts = metrics.class_counts(targets, answered, 4)
    precision, recall, f1, support = reference.precision_recall_fscore_support(targets, answered)
    ours = (counts.precision, counts.recall, counts.f1, counts.support)
    for got, expected in zip(ours, (precision, recall, f1, support), strict=True):
        np.testing.assert_allclose(got, expected, atol=EXACT)
    expected = reference.confusion_matrix(targets, answered)
    np.testing.assert_array_equal(metrics.confusion_matrix(targets, answered, 4), expected)


@pytest.mark.parametrize("K", [2, 5])
def test_brier(K: int) -> None:
    probabilities, targets = classification_case(4, 100, K, ties=False)
    squares = ((probabilities - np.eye(K)[targets]) ** 2).sum(1).mean()
    expected = reference.brier_score_loss(targets, probabilities[:, 1]) if K == 2 else squares
    assert metrics.brier(probabilities, targets) == pytest.approx(expected, abs=EXACT)


def test_reliability_against_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    probabilities, targets = classification_case(5, 900, 2, ties=False)
    bins = metrics.reliability_bins(probabilities[:, 1], targets == 1, 10)
    share, stated = calibration_curve(targets, probabilities[:, 1], n_bins=10)
    np.testing.assert_allclose(bins.share[bins.count > 0], share, atol=EXACT)
    np.testing.assert_allclose(bins.confidence[bins.count > 0], stated, atol=EXACT)


def test_expected_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.35, 0.65]])
    targets = np.array([0, 1, 1, 1])
    # five bins: (0.6, 0.8] holds 0.8 wrong, 0.7 right, 0.65 right: |2/3 - 2.15/3|; (0.8, 1] holds 0.9 right: 0.1
    expected = 3 / 4 * abs(2 / 3 - 2.15 / 3) + 1 / 4 * 0.1
    assert metrics.expected_calibration_error(probabilities, targets, bins=5) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("N", [2, 50, 1000])
def test_regression(N: int, offset: float) -> None:
    generator = np.random.default_rng(N)
    targets = offset + 50 * generator.normal(size=N)
    predictions = targets + generator.normal(size=N)
    expected = {
        "mse": reference.mean_squared_error(targets, predictions),
        "rmse": reference.root_mean_squared_error(targets, predictions),
        "mae": reference.mean_absolute_error(targets, predictions),
        "r2": reference.r2_score(targets, predictions),
    }
    assert metrics.regression_scores(predictions, targets) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_weights_are_repeated_rows(K: int) -> None:
    generator = np.random.default_rng(K)
    N = 60
    weights = generator.integers(0, 4, (5, N))
    repeated = [np.repeat(np.arange(N), row) for row in weights]
    if K == 1:
        outputs, targets = generator.normal(size=N), generator.normal(size=N)
        drawn = metrics.regression_scorer(outputs, targets)(weights)
        expected = [metrics.regression_scores(outputs[rows], targets[rows]) for rows in repeated]
    else:
        outputs, targets = classification_case(K, N, K, ties=True)
        drawn = metrics.classification_scorer(outputs, targets, 1, 0.4)(weights)
        expected = [metrics.classification_scores(outputs[rows], targets[rows], 1, 0.4) for rows in repeated]
        single = metrics.classification_scores(outputs, targets, 1, 0.4, weights[0])
        assert single == pytest.approx(expected[0], abs=EXACT)
    for index, one in enumerate(expected):
        got = {name: float(values[index]) for name, values in drawn.items()}
        assert got == pytest.approx(one, abs=EXACT)


def test_no_warning_reaches_the_reference_free_paths() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.classification_scores(np.array([[1.0, 0.0]]), np.array([1]))
