"""Accuracy on real data through ``fit`` itself; ``make prove`` prints the rows of docs/results.md.

Needs CHAINRULE_DATA except for scikit-learn's packaged sets. Each test asserts the goal that the project set itself.
"""

from __future__ import annotations

import gzip
import statistics
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.prove.record import record

import chainrule

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def told(name: str, metric: str, scores: list[float], run: Any) -> float:
    """Record one row of the table; gives the mean."""
    low, high = run.metrics["interval"].get(metric, (float("nan"),) * 2)  # a single row has none
    spread = f"+- {statistics.stdev(scores):.4g}" if len(scores) > 1 else f"(95 % between {low:.4f} and {high:.4f})"
    each, seconds = [round(score, 4) for score in scores], run.metrics["seconds"]["train"]
    record(
        f"{name}, {metric}",
        f"mean {statistics.mean(scores):.4f} {spread} of {each}; {seconds:.0f} s of training in the last run",
    )
    return statistics.mean(scores)


def test_breast_cancer_over_five_splits(tmp_path: Path) -> None:
    scores = []
    for seed in range(5):
        run = chainrule.fit("breast-cancer", out=tmp_path / str(seed), set={"data.split_seed": seed})
        scores.append(run.metrics["test"]["accuracy"])
    assert told("breast-cancer", "accuracy", scores, run) >= 0.965


def test_adult_on_its_official_split(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "adult", target=-1, out=tmp_path / "run")
    test = run.metrics["test"]
    told("adult", "accuracy", [test["accuracy"]], run)
    told("adult", "roc_auc", [test["roc_auc"]], run)
    assert run.metrics["rows"]["test"] > 16_000
    assert test["accuracy"] >= 0.862
    assert test["roc_auc"] >= 0.918


def test_california_housing_over_five_splits(tmp_path: Path, shared_data: Path) -> None:
    with gzip.open(shared_data / "california_housing" / "housing.csv.gz") as file:
        (tmp_path / "housing.csv").write_bytes(file.read())
    scores = []
    for seed in range(5):
        shares = {"data.test_share": 0.2, "data.valid_share": 0.1, "data.split_seed": seed}
        run = chainrule.fit(tmp_path / "housing.csv", target="median_house_value", out=tmp_path / str(seed), set=shares)
        scores.append(run.metrics["test"]["rmse"])
    assert told("California housing", "rmse", scores, run) <= 47_000


def test_fashion_mnist_in_ten_minutes(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "fashion_mnist", time_limit="10m", out=tmp_path / "run")
    assert run.metrics["rows"]["test"] >= 9_900
    assert told("Fashion-MNIST", "accuracy", [run.metrics["test"]["accuracy"]], run) >= 0.93


def test_a_table_of_many_kinds_of_columns_beats_the_mean(tmp_path: Path, shared_data: Path) -> None:
    for name, target, metric in (("titanic", "Survived", "accuracy"), ("iris", "-1", "accuracy")):
        source: Any = shared_data / name
        if name == "titanic":
            source = pl.read_csv(shared_data / name / "train.csv")
        run = chainrule.fit(source, target=target, out=tmp_path / name)
        told(name, metric, [run.metrics["test"][metric]], run)
        assert run.metrics["test"][metric] > run.metrics["baselines"][0][metric]


def test_mnist_in_ten_minutes(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "mnist", time_limit="10m", out=tmp_path / "run")
    assert told("MNIST", "accuracy", [run.metrics["test"]["accuracy"]], run) >= 0.995


def test_a_tenth_of_cifar_in_twenty_minutes(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "cifar10_subset", time_limit="20m", out=tmp_path / "run")
    assert run.metrics["rows"]["test"] == 2_000
    assert told("CIFAR-10 subset", "accuracy", [run.metrics["test"]["accuracy"]], run) >= 0.76


def test_breast_ultrasound_over_three_seeds(tmp_path: Path, shared_data: Path) -> None:
    runs = [chainrule.fit(shared_data / "breastmnist", seed=seed, out=tmp_path / str(seed)) for seed in range(3)]
    assert told("BreastMNIST", "roc_auc", [run.metrics["test"]["roc_auc"] for run in runs], runs[-1]) >= 0.88


def test_spoken_digits_by_speakers_never_heard(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "fsdd"
    mixed = chainrule.fit(source, epochs=20, out=tmp_path / "mixed")
    assert told("spoken digits, random split", "accuracy", [mixed.metrics["test"]["accuracy"]], mixed) >= 0.985
    run = chainrule.fit(source, epochs=20, group="_([a-z]+)_", folds=6, out=tmp_path / "speakers")
    values = run.metrics["folds"]["values"]["accuracy"]
    assert told("spoken digits, each speaker left out once", "accuracy", values, run) >= 0.85


@pytest.mark.xfail(reason="60 test clips, 204 to learn from: reached once, not reliably; docs/log.md", strict=False)
def test_fights_on_surveillance_cameras(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "surveillance_fight", out=tmp_path / "run")
    told("surveillance fights", "accuracy", [run.metrics["test"]["accuracy"]], run)
    assert run.metrics["interval"]["accuracy"][0] > 0.5
