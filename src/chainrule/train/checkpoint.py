"""Checkpoints that survive a kill, a full disk and a flipped bit.

A checkpoint is a folder: tensors in safetensors, everything else JSON. It is written beside its place under a
temporary name, every file is flushed to the disk, the manifest with sizes and SHA-256 comes last, then one rename
makes it visible. Loading verifies the manifest and falls back to the one before; it never starts afresh silently.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from chainrule.errors import InputError
from chainrule.models.weights import read_safetensors

MANIFEST = "manifest.json"
KEPT = 2  # newest checkpoints that stay on disk; each holds the best weights so far as well


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at one step."""

    step: int
    tensors: dict[str, dict[str, Tensor]]  # file name without suffix -> name -> tensor, on the CPU
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write one checkpoint atomically into ``folder`` and drop those older than the newest two.

    Raises:
        OSError: the disk is full or unwritable; what was there before is untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f"tmp-{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        for name, named in tensors.items():
            write_tensors(temporary / f"{name}.safetensors", named)
        write_text(temporary / "state.json", json.dumps({"step": step, **state}))
        manifest = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        write_text(temporary / MANIFEST, json.dumps({"format": 1, "files": manifest}))
        sync_folder(temporary)
        if final.exists():  # the same step again, after a resume: the same bytes
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in _steps(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each one that is not.

    Raises:
        InputError: there are checkpoints and every one is damaged.
    """
    for leftover in folder.glob("tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    notes: list[str] = []
    found = _steps(folder)
    for path in found:
        fault = verify(path)
        if fault is None:
            state = json.loads((path / "state.json").read_text())
            tensors = {file.stem: read_tensors(file) for file in sorted(path.glob("*.safetensors"))}
            told = [f"{note}; using {path.name} instead" for note in notes]
            return Checkpoint(state.pop("step"), tensors, state), told
        notes.append(f"{path.name} is damaged ({fault})")
    if found:
        raise InputError(
            f"all {len(found)} checkpoints in {folder} are damaged: {'; '.join(notes)}. Nothing was overwritten; "
            "start anew with fit and another --out"
        )
    return None, notes


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} unreadable: {type(error).__name__}"
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        found = _digest(file)
        if found["bytes"] != expected["bytes"]:
            return f"{name} has {found['bytes']} bytes, expected {expected['bytes']}"
        if found["sha256"] != expected["sha256"]:
            return f"{name} has another SHA-256 than when it was written"
    return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors to a safetensors file, flushed to the disk."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        InputError: the file is truncated, has an absurd header or is no safetensors file at all.
    """
    return read_safetensors(path)


def replace_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file so that readers see the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        write_tensors(temporary, tensors)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        write_text(temporary, text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file, flushed to the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _digest(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
