"""Look-alikes on real pictures through ``fit`` itself; ``make prove`` prints the rows of docs/results.md.

Needs CHAINRULE_DATA. Each test asserts the goal that the project set itself, or that looking at pixels scores less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.prove.record import record

import chainrule

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
METRIC = "precision_at_10"


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def told(name: str, run: Any) -> tuple[float, float]:
    """Record one row of the table; gives the score and that of pixels as they are."""
    metrics = run.metrics
    low, high = metrics["interval"][METRIC]
    raw = next(entry[METRIC] for entry in metrics["baselines"] if entry["name"] == "raw input")
    score = metrics["test"][METRIC]
    record(
        f"{name}, {METRIC}",
        f"{score:.4f} (95 % between {low:.4f} and {high:.4f}), map {metrics['test']['map']:.4f}; raw pixels {raw:.4f}; "
        f"{metrics['seconds']['train']:.0f} s of training",
    )
    return score, raw


@pytest.mark.parametrize(("name", "least"), [("cifar10_subset", 0.70), ("fashion_mnist", 0.92)])
def test_look_alikes_with_labels(name: str, least: float, tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / name, task="embed", time_limit="8m", out=tmp_path / "run")
    assert told(f"look-alikes, {name}, ArcFace", run)[0] >= least


@pytest.mark.parametrize("name", ["cifar10_subset", "fashion_mnist"])
def test_look_alikes_without_labels(name: str, tmp_path: Path, shared_data: Path) -> None:
    settings = {"task.loss": "nt_xent"}
    run = chainrule.fit(shared_data / name, task="embed", time_limit="8m", out=tmp_path / "run", set=settings)
    score, raw = told(f"look-alikes, {name}, SimCLR", run)
    assert score > raw
