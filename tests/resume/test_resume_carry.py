"""A language model's training resumes exactly, its carried state included, wherever it was stopped or killed."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.texts import names, story

from chainrule.fitting import Training, resume_training, start_training
from chainrule.nn.carried import Carried

SETTINGS: dict[str, Any] = {
    "model.hidden": 12, "model.dropout": 0.3, "data.window": 16, "train.epochs": 3, "train.batch_size": 40,
    "train.save_every": 5, "train.threads": 1, "train.average": 0.9,
}  # fmt: skip


def start(folder: Path, model: str = "lstm_lm", text: str = "", **settings: Any) -> Training:
    return start_training(text or story(), {**SETTINGS, **settings}, model, folder)


def finished(training: Training, path: Path) -> bytes:
    """Trains to the end; gives the best weights and the last ones."""
    with closing(training.run):
        for _ in training:
            pass
    last = training.session.module.state_dict()
    return (path / "model.safetensors").read_bytes() + b"".join(x.numpy().tobytes() for x in last.values())


def stopped(training: Training, after: int) -> None:
    with closing(training.run):
        for report in training:
            if report.step == after:
                break


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """The bytes of a run that was never stopped, and its steps."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    training = start(folder)
    return finished(training, folder), training.recipe.train.steps


@pytest.mark.parametrize("place", [1, 2, 7, 8, 9, 10, 13, 17, 18, 19, 26])  # an epoch has nine steps
def test_a_run_stopped_after_any_step_ends_with_the_same_bytes(
    place: int, whole: tuple[bytes, int], tmp_path: Path
) -> None:
    expected, steps = whole
    assert steps == 27
    stopped(start(tmp_path / "run"), place)
    assert finished(resume_training(tmp_path / "run", story(), {}), tmp_path / "run") == expected


@pytest.mark.parametrize("place", [3, 7, 10])
def test_a_killed_run_goes_on_from_an_older_checkpoint(place: int, whole: tuple[bytes, int], tmp_path: Path) -> None:
    """What a kill leaves behind: the newest checkpoint was never written."""
    stopped(start(tmp_path / "run"), place)
    shutil.rmtree(max((tmp_path / "run/checkpoints").glob("step-*")))
    assert finished(resume_training(tmp_path / "run", story(), {}), tmp_path / "run") == whole[0]


def test_a_run_resumed_twice(whole: tuple[bytes, int], tmp_path: Path) -> None:
    stopped(start(tmp_path / "run"), 5)
    stopped(resume_training(tmp_path / "run", story(), {}), 8)
    assert finished(resume_training(tmp_path / "run", story(), {}), tmp_path / "run") == whole[0]


def test_without_the_carry_it_would_end_otherwise(
    whole: tuple[bytes, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(start(tmp_path / "run"), 5)
    monkeypatch.setattr(Carried, "go_on", lambda self, carry: None)
    assert finished(resume_training(tmp_path / "run", story(), {}), tmp_path / "run") != whole[0]


@pytest.mark.parametrize("model", ["rnn_lm", "gru_lm"])
def test_other_cells_and_documents(model: str, tmp_path: Path) -> None:
    settings = {"train.epochs": 2, "train.batch_size": 8}
    expected = finished(start(tmp_path / "whole", model, names(), **settings), tmp_path / "whole")
    stopped(start(tmp_path / "cut", model, names(), **settings), 4)
    assert finished(resume_training(tmp_path / "cut", names(), {}), tmp_path / "cut") == expected


def test_evaluating_more_often_changes_no_weight(tmp_path: Path) -> None:
    found = []
    for every in (1, 7):
        training = start(tmp_path / str(every), **{"train.eval_every": every, "train.epochs": 1})
        with closing(training.run):
            for _ in training:
                pass
        found.append(training.session.module.state_dict())
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
