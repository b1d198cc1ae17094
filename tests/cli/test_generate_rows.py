"""The verb generate on autoencoders: a sheet of pictures, rows of a table; files, JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.shapes import shapes
from tests.texts import story

from chainrule.cli import run

FEW = ["--task", "reconstruct", "--epochs", "2", "--set", "train.threads=1"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    x, y = shapes(90)
    np.savez(folder / "shapes.npz", x_train=x, y_train=y)
    assert run(["fit", str(folder / "shapes.npz"), "--model", "vae", "--out", str(folder / "run"), *FEW]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flowers") / "run"
    assert run(["fit", "iris", "--out", str(folder), *FEW]) == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    capsys.readouterr()
    assert run(["generate", *words]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_the_next_step_is_named(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (flowers / "report.html").read_text(encoding="utf-8")
    assert f"chainrule generate {flowers} -n 64" in page


def test_pictures_become_a_sheet(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = pictures / "samples/generated.png"
    assert printed(capsys, str(pictures), "-n", "9") == (f"9 pictures in {place}\n", "")
    with Image.open(place) as sheet:
        assert sheet.size == (3 * (96 + 6) + 6, 3 * (96 + 6) + 6)  # 12 x 12 pixels, each enlarged eight times
    assert printed(capsys, str(pictures))[0].startswith("64 pictures")


def test_a_class_a_seed_and_a_place(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheets = []
    for name, words in {"a": ["--class", "frame"], "b": ["--class", "frame"], "c": ["--seed", "1"], "d": []}.items():
        out = tmp_path / f"{name}.png"
        shown, told = printed(capsys, str(pictures), "-n", "4", "--out", str(out), "--json", *words)
        assert json.loads(shown) == {"number": 4, "file": str(out)}
        assert told == f"4 pictures in {out}\n"
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1]
    assert len(set(sheets)) == 3


def test_rows_of_a_table_are_csv(flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, _ = printed(capsys, str(flowers), "-n", "5")
    (tmp_path / "shown.csv").write_text(shown)
    rows = pl.read_csv(tmp_path / "shown.csv")
    assert len(rows) == 5
    assert rows.columns[0] == "sepal length (cm)"
    assert 2 < rows["sepal length (cm)"].mean() < 10
    listed = json.loads(printed(capsys, str(flowers), "-n", "5", "--json")[0])
    assert listed == {"number": 5, "rows": rows.to_dicts()}
    out = tmp_path / "out.csv"
    assert printed(capsys, str(flowers), "-n", "5", "--out", str(out))[0] == f"5 rows in {out}\n"
    assert out.read_text() == shown
    assert printed(capsys, str(flowers), "-n", "5", "--class", "setosa")[0] != shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "rose"], "there is no class 'rose'; known: setosa, versicolor, virginica"),
        (["-n", "0"], "the number of rows to draw is 1 or more, got 0"),
        (["--seed", "-1"], "the seed is a whole number from 0"),
        (["--prompt", "a"], "an autoencoder draws rows: give -n, --class, --seed and --out"),
        (["--temperature", "0.5"], "an autoencoder draws rows"), (["--stop", "a"], "an autoencoder draws rows"),
        (["--out", "no/such/folder/rows.csv"], "is no place for a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(
    words: list[str], message: str, flowers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["generate", str(flowers), *words]) == 2
    assert message in capsys.readouterr().err


def test_too_many_pictures_for_a_sheet(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", str(pictures), "-n", "1025"]) == 2
    assert "a sheet holds 1,024 pictures" in capsys.readouterr().err


def test_a_language_model_has_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text(story(60))
    small = ["--epochs", "1", "--set", "model.hidden=8", "--set", "model.layers=1"]
    assert run(["fit", str(tmp_path / "text.txt"), "--model", "lstm_lm", "--out", str(tmp_path / "run"), *small]) == 0
    capsys.readouterr()
    for words in (["--class", "a"], ["--out", str(tmp_path / "x.txt")]):
        assert run(["generate", str(tmp_path / "run"), *words]) == 2
        assert "--class and --out are for rows of an autoencoder" in capsys.readouterr().err


def test_a_classifier_generates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "xor", "--epochs", "1", "--out", str(tmp_path / "xor")]) == 0
    assert run(["generate", str(tmp_path / "xor")]) == 2
    assert "generate is for language models and autoencoders, this run learned to classify" in capsys.readouterr().err
