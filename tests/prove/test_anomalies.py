"""Anomalies on real data through ``fit`` itself; ``make prove`` prints the rows of docs/results.md.

Needs CHAINRULE_DATA except for scikit-learn's packaged set. Each test asserts the goal that the project set itself.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from tests.prove.record import record

import chainrule

pytestmark = [pytest.mark.prove, pytest.mark.timeout(7200)]
CLASSES = 10


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def beside(runs: list[Any], metric: str) -> str:
    """The mean of each baseline that has this metric."""
    names = [entry["name"] for entry in runs[0].metrics["baselines"] if metric in entry]
    scores = {name: [entry[metric] for run in runs for entry in run.metrics["baselines"] if entry["name"] == name]
              for name in names}  # fmt: skip
    return ", ".join(f"{name} {statistics.mean(values):.4f}" for name, values in scores.items())


def told(name: str, runs: list[Any]) -> float:
    """Record the mean of ROC AUC over runs; gives it."""
    scores = [run.metrics["test"]["roc_auc"] for run in runs]
    alarms = statistics.mean(run.metrics["test"]["false_alarms"] for run in runs)
    seconds = statistics.mean(run.metrics["seconds"]["train"] for run in runs)
    record(
        f"{name}, roc_auc",
        f"mean {statistics.mean(scores):.4f} of {[round(score, 4) for score in scores]}; beside it "
        f"{beside(runs, 'roc_auc')}; false alarms {alarms:.3f} where 0.05 were asked for; {seconds:.0f} s a run",
    )
    return statistics.mean(scores)


def test_breast_cancer_from_benign_rows_alone(tmp_path: Path) -> None:
    runs = [
        chainrule.fit("breast-cancer", task="reconstruct", out=tmp_path / str(seed),
                      set={"data.normal": ("benign",), "data.split_seed": seed})
        for seed in range(5)
    ]  # fmt: skip
    assert told("breast-cancer, trained on benign only", runs) >= 0.95


def test_fashion_mnist_with_one_class_normal_at_a_time(tmp_path: Path, shared_data: Path) -> None:
    runs = [
        chainrule.fit(shared_data / "fashion_mnist", task="reconstruct", out=tmp_path / str(label),
                      set={"data.normal": (str(label),)})
        for label in range(CLASSES)
    ]  # fmt: skip
    assert all(run.metrics["rows"]["test"] >= 9_900 for run in runs)
    assert told("Fashion-MNIST, one class normal at a time", runs) >= 0.90


def test_what_unnoticed_anomalies_cost(tmp_path: Path) -> None:
    run = chainrule.fit(
        "breast-cancer", task="reconstruct", out=tmp_path / "run",
        set={"data.normal": ("benign",), "data.polluted": 0.05},
    )  # fmt: skip
    with_them, without = run.metrics["test"]["roc_auc"], run.metrics["clean"]["test"]["roc_auc"]
    record("breast-cancer, 5 % of the normal rows malignant, roc_auc", f"{with_them:.4f}, without them {without:.4f}")
    assert without >= 0.95
