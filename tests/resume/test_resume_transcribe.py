"""Runs over whole recordings of many lengths resume exactly: their order and augmentation follow (seed, step)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from chainrule.fitting import Training, resume_training, start_training

SETTINGS = {
    "data.task": "transcribe", "model.hidden": 6, "model.channels": 6, "model.layers": 2, "train.epochs": 3,
    "train.batch_size": 6, "train.save_every": 2,
}  # fmt: skip


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    generator, rows = np.random.default_rng(0), ["path,text"]
    for place in range(30):
        text = "".join(generator.choice(list("ab "), 1 + place % 7)).strip() or "a"
        soundfile.write(tmp_path / f"{place}.wav", generator.normal(0, 0.1, 600 + 200 * len(text)), 4000)
        rows.append(f"{place}.wav,{text}")
    (tmp_path / "spoken.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "spoken.csv"


def finished(training: Training, path: Path) -> bytes:
    with closing(training.run):
        for _ in training:
            pass
        training.finish()
    return (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("cut", [1, 4, 9])  # the first step, an epoch's last, amid the third
def test_a_stopped_run_ends_with_the_same_bytes(cut: int, spoken: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "cut"
    expected = finished(start_training(spoken, SETTINGS, "gru", whole), whole)
    training = start_training(spoken, SETTINGS, "gru", broken)
    with closing(training.run):
        for report in training:
            if report.step == cut:
                break
    assert finished(resume_training(broken, None, {}), broken) == expected
