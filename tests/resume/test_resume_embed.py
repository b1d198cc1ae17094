"""Runs that learn likeness resume exactly: two versions of each row, and rows of a class side by side."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.fitting import Training, resume_training, start_training

SETTINGS: dict[str, Any] = {
    "data.task": "embed", "task.dims": 6, "model.widths": (4, 4, 4, 4), "train.epochs": 3, "train.batch_size": 10,
    "train.save_every": 2,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "nt_xent": {"task.loss": "nt_xent", "augment.blur": 0.5},
    "triplet": {"task.loss": "triplet"},
    "arcface": {"task.loss": "arcface", "train.micro_batch": 4},
}


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 4


def finished(training: Training, path: Path) -> bytes:
    with closing(training.run):
        for _ in training:
            pass
        training.finish()
    return (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("cut", [1, 6])  # in the first epoch, in the second
def test_a_stopped_run_ends_with_the_same_bytes(name: str, cut: int, tmp_path: Path) -> None:
    settings, whole, broken = {**SETTINGS, **WAYS[name]}, tmp_path / "whole", tmp_path / "cut"
    expected = finished(start_training(images(), settings, "resnet9", whole), whole)
    training = start_training(images(), settings, "resnet9", broken)
    with closing(training.run):
        for report in training:
            if report.step == cut:
                break
    assert finished(resume_training(broken, images(), {}), broken) == expected
