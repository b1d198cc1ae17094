"""``chainrule fit`` as a process of its own, killed at any moment of its life: start, training, saving, scoring."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.prove.record import record

WORDS = ["--target", "y", "--model", "mlp", "--epochs", "300", "--set", "train.save_every=50"]


def chainrule(*words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "chainrule", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )


def ended(child: subprocess.Popen[bytes]) -> None:
    text = child.communicate(timeout=100)[0].decode()
    assert child.returncode == 0, text


def table(folder: Path) -> Path:
    x = np.random.default_rng(0).normal(size=(300, 4))
    rows = [f"{a:.5f},{b:.5f},{c:.5f},{d:.5f},{'yes' if a + b * c > 0 else 'no'}" for a, b, c, d in x]
    (folder / "t.csv").write_text("a,b,c,d,y\n" + "\n".join(rows) + "\n")
    return folder / "t.csv"


def kill_and_continue(data: Path, folder: Path, moments: random.Random, life_s: float) -> int:
    """Start a fit, kill it and its continuations until one ends; gives the number of kills."""
    kills = 0
    while True:
        begun = (folder / "recipe.json").exists()
        child = chainrule("resume", str(folder)) if begun else chainrule("fit", str(data), *WORDS, "--out", str(folder))
        time.sleep(moments.uniform(0.2, 0.8 * life_s))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            kills += 1
            if kills % 3:  # now and then one is let live
                continue
            begun = (folder / "recipe.json").exists()
            again = ("resume", str(folder)) if begun else ("fit", str(data), *WORDS, "--out", str(folder))
            child = chainrule(*again)
        ended(child)
        return kills


@pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=[pytest.mark.prove, pytest.mark.timeout(3000)])])
def test_a_killed_fit_ends_with_the_same_weights(tmp_path: Path, rounds: int) -> None:
    data = table(tmp_path)
    started = time.perf_counter()
    ended(chainrule("fit", str(data), *WORDS, "--out", str(tmp_path / "whole")))
    life_s = time.perf_counter() - started
    moments, kills, number = random.Random(rounds), 0, 0
    while number < rounds or kills < rounds:
        kills += kill_and_continue(data, tmp_path / str(number), moments, life_s)
        for name in ("model.safetensors", "schema.json"):
            assert (tmp_path / str(number) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        number += 1
    record("kill -9 of chainrule fit, then resume", f"{kills} kills in {number} runs, weights and schema bit-identical")
