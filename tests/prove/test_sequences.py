"""Texts, series and translation on real data through ``fit`` itself; each test asserts the goal of its issue.

Needs CHAINRULE_DATA. ``make prove`` prints the rows of docs/results.md.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.prove.record import record
from tests.prove.test_accuracy import told

import chainrule

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize("horizon", [24, 12])
def test_airline_passengers(tmp_path: Path, shared_data: Path, horizon: int) -> None:
    source, scores = shared_data / "time_series_small" / "airline-passengers.csv", []
    for seed in range(3):
        run = chainrule.fit(source, horizon=horizon, seed=seed, out=tmp_path / str(seed))
        scores.append(run.metrics["test"]["mase"])
    seasonal = next(entry for entry in run.metrics["baselines"] if entry["name"].startswith("seasonal"))
    mean = told(f"airline passengers, horizon {horizon}", "mase", scores, run)
    assert mean < 1
    assert max(scores) < seasonal["mase"]


def test_transformer_temperatures(tmp_path: Path, shared_data: Path) -> None:
    months = {"data.end": "2018-02-21", "data.valid_share": 0.2, "data.test_share": 0.2}  # 12 / 4 / 4 of the literature
    source, scores = shared_data / "etth1" / "ETTh1.csv.gz", []
    for seed in range(3):
        run = chainrule.fit(source, horizon=96, seed=seed, out=tmp_path / str(seed), set=months)
        scores.append(run.metrics["test"]["mse_scaled"])
    assert told("ETTh1, horizon 96", "mse_scaled", scores, run) <= 0.370
    run = chainrule.fit(source, horizon=96, model="lstm", out=tmp_path / "lstm", set={**months, "data.window": 96})
    assert told("ETTh1, horizon 96, lstm", "mse_scaled", [run.metrics["test"]["mse_scaled"]], run) <= 0.50


@pytest.mark.parametrize(("name", "goal"), [("sst2", 0.80), ("rt_polarity", 0.76)])
def test_opinions_of_films(tmp_path: Path, shared_data: Path, name: str, goal: float) -> None:
    scores = []
    for seed in range(3):
        run = chainrule.fit(shared_data / name, seed=seed, out=tmp_path / str(seed))
        scores.append(run.metrics["test"]["accuracy"])
    classical = run.metrics["baseline"]
    record(f"{name}, {classical['name']}", f"accuracy {classical['accuracy']:.4f}")
    assert told(name, "accuracy", scores, run) >= goal


def test_shakespeare_in_ten_minutes(tmp_path: Path, shared_data: Path) -> None:
    (source,) = (path for path in (shared_data / "tinyshakespeare").iterdir() if ".txt" in path.name)
    text = (gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()).decode()
    cut = int(0.9 * len(text))  # the last tenth is judged on, as usual
    (tmp_path / "train.txt").write_text(text[:cut])
    (tmp_path / "valid.txt").write_text(text[cut:])
    valid = str(tmp_path / "valid.txt")
    run = chainrule.fit(
        tmp_path / "train.txt", valid=valid, test=valid, model="lstm", time_limit="10m", out=tmp_path / "run"
    )
    assert told("tinyshakespeare, last tenth", "nats", [run.metrics["valid"]["nats"]], run) <= 1.60


def test_names_that_could_be(tmp_path: Path, shared_data: Path) -> None:
    shares = {"data.valid_share": 0.1, "data.test_share": 0.1}
    run = chainrule.fit(shared_data / "names", model="lstm", time_limit="6m", out=tmp_path / "run", set=shares)
    assert told("names, valid", "nats", [run.metrics["valid"]["nats"]], run) <= 2.00


def test_german_to_english_in_thirty_minutes(tmp_path: Path, shared_data: Path) -> None:
    run = chainrule.fit(shared_data / "multi30k", time_limit="30m", out=tmp_path / "run")
    assert run.metrics["model"] == "lstm_attention"
    assert told("Multi30k, German to English", "bleu", [run.metrics["test"]["bleu"]], run) >= 28
