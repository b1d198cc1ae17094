"""The verbs on parallel text: a tiny language pair is learned exactly, then translated, judged and drawn."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest

from chainrule.cli import run

pytest.importorskip("sacrebleu")

WORDS = {
    "rot": "red", "blau": "blue", "klein": "small", "gross": "large", "Haus": "house", "Hund": "dog", "Katze": "cat",
    "alt": "old", "neu": "new", "Baum": "tree",
}  # fmt: skip
LEARN = [
    "--epochs", "30", "--lr", "0.01", "--set", "model.hidden=48", "--set", "model.embedding=48",
    "--set", "model.dropout=0",
]  # fmt: skip


def translated(text: str) -> str:
    return " ".join(WORDS[word] for word in reversed(text.split()))


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(list(WORDS), k=draw.randint(2, 5))) for _ in range(count)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("text")
    german = sentences(500, 0)
    (folder / "all.de").write_text("\n".join(german) + "\n", encoding="utf-8")
    (folder / "all.en").write_text("\n".join(map(translated, german)) + "\n", encoding="utf-8")
    return folder / "all.de", folder / "all.en"


@pytest.fixture(scope="module")
def trained(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reversed"
    assert run(["fit", *map(str, files), "--out", str(out), *LEARN]) == 0
    return out


def test_a_reversed_language_is_learned_exactly(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["task"] == "translate"
    assert metrics["model"] == "lstm_attention"
    assert metrics["test"]["bleu"] > 95
    assert metrics["test"]["bleu"] > metrics["baseline"]["bleu"] + 50
    assert {entry["name"] for entry in metrics["baselines"]} == {"copy of the source", "word-by-word dictionary"}
    low, high = metrics["interval"]["bleu"]
    assert low <= metrics["test"]["bleu"] <= high
    report = (trained / "report.html").read_text(encoding="utf-8")
    assert "What it writes" in report
    assert report.count("  written  ") == 8


def test_predict_translates_sentences_and_files(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Haus klein rot"
    assert run(["predict", str(trained), text]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header == "id,prediction,probability"
    assert row.split(",")[:2] == ["sentence 1", translated(text)]
    new = sentences(20, 7)
    (tmp_path / "new.de").write_text("\n".join([*new[:3], "", *new[3:]]) + "\n", encoding="utf-8")
    assert run(["predict", str(trained), str(tmp_path / "new.de"), "--out", str(tmp_path / "new.csv")]) == 0
    found = pl.read_csv(tmp_path / "new.csv")["prediction"].to_list()
    assert len(found) == 21
    assert not found.pop(3)  # the empty line keeps its place
    assert sum(one == translated(other) for one, other in zip(found, new, strict=True)) >= 19


def test_evaluate_scores_the_test_split_and_two_other_files(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(trained), "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["metrics"]["bleu"] == json.loads((trained / "metrics.json").read_text())["test"]["bleu"]
    new = sentences(40, 9)
    (tmp_path / "new.src").write_text("\n".join(new), encoding="utf-8")
    (tmp_path / "new.ref").write_text("\n".join(map(translated, new)), encoding="utf-8")
    assert run(["evaluate", str(trained), str(tmp_path / "new.src"), str(tmp_path / "new.ref"), "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["rows"] == 40
    assert other["metrics"]["bleu"] > 95


def test_explain_draws_where_words_come_from(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(trained)]) == 0
    assert "of the written words were read from one word" in capsys.readouterr().out


def test_look_says_what_it_is(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    both = files[0].parent
    assert run(["look", str(both)]) == 0
    out = capsys.readouterr().out
    assert "parallel: text files in de, en for all" in out
    assert "word-by-word dictionary" in out


def test_files_of_unequal_length_are_a_usage_error(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.en"
    short.write_text("\n".join(files[1].read_text(encoding="utf-8").splitlines()[:400]), encoding="utf-8")
    assert run(["fit", str(files[0]), str(short), "--out", str(tmp_path / "run")]) == 2
    assert "all.de has 500 lines and short.en has 400" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
