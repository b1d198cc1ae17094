"""Baselines: they find what there is to find, refuse nothing a person may bring, and cost a bounded amount."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.evaluate import baselines as module
from chainrule.evaluate.baselines import Inputs, baselines, rows_within, strongest
from chainrule.functional.metrics import classification_scores, regression_scores


def table(seed: int, N: int) -> Inputs:
    """A target that a straight line misses and trees find; gaps, a category, an empty column."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(N, 3))
    codes = generator.integers(0, 4, (N, 1))
    targets = ((numbers[:, 0] * numbers[:, 1] > 0) ^ (codes[:, 0] == 3)).astype(int)
    numbers[:, 2] = np.nan
    numbers[generator.random(N) < 0.05, 0] = np.nan
    vector = np.concatenate((np.nan_to_num(numbers), np.eye(4)[codes[:, 0]]), 1).astype(np.float32)
    return Inputs(targets=targets, vector=vector, numbers=numbers, codes=codes)


def test_boosting_finds_what_a_line_cannot() -> None:
    entries = baselines("classify", table(0, 1500), table(1, 500), classification_scores, 2)
    majority, linear, boosting = entries
    assert [entry["name"] for entry in entries] == ["majority class", "logistic regression", "gradient boosting"]
    assert all(entry["rows"] == 1500 and entry["note"] == "" for entry in entries)
    assert majority["roc_auc"] == 0.5
    assert linear["accuracy"] < 0.7 < 0.85 < boosting["accuracy"]
    assert strongest(entries, "accuracy", "max") is boosting
    assert strongest(entries, "nats", "min") is boosting
    assert strongest(entries, "rmse", "min") is None


def test_regression_in_its_own_unit() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4))
    y = 2e5 + 1e4 * (x @ [3, -2, 1, 0])
    split = [Inputs(targets=y[part], vector=x[part].astype(np.float32), numbers=x[part])
             for part in (slice(200), slice(200, None))]  # fmt: skip
    mean, ridge, boosting = baselines("regress", *split, regression_scores)
    assert mean["name"] == "mean"
    assert mean["r2"] == pytest.approx(0, abs=0.05)
    assert ridge["r2"] > 0.999
    assert 0.7 < boosting["r2"] < 1


def test_equal_runs_give_equal_numbers() -> None:
    first, second = (baselines("classify", table(0, 300), table(1, 100), classification_scores, 2) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_one_class_leaves_only_the_majority() -> None:
    train = table(0, 50)
    train = Inputs(targets=np.zeros(50, int), vector=train.vector, numbers=train.numbers, codes=train.codes)
    entries = baselines("classify", train, table(1, 20), classification_scores, 2)
    assert [entry["name"] for entry in entries] == ["majority class"]


def test_classes_and_categories_that_train_lacks() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 2)).astype(np.float32)
    train = Inputs(targets=np.arange(40) % 2 * 2, vector=x, codes=np.arange(40)[:, None] % 3)
    test = Inputs(targets=np.array([0, 1, 2]), vector=x[:3], codes=np.array([[0], [7], [-1]]))
    entries = baselines("classify", train, test, classification_scores, 4)
    assert [entry["note"] for entry in entries] == ["", "", ""]
    assert all(0 <= entry["accuracy"] <= 2 / 3 for entry in entries)  # class 1 cannot be answered


def test_two_rows() -> None:
    train = Inputs(targets=np.array([0, 1]), vector=np.eye(2, dtype=np.float32), numbers=np.eye(2))
    entries = baselines("classify", train, train, classification_scores, 2)
    assert [entry["rows"] for entry in entries] == [2, 2, 2]


def test_many_rows_are_drawn_and_it_is_said() -> None:
    entries = baselines("classify", table(0, 900), table(1, 100), classification_scores, 2, max_rows=400)
    assert all(entry["rows"] == 400 and "fitted on 400 of 900 rows" in entry["note"] for entry in entries)


def test_limits_are_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COLUMNS", 3)
    monkeypatch.setattr(module, "BOOSTING_COLUMNS", 2)
    monkeypatch.setattr(module, "LINEAR_WORK", 0.0)
    _, linear, boosting = baselines("classify", table(0, 600), table(1, 100), classification_scores, 2)
    assert "on the 3 of 7 columns that vary most" in linear["note"]
    assert "on the first 2 columns" in boosting["note"]


def test_an_unsettled_line_is_said_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(size=(400, 30)) * np.logspace(0, 3, 30)  # columns that are far from standard units
    split = Inputs(targets=(hard.sum(1) + 300 * generator.normal(size=400) > 0).astype(int), vector=hard)
    linear = baselines("classify", split, split, classification_scores, 2)[1]
    assert linear["note"] == "stopped after 300 iterations, before it had settled"
    assert capfd.readouterr() == ("", "")


def test_what_is_too_large_for_boosting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOSTING_WORK", 1000.0)
    boosting = baselines("classify", table(0, 300), table(1, 100), classification_scores, 2)[2]
    assert boosting["note"] == "could not be fitted: 2 classes and 3 columns are too many for a quick fit"
    assert "accuracy" not in boosting


def test_infinite_numbers_and_many_categories() -> None:
    train = table(0, 2000)
    assert train.numbers is not None
    train.numbers[3, 1] = np.inf
    train = Inputs(targets=train.targets, numbers=train.numbers, codes=np.arange(2000)[:, None] % 700)
    entries = baselines("classify", train, train, classification_scores, 2)
    assert [entry["note"] for entry in entries] == ["", ""]


def test_drawn_rows_are_distinct_and_repeatable() -> None:
    rows = rows_within(1000, 100)
    assert len(set(rows.tolist())) == 100
    np.testing.assert_array_equal(rows, rows_within(1000, 100))
    np.testing.assert_array_equal(rows_within(5, 100), np.arange(5))
