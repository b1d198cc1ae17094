"""The verb generate: words in, text out while it is written; seeds, several texts, JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.texts import names, story

import chainrule
from chainrule.cli import run

SHORT = ["--epochs", "1", "--set", "model.hidden=12", "--set", "model.layers=1", "--set", "train.threads=1"]


def trained(text: str, folder: Path) -> Path:
    (folder / "text.txt").write_text(text)
    assert run(["fit", str(folder / "text.txt"), "--model", "lstm_lm", "--out", str(folder / "run"), *SHORT]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def tale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned from running text."""
    return trained(story(), tmp_path_factory.mktemp("tale"))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned names."""
    return trained(names(), tmp_path_factory.mktemp("people"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(["generate", *words]) == 0
    return capsys.readouterr().out


def test_a_text_goes_on_after_its_prompt(tale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, str(tale), "--prompt", "the cat", "--length", "50")
    assert shown.startswith("the cat")
    assert len(shown) == len("the cat") + 50 + len("\n")
    assert printed(capsys, str(tale), "--prompt", "the cat", "--length", "50") == shown
    assert printed(capsys, str(tale), "--prompt", "the cat", "--length", "50", "--seed", "1") != shown


def test_the_likeliest_text_has_no_seed(tale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    greedy = [str(tale), "--length", "40", "--temperature", "0"]
    assert printed(capsys, *greedy, "--seed", "1") == printed(capsys, *greedy, "--seed", "2")
    assert printed(capsys, str(tale), "--length", "40", "--top-k", "1") == printed(capsys, *greedy)


def test_several_names_a_line_each(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, str(people), "-n", "8", "--length", "12").split("\n")
    assert len(found) == 9  # the last is empty
    assert len(set(found)) > 4
    assert all(len(name) <= 12 for name in found)


def test_as_json(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (str(people), "-n", "3", "--prompt", "ba", "--length", "9", "--top-p", "0.9", "--repetition", "1.2")
    texts = json.loads(printed(capsys, *words, "--json"))["texts"]
    assert "".join(f"{text}\n" for text in texts) == printed(capsys, *words)
    assert all(text.startswith("ba") for text in texts)


def test_a_stop_ends_it(tale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, str(tale), "--length", "200", "--stop", " ")
    assert " " not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "Ω"], "the prompt holds 'Ω', which the network never saw"),
        (["--temperature", "-1"], "temperature is a number from 0"), (["--top-p", "2"], "top_p is a share"),
        (["--top-k", "-3"], "top_k is a number"), (["--repetition", "0.1"], "repetition is a factor"),
        (["--length", "-1"], "length is a number of tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    words: list[str], message: str, tale: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["generate", str(tale), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_another_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "xor", "--epochs", "1", "--out", str(tmp_path / "xor")]) == 0
    assert run(["generate", str(tmp_path / "xor")]) == 2
    assert "generate is for language models" in capsys.readouterr().err


def test_predict_names_the_verb_that_is_meant(tale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(tale), "the cat"]) == 2
    assert "chainrule generate RUN --prompt TEXT" in capsys.readouterr().err


def test_another_text_is_scored(tale: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt").write_text(story(60, 5))
    capsys.readouterr()
    assert run(["evaluate", str(tale), str(tmp_path / "other.txt")]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("nats", "perplexity", "bits_per_char", "bits_per_byte"))


def test_what_it_writes_is_shown_while_it_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "song.txt"
    path.write_text("la la la lo la la le la\n" * 200)
    small = ["--set", "model.hidden=8", "--set", "model.layers=1", "--set", "data.window=16"]
    assert run(["fit", str(path), "--model", "lstm", "--epochs", "2", "--out", str(tmp_path / "run"), *small]) == 0
    shown = sorted((tmp_path / "run/samples").glob("step-*.txt"))
    assert len(shown) == 2
    assert shown[-1].read_text().strip() in capsys.readouterr().err
    capsys.readouterr()
    assert (
        run(["fit", str(path), "--model", "lstm", "--out", str(tmp_path / "no"), "--set", "train.micro_batch=4"]) == 2
    )
    assert "sees whole" in capsys.readouterr().err


def test_texts_in_memory_are_train_and_valid(tmp_path: Path) -> None:
    text = "la la la lo la la le la\n" * 100
    settings = {"model.hidden": 8, "model.layers": 1, "data.window": 16}
    trained = chainrule.fit(text, valid=text, test=text, model="lstm", epochs=1, out=tmp_path / "run", set=settings)
    assert trained.metrics["rows"]["valid"] > 0


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_text_at_all_is_refused(tale: Path, capsys: pytest.CaptureFixture[str], number: str) -> None:
    assert run(["generate", str(tale), "-n", number]) == 2
    assert "-n is a number of texts from 1" in capsys.readouterr().err


def test_trace_says_that_it_does_not_open_language_models(tale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", str(tale)]) == 2
    assert "of the task language, answers for every token" in capsys.readouterr().err
