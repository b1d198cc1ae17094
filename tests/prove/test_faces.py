"""ORL's faces: thirty people to train with, ten whom nobody saw to test; needs CHAINRULE_DATA and the face detector."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from tests.prove.record import record

import chainrule
from chainrule.data.archive import unpack

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
SPLITS = 4  # random ones beside the usual one: ten people are few
VALID = 4  # of the thirty, by which weights and threshold are chosen
SCORES = ("eer", "identification", "true_accept_at_1")


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def told(name: str, runs: list[Any]) -> dict[str, float]:
    """Record a row for each score, with the strongest baseline's; gives the means."""
    means = {}
    for score in SCORES:
        values = [run.metrics["test"][score] for run in runs]
        base = statistics.mean(run.metrics["baseline"][score] for run in runs)
        low, high = runs[0].metrics["interval"][score]
        spread = (
            f"of {[round(v, 3) for v in values]}" if len(values) > 1 else f"(95 % between {low:.3f} and {high:.3f})"
        )
        seconds = runs[-1].metrics["seconds"]["train"]
        means[score] = statistics.mean(values)
        text = f"mean {means[score]:.4f} {spread}; without a network {base:.4f}; {seconds:.0f} s of training"
        record(f"ORL faces, {name}, {score}", text)
    return means


def test_people_31_to_40_unseen(tmp_path: Path, shared_data: Path) -> None:
    people = unpack(shared_data / "orl_faces" / "orl_faces.zip") / "orl_faces"
    for number in range(1, 41):
        part = "test" if number > 30 else "valid" if number > 30 - VALID else "train"
        there = tmp_path / "faces" / part / f"s{number}"
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(people / f"s{number}", target_is_directory=True)
    run = chainrule.fit(tmp_path / "faces", task="verify", out=tmp_path / "run")
    assert run.metrics["rows"] == {"train": 260, "valid": 40, "test": 100}
    means = told("s31 to s40 unseen", [run])
    assert means["eer"] <= 0.10
    assert means["identification"] >= 0.88
    assert means["eer"] < 0.6 * run.metrics["baseline"]["eer"]


def test_ten_random_people_unseen(tmp_path: Path, shared_data: Path) -> None:
    runs = []
    for seed in range(SPLITS):
        split = {"data.split_seed": seed, "data.test_share": 0.25, "data.valid_share": 0.1}
        runs.append(chainrule.fit(shared_data / "orl_faces", task="verify", out=tmp_path / str(seed), set=split))
    means = told(f"ten unseen people, {SPLITS} splits", runs)
    assert means["eer"] <= 0.12
    assert means["identification"] >= 0.88
