"""Shared by all tests: one thread, a fixed seed, no user cache."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _quiet_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets; a test that wants it is skipped where it is absent."""
    folder = os.environ.get("CHAINRULE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CHAINRULE_DATA is not set")
    return Path(folder)
