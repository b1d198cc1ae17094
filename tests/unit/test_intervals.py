"""Intervals: they cover the truth, repeat themselves, cost a bounded amount, and say no more than the rows allow."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.evaluate import intervals as module
from chainrule.evaluate.intervals import interval
from chainrule.functional.metrics import (
    classification_scorer,
    classification_scores,
    regression_scorer,
    regression_scores,
)
from chainrule.tasks.task import Rows


def score(rows: Rows) -> dict[str, float]:
    return classification_scores(rows["probabilities"], rows["targets"])


def prepare(rows: Rows):
    return classification_scorer(rows["probabilities"], rows["targets"])


def number_score(rows: Rows) -> dict[str, float]:
    return regression_scores(rows["predictions"], rows["targets"])


def number_prepare(rows: Rows):
    return regression_scorer(rows["predictions"], rows["targets"])


def classified(seed: int, N: int, K: int = 3, wrong: float = 0.2) -> Rows:
    """Targets, and answers that are wrong for a known share of the rows."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, K, N)
    shown = np.where(generator.random(N) < wrong, (targets + 1) % K, targets)
    return {"probabilities": (np.eye(K)[shown] * 0.7 + 0.3 / K), "targets": targets}


def test_prepared_and_resampled_intervals_are_the_same() -> None:
    rows = classified(0, 80)
    for groups in (None, np.arange(80) // 4):
        one, other = interval(score, rows, groups), interval(score, rows, groups, prepare=prepare)
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name])


def test_same_seed_same_interval_other_seed_another() -> None:
    rows = classified(1, 60)
    assert interval(score, rows, prepare=prepare) == interval(score, rows, prepare=prepare)
    assert interval(score, rows, prepare=prepare) != interval(score, rows, prepare=prepare, seed=1)


def test_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(300):
        low, high = interval(score, classified(seed, 120), prepare=prepare, draws=300)["accuracy"]
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 300 <= 0.99  # 0.95; 300 trials have a standard error of 0.013


def test_covers_the_true_error_of_a_large_sample_from_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORK", 1_000_000)  # 200 draws of 2,500 of the 20,000 rows
    covered, widths = 0, []
    for seed in range(40):
        residual = np.random.default_rng(seed).normal(size=20_000)
        low, high = interval(number_score, {"predictions": residual, "targets": np.zeros(20_000)},
                             prepare=number_prepare)["mse"]  # fmt: skip
        covered += low <= 1 <= high
        widths.append(high - low)
    assert covered >= 34  # 38 of 40 expected, standard error 1.4
    assert np.mean(widths) == pytest.approx(2 * 1.96 * (2 / 20_000) ** 0.5, rel=0.15)  # variance of a squared normal: 2


def test_groups_widen_the_interval_when_their_rows_agree() -> None:
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(40), 25)
    residual = generator.normal(size=40)[groups] + 0.1 * generator.normal(size=1000)
    rows = {"predictions": residual, "targets": np.zeros(1000)}
    by_row, by_group = (interval(number_score, rows, g, prepare=number_prepare)["mse"] for g in (None, groups))
    assert by_group[1] - by_group[0] > 3 * (by_row[1] - by_row[0])


def test_names_of_groups_may_be_words() -> None:
    rows = classified(3, 50)
    words, numbers = np.array([f"patient {n // 5:02d}" for n in range(50)]), np.arange(50) // 5
    assert interval(score, rows, words) == interval(score, rows, numbers)


@pytest.mark.parametrize("N", [8, 50])
def test_a_perfect_score_is_not_certain(N: int) -> None:
    rows = classified(4, N, K=2, wrong=0.0)
    low, high = interval(score, rows, prepare=prepare)["accuracy"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / N)), 1.0)  # Clopper and Pearson: low^N = 0.025
    rarest = np.bincount(rows["targets"]).min()
    bounds = interval(score, rows, prepare=prepare)["balanced_accuracy"]
    assert bounds == (pytest.approx(0.025 ** (1 / rarest)), 1.0)


def test_nothing_right_is_not_certain_either() -> None:
    low, high = interval(score, classified(5, 30, wrong=1.0), prepare=prepare)["accuracy"]
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))


def test_one_row_or_one_group_has_no_interval() -> None:
    assert interval(score, classified(6, 1)) == {}
    assert interval(score, classified(6, 30), groups=np.zeros(30)) == {}


def test_a_score_most_draws_do_not_define_has_no_interval() -> None:
    rows = {"probabilities": np.tile([0.6, 0.4], (40, 1)), "targets": np.zeros(40, int)}
    found = interval(score, rows, prepare=prepare)
    assert "roc_auc" not in found
    assert "nats" in found


def test_holds_the_score_and_the_work_stays_bounded() -> None:
    seen: list[int] = []

    def counted(rows: Rows):
        scorer = regression_scorer(rows["predictions"], rows["targets"])

        def score_of(weights):
            seen.append(weights.size)
            return scorer(weights)

        return score_of

    for N in (30, 3_000, 300_000):
        seen.clear()
        generator = np.random.default_rng(N)
        rows = {"predictions": generator.normal(size=N), "targets": generator.normal(size=N)}
        found = interval(number_score, rows, prepare=counted)
        for name, value in number_score(rows).items():
            assert found[name][0] <= value <= found[name][1]
        assert sum(seen) <= 5_000_000  # weights; each row has two values
