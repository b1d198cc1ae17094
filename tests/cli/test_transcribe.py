"""Recordings and texts from the command line: learned, judged, answered for, resumed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from chainrule.cli import app
from chainrule.errors import InputError

RATE = 4000
PITCHES_HZ = {"a": 400.0, "b": 700.0, "c": 1200.0}


def sound(text: str, seed: int) -> np.ndarray:
    """Each character as a tone of its pitch, a little noise around all of them."""
    generator = np.random.default_rng(seed)
    parts = [np.zeros(160)]
    for character in text:
        moments = np.arange(generator.integers(300, 420)) / RATE
        tone = np.sin(2 * np.pi * PITCHES_HZ.get(character, 0) * moments)
        parts += [0.4 * tone * np.hanning(len(tone)) ** 0.3, np.zeros(200)]
    signal = np.concatenate(parts)
    return np.asarray(signal + generator.normal(0, 0.005, len(signal)))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    rows = ["path,text"]
    for place in range(240):
        text = "".join(generator.choice(list("abc"), generator.integers(1, 5)))
        soundfile.write(folder / f"{place}.wav", sound(text, place), RATE)
        rows.append(f"{place}.wav,{text}")
    (folder / "tones.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    """The message of a call that is refused."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def trained(tones: Path) -> tuple[Path, str]:
    out = tones / "run"
    plain = ("speed", "noise", "time_mask", "frequency_mask")  # where pitch is the answer and the set is small
    told = run(
        "fit", tones / "tones.csv", "--task", "transcribe", "--model", "lstm", "--epochs", 8, "--batch-size", 8,
        "--out", out, "--set", "model.hidden=32", "--set", "model.channels=32", "--set", "model.layers=1",
        "--lr", 0.01, "--set", "schedule.warmup=0.3", *(f"--set=augment.{name}=0" for name in plain),
    )  # fmt: skip
    return out, told


def test_pitches_are_learned_as_characters(trained: tuple[Path, str]) -> None:
    out, told = trained
    assert "by lstm_ctc in 8 epochs" in told
    assert "baselines   cer on test: commonest text" in told
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["task"] == "transcribe"
    assert metrics["test"]["cer"] < 0.15, metrics["test"]
    assert metrics["baseline"]["cer"] > 2 * metrics["test"]["cer"]
    low, high = metrics["interval"]["cer"]
    assert low <= metrics["test"]["cer"] <= high
    report = (out / "report.html").read_text()
    assert "cer" in report
    if metrics["test"]["cer"]:
        assert "edits of" in report


def test_predict_writes_the_text_of_each_sound(trained: tuple[Path, str], tones: Path) -> None:
    out, _ = trained
    soundfile.write(tones / "new.wav", sound("cab", 999), RATE)
    table = list(csv.DictReader(io.StringIO(run("predict", out, tones / "new.wav", tones / "3.wav"))))
    assert [row["id"] for row in table] == [str(tones / "new.wav"), str(tones / "3.wav")]
    assert table[0]["prediction"] == "cab"
    assert 0.3 < float(table[0]["probability"]) <= 1


def test_evaluate_counts_characters_that_were_not_learned(trained: tuple[Path, str], tones: Path) -> None:
    out, _ = trained
    (tones / "other.csv").write_text("path,text\n0.wav,xyz\n1.wav,aq\n")
    told = run("evaluate", out, tones / "other.csv")
    assert "4 characters of 2 texts are not among those learned" in told
    assert "cer" in told


def test_verbs_that_do_not_serve_texts_say_so(trained: tuple[Path, str]) -> None:
    out, _ = trained
    assert "answers for every frame" in refused("trace", out)
    assert "this run learned to transcribe" in refused("explain", out)
    assert "texts have no mean" in refused("evaluate", out, "--views", 2)
