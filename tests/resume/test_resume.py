"""A run that was stopped and resumed ends with the same bits as one that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.toy import equal, fit, network, plan, weights

from chainrule.train.checkpoint import read_tensors


@pytest.mark.parametrize("kind", ["dropout", "norm", "image"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_every_optimizer_resumes_exactly(tmp_path: Path, kind: str, optimizer: str) -> None:
    whole = network(kind)
    fit(tmp_path / "whole", whole, plan(optimizer, average=0.9))

    fit(tmp_path / "cut", network(kind), plan(optimizer, average=0.9), stop_after=13)
    resumed = network(kind)
    fit(tmp_path / "cut", resumed, plan(optimizer, average=0.9))

    assert equal(weights(whole), weights(resumed))
    best = [read_tensors(tmp_path / run / "model.safetensors") for run in ("whole", "cut")]
    assert equal(*best)


@pytest.mark.parametrize("stop", [1, 5, 10, 11, 15, 20, 21, 29])  # first, middle and last steps of epochs 0, 1 and 2
def test_any_step_resumes_exactly(tmp_path: Path, stop: int) -> None:
    whole, resumed = network(), network()
    fit(tmp_path / "whole", whole, plan())
    fit(tmp_path / "cut", network(), plan(), stop_after=stop)
    reports = fit(tmp_path / "cut", resumed, plan())
    assert reports[0].step == stop + 1
    assert equal(weights(whole), weights(resumed))


def test_a_resumed_resume_is_exact(tmp_path: Path) -> None:
    whole = network()
    fit(tmp_path / "whole", whole, plan())
    for stop in (3, 9, 10, 17, 30):
        resumed = network()
        fit(tmp_path / "cut", resumed, plan(), stop_after=stop)
    assert equal(weights(whole), weights(resumed))


def test_a_crash_after_the_last_save_repeats_the_lost_steps(tmp_path: Path) -> None:
    whole = network()
    fit(tmp_path / "whole", whole, plan())
    fit(tmp_path / "cut", network(), plan(), stop_after=14)
    newest = max((tmp_path / "cut" / "checkpoints").iterdir())
    assert newest.name == "step-00000014"
    for file in newest.iterdir():  # as if the process had died before this save
        file.unlink()
    newest.rmdir()
    resumed = network()
    reports = fit(tmp_path / "cut", resumed, plan())
    assert reports[0].step == 13
    assert equal(weights(whole), weights(resumed))


def test_evaluating_and_saving_more_often_changes_nothing(tmp_path: Path) -> None:
    results = []
    for i, settings in enumerate(({}, {"eval_every": 1}, {"save_every": 1}, {"eval_every": 7, "save_every": 0})):
        net = network("norm")
        fit(tmp_path / str(i), net, plan(**settings))
        results.append(weights(net))
    assert all(equal(results[0], other) for other in results[1:])


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    net, again = network(), network()
    fit(tmp_path / "run", net, plan())
    assert fit(tmp_path / "run", again, plan()) == []
    assert equal(weights(net), weights(again))


def test_patience_counts_across_a_resume(tmp_path: Path) -> None:
    obeyed = plan(learning_rate=0.2, patience=2, eval_every=1, steps=300, epochs=30)
    whole, resumed = network("plain"), network("plain")
    ended = fit(tmp_path / "whole", whole, obeyed)[-1].step
    assert ended < 300
    fit(tmp_path / "cut", network("plain"), obeyed, stop_after=ended - 1)
    assert fit(tmp_path / "cut", resumed, obeyed)[-1].step == ended
    assert equal(weights(whole), weights(resumed))
