"""The verbs on a series: fit with a horizon, look, predict with and without new data, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from chainrule.cli import run


def write(path: Path, count: int) -> Path:
    """Hours with a daily pattern."""
    steps = np.arange(count)
    noise = np.random.default_rng(0).standard_normal(count)
    times = np.datetime64("2024-03-01T00", "h") + steps
    cells = [str(time).replace("T", " ") + ":00" for time in times.astype("datetime64[h]")]
    pl.DataFrame({"time": cells, "load": 20 + 5 * np.sin(2 * np.pi * steps / 24) + noise}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "hours.csv", 500)


@pytest.fixture(scope="module")
def trained(hours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "hours"
    words = ["--horizon", "12", "--epochs", "6", "--set", "train.threads=1", "--set", "train.compile=off"]
    assert run(["fit", str(hours), "--out", str(out), *words]) == 0
    return out


def test_fit_says_what_it_found(hours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--horizon", "6", "--epochs", "1", "--model", "gru", "--set", "model.hidden=4", "--set", "data.window=12"]
    assert run(["fit", str(hours), "--out", str(tmp_path / "run"), *words]) == 0
    told = capsys.readouterr().out
    for part in (
        "series: a regular series every hour of 1 column", "the next 6 steps of load by gru_forecast",
        "looks back 12", "season 24 steps (a day)", "calendar: hour", "none reaches into the next part",
        "seasonal naive (24)", "test        mase",
    ):  # fmt: skip
        assert part in told, part


def test_look_trains_nothing(hours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["look", str(hours), "--horizon", "12"]) == 0
    assert "baselines   mase on test: naive" in capsys.readouterr().out


def test_predict_goes_on_after_the_end(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(trained), "--horizon", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "time,series,forecast,lower,upper"
    assert lines[1].startswith("2024-03-21 20:00:00,load,")
    out = tmp_path / "next.csv"
    assert run(["predict", str(trained), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"12 answers in {out}\n"
    assert len(pl.read_csv(out)) == 12
    assert out.with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")


def test_predict_from_newer_data(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = write(tmp_path / "newer.csv", 520)
    assert run(["predict", str(trained), str(newer), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["time"] == "2024-03-22 16:00:00"


def test_evaluate_and_resume(trained: Path, hours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(trained)]) == 0
    assert "coverage" in capsys.readouterr().out
    assert run(["evaluate", str(trained), str(hours)]) == 0
    assert run(["resume", str(trained), "--epochs", "7"]) == 0


def test_refusals_end_with_two_and_the_way_out(
    trained: Path, hours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, part in (
        (["fit", str(hours), "--horizon", "400"], "500 times; a window of"),
        (["fit", str(hours), "--horizon", "4", "--model", "resnet18"], "these do: dlinear, tcn"),
        (["predict", str(trained), "--horizon", "0"], "--horizon must be 1 or more"),
        (["predict", str(trained), "--horizon", "9000"], "too far to roll on"),
        (["predict", str(trained), str(write(tmp_path / "short.csv", 5))], "known values to look back on"),
    ):
        assert run(words) == 2, words
        assert part in capsys.readouterr().err, words


def test_the_report_says_how_a_forecast_is_used(tmp_path: Path) -> None:
    rows = "\n".join(f"2024-01-{day:02},{day % 7}" for day in range(1, 32))
    more = "\n".join(f"2024-02-{day:02},{(day + 3) % 7}" for day in range(1, 30))
    (tmp_path / "days.csv").write_text(f"day,count\n{rows}\n{more}\n")
    out = tmp_path / "run"
    assert run(["fit", str(tmp_path / "days.csv"), "--horizon", "3", "--epochs", "1", "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert f"chainrule predict {out} --horizon N" in page
    assert "chainrule explain" not in page
