"""The README's tour, run as it stands: every command, every Python block, and what the README says comes out."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.cli import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
TOLERANCE = 0.1  # of scores and losses, absolute below 1: they follow the processor's rounding; counts must be equal


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """(command, shown lines) of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, [line for line in shown if line.strip()]


def execute(command: str, interrupted: bool) -> list[str]:
    """The lines a command prints, live progress and blank lines left out; ``interrupted``: Ctrl-C once it trains."""
    words = shlex.split(command)
    if words[0] != "chainrule":
        assert words[0] == "cmp", f"the README runs {words[0]!r}, which this test does not know"
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    if interrupted:
        folder = Path(words[words.index("--out") + 1])
        threading.Thread(target=_interrupt, args=(folder,), daemon=True).start()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(words[1:])
    assert code == (130 if interrupted else 0), printed.getvalue()
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return [line for line in lines if line and not re.match(r"epoch \d+/", line)]


def _interrupt(folder: Path) -> None:
    until = time.monotonic() + 60
    while not (folder / "events.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def disagreement(shown: list[str], real: list[str]) -> str:
    """The first shown line that is not what came, or nothing; a line "..." stands for any number of lines."""
    at, skipping = 0, False
    for line in shown:
        if line.strip() == "...":
            skipping = True
            continue
        ends = len(real) if skipping else min(at + 1, len(real))
        found = next((i for i in range(at, ends) if agrees(line, real[i])), None)
        if found is None:
            return line
        at, skipping = found + 1, False
    return "" if skipping or at == len(real) else f"nothing, but there came: {real[at]}"


def agrees(shown: str, real: str) -> bool:
    """Whether a line is what the README shows: "..." is anything, counts are equal, scores are near."""
    tokens = re.split(rf"(\.\.\.|{NUMBER})", shown.rstrip())
    numbers = [token for token in tokens if re.fullmatch(NUMBER, token)]
    parts = {"...": ".*?"} | dict.fromkeys(numbers, f"({NUMBER})")
    found = re.fullmatch("".join(parts.get(token, re.escape(token)) for token in tokens), real)
    return found is not None and all(_near(a, b) for a, b in zip(numbers, found.groups(), strict=True))


def _near(shown: str, real: str) -> bool:
    a, b = float(shown), float(real)
    if a.is_integer() and abs(a) > 1:
        return a == b
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a))


@pytest.mark.timeout(300)
def test_the_tour_shows_what_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    told = 0
    for language, block in blocks(README):
        if language == "python":
            exec(compile(block, "README.md", "exec"), names)
            continue
        assert language == "console", f"a block of {language!r}, which this test does not run"
        for command, shown in commands(block):
            interrupted = "^C" in shown
            real = execute(command, interrupted)
            wrong = disagreement([line for line in shown if line != "^C"], real)
            assert not wrong, f"$ {command}\nthe README shows: {wrong}\nthere came:\n" + "\n".join(real)
            told += 1
    assert told > 10


def test_the_demo_is_a_command_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:", makefile, flags=re.MULTILINE)
    demo = re.search(r"^demo:.*\n(?:\t.*\n)*\t\$\(BIN\)/(chainrule .*)$", makefile, flags=re.MULTILINE)
    assert demo is not None
    lines = execute(demo[1], interrupted=False)
    assert any("baselines" in line for line in lines)
    assert any("95 % between" in line for line in lines)
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()
    assert "runs/demo/report.html" in README


def test_every_named_proof_exists() -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.-]+)`", README)
    assert len(named) > 15
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert missing == []


@pytest.mark.parametrize(
    ("shown", "real", "agree"),
    [
        ("accuracy 0.77 (95 % between 0.7 and 1)", "accuracy 0.75 (95 % between 0.69 and 0.99)", True),
        ("accuracy 0.77 on 180 rows", "accuracy 0.77 on 181 rows", False),
        ("accuracy 0.77 ...", "accuracy 0.5 on 180 rows", False),
        ("accuracy ... rows", "accuracy 0.5 on 180 rows", True),
        ("accuracy 1", "accuracy 0.5", False),
    ],
)
def test_the_comparison_itself(shown: str, real: str, agree: bool) -> None:
    assert agrees(shown, real) == agree


def test_lines_left_out_without_dots_are_noticed() -> None:
    assert disagreement(["a", "c"], ["a", "b", "c"]) == "c"
    assert disagreement(["a", "...", "c"], ["a", "b", "c"]) == ""
    assert disagreement(["a"], ["a", "b"]) != ""
