"""The verbs on a run that answers for pixels: folders of masks, tables, pages, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from chainrule.cli import run


def draw(path: Path, number: int) -> np.ndarray[Any, Any]:
    """A grey picture with a bright square, saved at ``path``; where the square is."""
    random = np.random.default_rng(number)
    there = np.zeros((32, 32), np.uint8)
    top, left = random.integers(2, 18, 2)
    there[top : top + 10, left : left + 10] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((70 + 110 * (there > 0) + random.integers(0, 20, there.shape)).astype(np.uint8)).save(path)
    return there


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("squares")
    (root / "masks").mkdir()
    for number in range(24):
        Image.fromarray(draw(root / f"images/{number:02d}.png", number)).save(root / f"masks/{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "squares"
    words = ["--model", "unet", "--epochs", "8", "--batch-size", "4", "--lr", "0.03", "--set", "model.widths=4,8"]
    assert run(["fit", str(squares), "--out", str(out), *words]) == 0
    return out


def test_predict_writes_a_folder(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = draw(tmp_path / "new/sub/a.png", 100)
    draw(tmp_path / "new/b.png", 101)
    out = tmp_path / "out"
    assert run(["predict", str(trained), str(tmp_path / "new"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"2 answers in {out}\n"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    pictures = {f"{folder}/{name}.png" for folder in ("masks", "overlays") for name in ("sub/a", "b")}
    assert files == pictures | {"areas.csv", "regions.csv"}
    mask = np.asarray(Image.open(out / "masks/sub/a.png"))
    assert set(np.unique(mask)) <= {0, 255}
    assert (mask == truth).mean() > 0.9
    areas = pl.read_csv(out / "areas.csv")
    assert areas.columns == ["id", "prediction", "share(background)", "share(object)", "regions"]
    assert areas["id"].to_list() == ["b.png", "sub/a.png"]
    regions = pl.read_csv(out / "regions.csv").filter(pl.col("image") == "sub/a.png")
    assert regions["pixels"].sum() == (mask == 255).sum()


def test_predict_prints_the_areas(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "a.png", 100)
    words = ["predict", str(trained), str(tmp_path / "a.png")]
    assert run(words) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header == "id,prediction,share(background),share(object),regions"
    assert row.startswith(f"{tmp_path}/a.png,object,")
    assert run([*words, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["share(background)"] + answer["share(object)"] == pytest.approx(1)
    assert run([*words, "--out", str(tmp_path / "areas.csv")]) == 0
    assert (tmp_path / "areas.csv").read_text().splitlines() == [header, row]
    capsys.readouterr()
    assert run([*words, "--json", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [answer]
    assert "1 answers in" in shown.err


@pytest.mark.parametrize(
    ("out", "message"), [("a.png", "is a file"), ("b.jpg", "the name of a file"), (".", "holds what is no answer")]
)
def test_other_places_are_refused(
    out: str, message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "a.png", 100)
    assert run(["predict", str(trained), str(tmp_path / "a.png"), "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_explain_says_where_it_is_unsure(
    trained: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "worst, middle, best by Dice" in shown
    assert "Uncertainty: entropy of the mean shares of the image and its mirror image" in shown
    assert "weights randomised 3 times" in shown
    assert f"page: {trained / 'explain.html'}" in shown
    assert (trained / "explain.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    page = tmp_path / "page.html"
    assert run(["explain", str(trained), str(squares / "images/00.png"), "--out", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == str(page)
    assert found["errors"] is None
    assert [one["id"] for one in found["images"]] == [str(squares / "images/00.png")]
    assert 0 < found["uncertainty"] < 1
