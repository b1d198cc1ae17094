"""Checkpoints against kills, truncation, flipped bits and full disks (rows 1, 3, 4, 5 and 9 of the fault list)."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest
import torch
from tests.prove.record import record
from tests.toy import equal, fit, network, plan, weights

from chainrule.errors import InputError
from chainrule.train import checkpoint
from chainrule.train.checkpoint import load_newest, read_tensors, save_checkpoint
from chainrule.train.run import Run


def two_checkpoints(folder: Path) -> None:
    for step in (1, 2):
        save_checkpoint(folder, step, {"model": {"w": torch.full((40,), float(step))}}, {"seconds": step})


def test_truncation_of_any_file_at_any_tenth_byte_falls_back(tmp_path: Path) -> None:
    two_checkpoints(tmp_path / "whole")
    for name in ("model.safetensors", "state.json", "manifest.json"):
        size = (tmp_path / "whole" / "step-00000002" / name).stat().st_size
        for length in range(0, size, 10):
            folder = tmp_path / "cut"
            shutil.copytree(tmp_path / "whole", folder)
            os.truncate(folder / "step-00000002" / name, length)
            found, notes = load_newest(folder)
            assert found is not None
            assert found.step == 1, (name, length)
            assert found.tensors["model"]["w"][0] == 1
            assert len(notes) == 1
            assert "step-00000002" in notes[0]
            shutil.rmtree(folder)


def test_a_flipped_bit_is_found_by_its_hash(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    path = tmp_path / "step-00000002" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    found, notes = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "SHA-256" in notes[0]


def test_all_damaged_stops_and_overwrites_nothing(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    for path in tmp_path.glob("*/state.json"):
        path.write_text("{")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="all 2 checkpoints"):
        load_newest(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_only_the_newest_two_stay(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, step, {}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def test_a_full_disk_keeps_the_older_checkpoint_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, full = network(), network()
    fit(tmp_path / "whole", whole, plan())
    fit(tmp_path / "run", network(), plan(), stop_after=9)
    real, calls = checkpoint.write_tensors, []

    def disk_is_full(path: Path, tensors: object) -> None:
        calls.append(path)
        path.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_tensors", disk_is_full)
    reports = fit(tmp_path / "run", full, plan())
    assert calls
    assert reports[-1].step == 30
    assert equal(weights(whole), weights(full))
    monkeypatch.setattr(checkpoint, "write_tensors", real)
    found, notes = load_newest(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found.step == 9
    assert notes == []
    assert not list((tmp_path / "run" / "checkpoints").glob("tmp-*"))


def test_an_absurd_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(InputError, match="safetensors"):
        read_tensors(path)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    other = Run(tmp_path / "run")
    with pytest.raises(InputError, match=str(os.getpid())):
        other.lock()
    run.close()
    other.lock()
    other.close()


def test_a_folder_in_use_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        Run.create(tmp_path)


def killed_at_a_random_moment(folder: Path, after_s: float) -> bool:
    """Train in a child process that is killed after ``after_s`` seconds; whether it finished before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            net = network()
            fit(folder, net, plan(save_every=1, steps=60, epochs=6, average=0.9))
            (folder / "final.json").write_text(json.dumps({n: t.tolist() for n, t in weights(net).items()}))
            status = 0
        finally:
            os._exit(status)
    time.sleep(after_s)
    finished, _ = os.waitpid(child, os.WNOHANG)
    if not finished:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return status == 0
    return True


def kill_loop(folder: Path, kills: int, seed: int) -> int:
    """Kill a training until it survives, again and again; gives the number of kills that hit a living process."""
    whole = network()
    fit(folder / "whole", whole, plan(save_every=1, steps=60, epochs=6, average=0.9))
    expected = {name: tensor.tolist() for name, tensor in weights(whole).items()}
    moments, hits, run = random.Random(seed), 0, 0
    while hits < kills:
        run += 1
        while not killed_at_a_random_moment(folder / str(run), moments.uniform(0.0, 0.25)):
            hits += 1
        assert json.loads((folder / str(run) / "final.json").read_text()) == expected, f"after {hits} kills"
        best = [read_tensors(folder / name / "model.safetensors") for name in ("whole", str(run))]
        assert equal(*best)
        shutil.rmtree(folder / str(run))
    return hits


def test_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    assert kill_loop(tmp_path, kills=12, seed=1) >= 12


@pytest.mark.prove
def test_two_hundred_kills_change_no_bit(tmp_path: Path) -> None:
    hits = kill_loop(tmp_path, kills=200, seed=2)
    record("kill -9 of a forked training, then resume", f"{hits} of {hits} bit-identical")
