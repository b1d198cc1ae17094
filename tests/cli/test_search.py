"""The verbs that find what resembles: search, feed and index, for pictures, sound and texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.alike import draw, draw_shapes, learned

from chainrule.cli import run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", each=12)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(shapes, tmp_path_factory.mktemp("runs") / "run", steps=20).path


def test_search_prints_a_table(trained: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", str(trained), str(shapes / "rings/03.png"), "-k", "3"]) == 0
    told = capsys.readouterr()
    head, *lines = told.out.splitlines()
    assert head == "id,likeness,label"
    assert len(lines) == 3
    assert "rings/03.png" not in told.out
    assert told.err == ""


def test_search_as_json_and_as_a_page(
    trained: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert run(["search", str(trained), "rings/03.png", "--json", "--out", str(page)]) == 0
    told = capsys.readouterr()
    assert [sorted(row) for row in json.loads(told.out)] == [["id", "label", "likeness"]] * 10
    assert told.err == f"{page} written\n"
    assert page.read_text().count("<img") == 11


def test_feed_takes_one_option_or_many(trained: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = str(shapes / "rings/03.png"), str(shapes / "bars/01.png")
    assert run(["feed", str(trained), "--liked", one, other, "-k", "4"]) == 0
    first = capsys.readouterr().out
    assert run(["feed", str(trained), "--liked", one, "--liked", other, "-k", "4"]) == 0
    assert capsys.readouterr().out == first
    assert [line.split(",")[3] for line in first.splitlines()] == ["liked", one, other, one, other]


def test_index_of_another_collection(
    trained: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(trained, tmp_path / "run")
    assert run(["index", str(copy), str(shapes / "rings"), str(draw(tmp_path / "a.png", "bars", 77)), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["items"], made["dims"], made["metric"], made["search"]) == (13, 128, "cosine", "exact")
    assert run(["search", str(copy), str(shapes / "bars/00.png"), "-k", "20"]) == 0
    told = capsys.readouterr()
    assert str(tmp_path / "a.png") in told.out
    assert told.err == "note: 20 were asked for; 13 are all there are\n"
    assert run(["index", str(copy)]) == 0
    assert capsys.readouterr().out.startswith("36 items of 128 numbers (")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "RUN", "nowhere.png"], "nowhere.png"),
        (["search", "RUN", "rings/03.png", "-k", "0"], "-k is a number of items from 1, got 0"),
        (["search", "RUN", "rings/03.png", "--out", "no/page.html"], "no place for a file"),
        (["feed", "RUN"], "nothing is liked yet"),
        (["index", "RUN", "nowhere"], "nowhere"),
        (["search", "nowhere", "a.png"], "not a run folder"),
    ],
)
def test_bad_words_leave_with_2(
    trained: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(trained) if word == "RUN" else word for word in words]) == 2
    assert message in capsys.readouterr().err


def test_fit_says_what_comes_next(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "resnet9", "--set", "model.widths=4,4,4,4", "--set", "train.steps=2"]
    assert run(["fit", str(shapes), "--task", "embed", "--out", str(tmp_path / "run"), *small]) == 0
    told = capsys.readouterr().out
    assert f"next        chainrule search {tmp_path / 'run'} INPUT · evaluate · feed" in told


def test_sounds_that_resemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    time_s = np.arange(4000) / 8000
    for name, hz in (("low", 200), ("high", 1500)):
        for place in range(10):
            path = tmp_path / "tones" / name / f"{place}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = np.sin(2 * np.pi * hz * (1 + 0.02 * generator.standard_normal()) * time_s)
            soundfile.write(path, 0.3 * wave + 0.01 * generator.standard_normal(4000), 8000)
    out = str(tmp_path / "run")
    small = ["--model", "resnet9", "--set", "model.widths=8,8,16,16", "--set", "train.steps=60"]
    assert run(["fit", str(tmp_path / "tones"), "--task", "embed", "--out", out, *small]) == 0
    capsys.readouterr()
    assert run(["search", out, str(tmp_path / "tones/high/3.wav"), "-k", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in found] == ["high"] * 5
    assert "high/3.wav" not in {row["id"] for row in found}


def test_texts_that_resemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    words = {"sea": "wave ship sail tide fish".split(), "wood": "tree leaf moss owl deer".split()}  # noqa: SIM905
    lines = ["text,label"]
    for place in range(60):
        topic = ("sea", "wood")[place % 2]
        lines.append(f"{' '.join(generator.choice(words[topic], 6))} number{place % 7},{topic}")
    (tmp_path / "topics.csv").write_text("\n".join(lines) + "\n")
    out = str(tmp_path / "run")
    quick = ["--lr", "0.01", "--batch-size", "20", "--set", "train.steps=60"]
    assert run(["fit", str(tmp_path / "topics.csv"), "--task", "embed", "--out", out, *quick]) == 0
    capsys.readouterr()
    assert run(["feed", out, "--liked", "a ship and a wave", "an owl on a tree", "-k", "6", "--json"]) == 0
    told = capsys.readouterr()
    assert [row["label"] for row in json.loads(told.out)] == ["sea", "wood"] * 3
