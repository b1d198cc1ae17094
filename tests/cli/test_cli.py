"""The verbs through the command line's own entry, in one process: words in, exit code and text out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from chainrule.cli import run

SHORT = ["--epochs", "4", "--batch-size", "32"]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Iris as a CSV file with a header."""
    from chainrule.data.sources import open_source

    path = tmp_path_factory.mktemp("data") / "flowers.csv"
    pl.DataFrame(open_source("iris").value).write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished short run on it."""
    out = tmp_path_factory.mktemp("runs") / "flowers"
    assert run(["fit", str(flowers), "--target", "target", "--model", "mlp", "--out", str(out), *SHORT]) == 0
    return out


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_fit_says_what_it_recognised_and_writes_the_run_folder(
    flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(["fit", str(flowers), "--target", "target", "--model", "mlp", "--out", str(out), *SHORT]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("recognised  table: CSV")
    assert shown.out.splitlines()[1].startswith("learning    'target' (3 classes")
    assert "gradient boosting" in shown.out
    assert "95 % between" in shown.out
    assert "epoch 4/4 · iteration 16/16" in shown.err
    names = {path.name for path in out.iterdir()}
    files = (
        "recipe.json schema.json environment.json events.jsonl metrics.json report.html model.safetensors checkpoints"
    )
    assert set(files.split()) <= names
    metrics = json.loads((out / "metrics.json").read_text())
    assert {
        "task", "model", "parameters", "parent", "rows", "valid", "test", "interval", "baseline", "baselines",
        "seconds", "epochs", "steps",
    } <= metrics.keys()  # fmt: skip
    assert metrics["epochs"] == 4
    low, high = metrics["interval"]["accuracy"]
    assert low <= metrics["test"]["accuracy"] <= high


def test_the_same_command_gives_the_same_weights(flowers: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert run(["fit", str(flowers), "--target", "target", "--model", "mlp", "--out", str(out), *SHORT]) == 0
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_evaluate_repeats_the_scores_of_fit(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = printed(capsys, "evaluate", str(trained))
    metrics = json.loads((trained / "metrics.json").read_text())
    assert scores["metrics"] == pytest.approx(metrics["test"])
    assert scores["interval"]["accuracy"] == pytest.approx(metrics["interval"]["accuracy"])


def test_predict_matches_columns_by_name(
    flowers: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_csv(flowers)
    shuffled = tmp_path / "new.csv"
    frame.drop("target").select(reversed(frame.drop("target").columns)).write_csv(shuffled)
    a = printed(capsys, "predict", str(trained), str(flowers))
    b = printed(capsys, "predict", str(trained), str(shuffled))
    assert [row["prediction"] for row in a] == [row["prediction"] for row in b]
    assert {row["prediction"] for row in a} <= {"setosa", "versicolor", "virginica"}
    out = tmp_path / "answers.csv"
    assert run(["predict", str(trained), str(shuffled), "--out", str(out)]) == 0
    assert pl.read_csv(out)["prediction"].to_list() == [row["prediction"] for row in a]


def test_a_run_folder_moves(trained: Path, flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("recipe.json", "schema.json", "model.safetensors"):
        shutil.copy(trained / name, moved)
    assert printed(capsys, "predict", str(moved), str(flowers)) == printed(
        capsys, "predict", str(trained), str(flowers)
    )


def test_look_trains_nothing(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["look", str(flowers), "--target", "target"]) == 0
    shown = capsys.readouterr().out
    assert "recognised  table" in shown
    assert "logistic regression" in shown
    assert list(tmp_path.iterdir()) == []


def test_resume_trains_longer_and_says_what_changed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    assert run(["resume", str(run_folder), "--epochs", "6"]) == 0
    shown = capsys.readouterr()
    assert "train.epochs: 4 -> 6" in shown.out
    assert "steps: 16 -> 24" in shown.out
    assert json.loads((run_folder / "metrics.json").read_text())["steps"] == 24


def test_resume_refuses_changed_data_and_other_settings(
    flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "run"
    shutil.copy(flowers, data)
    assert run(["fit", str(data), "--target", "target", "--model", "mlp", "--out", str(out), *SHORT]) == 0
    assert run(["resume", str(out), "--set", "train.batch_size=9"]) == 2
    assert "cannot change train.batch_size" in capsys.readouterr().err
    data.write_text(data.read_text().replace("5.1", "5.2", 1))
    assert run(["resume", str(out), "--epochs", "5"]) == 2
    assert "data changed" in capsys.readouterr().err
    assert run(["resume", str(out), "--epochs", "5", "--accept-data-change"]) == 0


def test_folds_add_a_cross_validated_score(flowers: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["fit", str(flowers), "--target", "target", "--model", "mlp", "--folds", "3", "--out", str(out), *SHORT]
    assert run(words) == 0
    folds = json.loads((out / "metrics.json").read_text())["folds"]
    assert folds["k"] == 3
    assert len(folds["values"]["accuracy"]) == 3
    tests = [json.loads((out / f"folds/{i}/metrics.json").read_text())["rows"]["test"] for i in range(3)]
    assert sum(tests) in (149, 150)  # iris holds one row twice; it may be left out of one fold


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "no-such-file.csv"], "no-such-file.csv"),
        (["fit", "DATA"], "target"),
        (["fit", "DATA", "--target", "tarhet"], "target"),
        (["fit", "DATA", "--target", "target", "--model", "mpl"], "mlp"),
        (["fit", "DATA", "--target", "target", "--set", "train.epoch=3"], "train.epochs"),
        (["fit", "DATA", "--target", "target", "--set", "train.epochs=many"], "train.epochs"),
        (["fit", "DATA", "--target", "target", "--set", "epochs"], "part.name=value"),
        (["fit", "DATA", "--target", "target", "--set", "model.num_classes=4"], "comes from the data"),
        (["fit", "DATA", "--target", "target", "--model", "resnet18"], "does not serve"),
        (["fit", "DATA", "--target", "target", "--task", "regress"], "target"),
        (["fit", "DATA", "--target", "target", "--device", "tpu"], "cpu"),
        (["fit", "DATA", "--target", "target", "--time-limit", "soon"], "10m"),
        (["fit", "DATA", "--target", "target", "--set", "augment.flip=yes"], "augment.flip"),
        (["resume", "DATA"], "not a run folder"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["predict", "nowhere", "x.csv"], "not a run folder"),
        (["models", "resnet19"], "resnet"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    words: list[str], message: str, flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = flowers
    if words == ["fit", "DATA"]:  # a table whose target cannot be guessed
        data = tmp_path / "unnamed.csv"
        data.write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(50)))
    code = run([str(data) if word == "DATA" else word for word in words])
    error = capsys.readouterr().err
    assert code == 2, error
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_a_taken_folder_is_refused(flowers: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "model.safetensors").read_bytes()
    assert run(["fit", str(flowers), "--target", "target", "--out", str(trained), *SHORT]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (trained / "model.safetensors").read_bytes() == before


def test_numbers_that_explode_leave_with_3_and_a_usable_model(flowers: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["fit", str(flowers), "--target", "target", "--model", "mlp", "--out", str(out), "--lr", "1e38"]
    assert run([*words, "--set", "optimizer.name=sgd", *SHORT]) == 3
    assert run(["predict", str(out), str(flowers)]) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_with_the_same_weights(
    flowers: Path, tmp_path: Path, number: int, code: int
) -> None:
    words = [sys.executable, "-m", "chainrule", "fit", str(flowers), "--target", "target", "--model", "mlp"]
    words += ["--epochs", "3000", "--set", "train.eval_every=100"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, "--out", str(whole)], check=True, capture_output=True, env=environment)
    with subprocess.Popen([*words, "--out", str(cut)], stderr=subprocess.PIPE, text=True, env=environment) as child:
        while not (cut / "events.jsonl").exists() and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(number)
        _, error = child.communicate(timeout=60)
    assert child.returncode == code, error
    assert f"chainrule resume {cut}" in error
    assert run(["resume", str(cut)]) == 0
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()


def test_a_rare_class_gets_a_threshold_that_every_verb_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(800, 3))
    rare = x[:, 0] + 0.7 * random.normal(size=800) > 1.8
    data, out = tmp_path / "rare.csv", tmp_path / "run"
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "sick": np.where(rare, "yes", "no")})
    frame.write_csv(data)
    assert run(["fit", str(data), "--target", "sick", "--model", "mlp", "--epochs", "20", "--out", str(out)]) == 0
    target = json.loads((out / "schema.json").read_text())["target"]
    assert target["positive"] == "yes"
    assert target["threshold"] != 0.5
    answers = printed(capsys, "predict", str(out), str(data))
    assert all((row["prediction"] == "yes") == (row["p(yes)"] >= target["threshold"]) for row in answers)
    metrics = json.loads((out / "metrics.json").read_text())
    assert printed(capsys, "evaluate", str(out))["metrics"] == pytest.approx(metrics["test"])
    before = (out / "model.safetensors").read_bytes()
    assert run(["resume", str(out)]) == 0
    assert "finished    already" in capsys.readouterr().out
    assert (out / "model.safetensors").read_bytes() == before
    assert json.loads((out / "schema.json").read_text())["target"] == target


def test_weights_from_a_file_start_a_run(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    import chainrule

    torch.manual_seed(5)
    network = chainrule.create_model("mlp", in_features=3, num_classes=1, hidden=8)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    x = np.random.default_rng(0).normal(size=(60, 3))
    words = {"model": "mlp", "epochs": 1, "lr": 1e-12, "set": {"model.hidden": 8}}
    started = chainrule.fit((x, x @ [1.0, 2.0, 3.0]), weights=tmp_path / "w.safetensors", out=tmp_path / "run", **words)
    for a, b in zip(started.session.module.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)  # a learning rate of 1e-12 moves nothing
