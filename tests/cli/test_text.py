"""The verbs on a run of texts: fit, predict on files and sentences, evaluate, explain, several labels."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.sentences import BAD, GOOD, reviews

import chainrule
from chainrule.cli import run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts, labels = reviews(240)
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    pl.DataFrame({"review": texts, "label": labels}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reviews"
    # all other settings are the usual ones; by nats, since of equal accuracies the first, unsure weights would be kept
    words = ["--epochs", "30", "--lr", "0.03", "--set", "model.buckets=0", "--set", "task.monitor=nats"]
    assert run(["fit", str(table), "--out", str(out), *words]) == 0
    return out


def test_fit_says_what_it_took_the_data_for(trained: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["look", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "text: column 'review' of 2 holds texts (" in shown
    assert "texts are read as" in shown
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] >= 0.9
    assert [entry["name"] for entry in metrics["baselines"]] == ["majority class", "TF-IDF + logistic regression"]
    assert metrics["baselines"][1]["accuracy"] >= 0.9
    assert "take" in (trained / "report.html").read_text()


def test_predict_on_a_sentence_and_on_a_file(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = ["a brilliant film with this song", "the plot of it is dull"]
    assert run(["predict", str(trained), *sentences]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "id,prediction,probability,p(bad),p(good)"
    assert first.startswith("text 1,good,")
    assert second.startswith("text 2,bad,")
    (tmp_path / "new.txt").write_text("\n".join(sentences) + "\n")
    pl.DataFrame({"review": sentences, "when": [1, 2]}).write_csv(tmp_path / "new.csv")
    for name, ids in (("new.txt", ["new.txt line 1", "new.txt line 2"]), ("new.csv", ["row 1", "row 2"])):
        assert run(["predict", str(trained), str(tmp_path / name), "--out", str(tmp_path / "answers.csv")]) == 0
        answers = pl.read_csv(tmp_path / "answers.csv")
        assert answers["id"].to_list() == ids
        assert answers["prediction"].to_list() == ["good", "bad"]
    capsys.readouterr()
    assert run(["predict", str(trained), "nothing.csv"]) == 2
    assert "no file 'nothing.csv'" in capsys.readouterr().err


def test_evaluate_on_other_texts(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = reviews(40, seed=5)
    pl.DataFrame({"review": texts, "label": labels}).write_csv(tmp_path / "other.csv")
    assert run(["evaluate", str(trained), str(tmp_path / "other.csv"), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["rows"] == 40
    assert scored["metrics"]["accuracy"] >= 0.9


def test_explain_marks_the_words_that_decided(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(trained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    decisive = {*GOOD, *BAD}
    assert any(sample["right"] for sample in found["samples"])
    for sample in (one for one in found["samples"] if one["right"]):
        strongest = max(sample["words"], key=lambda word: word["occlusion"])
        assert strongest["text"] in decisive
    assert {word["word"] for word in found["top"][:2]} <= decisive
    assert found["methods"]["occlusion"]["sanity"]["passed"]
    assert found["methods"]["integrated_gradients"]["complete"]
    page = (trained / "explain.html").read_text()
    assert "<script" not in page
    assert 'dir="auto"' in page


def test_explain_a_sentence_escapes_it(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(trained), "a <b>lovely</b> film & a <script>plot"]) == 0
    assert "lovely" in capsys.readouterr().out
    page = (trained / "explain.html").read_text()
    assert "<script" not in page
    assert "&lt;" in page
    assert "&amp;" in page


def test_resume_is_exact(table: Path, tmp_path: Path) -> None:
    words = ["--model", "bag_of_embeddings", "--lr", "0.03", "--set", "schedule.name=constant"]
    assert run(["fit", str(table), "--out", str(tmp_path / "whole"), "--epochs", "4", *words]) == 0
    assert run(["fit", str(table), "--out", str(tmp_path / "half"), "--epochs", "2", *words]) == 0
    assert run(["resume", str(tmp_path / "half"), "--epochs", "4"]) == 0
    whole, half = (json.loads((tmp_path / name / "metrics.json").read_text())["test"] for name in ("whole", "half"))
    assert whole == half


def test_several_labels_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = reviews(240)
    cells = [f"{label}|song" if " song " in text else label for text, label in zip(texts, labels, strict=True)]
    pl.DataFrame({"text": texts, "labels": cells}).write_csv(tmp_path / "t.csv")
    out = tmp_path / "run"
    words = ["--model", "bag_of_embeddings", "--epochs", "30", "--lr", "0.03", "--set", "data.labels=|"]
    assert run(["fit", str(tmp_path / "t.csv"), "--out", str(out), *words]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["task"] == "multilabel"
    assert metrics["test"]["macro_f1"] >= 0.85
    capsys.readouterr()
    assert run(["predict", str(out), "a dull song with this end", "the lovely cast"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "id,prediction,p(bad),p(good),p(song)"
    assert first.split(",")[1] == "bad; song"
    assert second.split(",")[1] == "good"
    assert run(["explain", str(out), "--json"]) == 0
    assert "song" in {word["answer"] for word in json.loads(capsys.readouterr().out)["top"]}


def test_texts_in_python() -> None:
    texts, labels = reviews(160)
    trained = chainrule.fit((texts, labels), model="bag_of_embeddings", epochs=20, set={"augment.word_dropout": 0})
    answers = trained.predict(["a brilliant plot", "that awful end"])
    assert len(answers) == 2
    assert trained.explain(["a brilliant plot"]).as_dict()["samples"][0]["words"][1]["text"] == "brilliant"
