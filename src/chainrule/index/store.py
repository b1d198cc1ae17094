"""An index on the disk: a folder of plain numbers and names, replaced as a whole, verified when it is opened."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.index.blocks import Metric

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index says of itself; written last, so that where it is, everything is."""

    folder: str  # where the files are, beside it
    count: int
    dims: int
    metric: Metric
    weights: str  # a fingerprint of the network that made the vectors
    sources: list[str] | None  # where the inputs are; None: they were handed over in memory; []: they are the run's own
    graphs: list[str]  # files that the nearest are found by; []: all vectors are looked at
    files: dict[str, dict[str, Any]]  # name -> bytes and sha256


class Rows:
    """A .npy file that grows block by block, so that its rows are never all in memory."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self.dtype, self.shape, self.count = np.dtype(dtype), shape, 0
        self.file: BinaryIO = path.open("wb")
        self.file.write(self._header())

    def _header(self) -> bytes:
        """Of equal length for any number of rows: numpy leaves room for their growth."""
        head = io.BytesIO()
        shape = (self.count, *self.shape)
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, described)
        return head.getvalue()

    def add(self, rows: NDArray[Any]) -> None:
        """More rows, (n, *shape)."""
        assert rows.shape[1:] == self.shape
        self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.count += len(rows)

    def close(self) -> None:
        """Write how many there are, and flush everything to the disk."""
        with self.file:
            self.file.seek(0)
            self.file.write(self._header())
            self.file.flush()
            os.fsync(self.file.fileno())


class Items:
    """Names and labels of rows, read from the disk one at a time.

    Lines of JSON, ``["cats/1.jpg", "cats"]`` or ``["1.jpg"]``, and where each begins.
    """

    def __init__(self, lines: Path, offsets: Path) -> None:
        self.offsets: NDArray[np.int64] = np.load(offsets, mmap_mode="r", allow_pickle=False)
        with lines.open("rb") as file:
            self.lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> tuple[str, str | None]:
        """The name and the label of a row; None where it is not known."""
        name, *label = json.loads(self.lines[int(self.offsets[row]) : int(self.offsets[row + 1])])
        return name, label[0] if label and label[0] else None

    def find(self, name: str) -> int | None:
        """The first row of this name."""
        wanted, at = b"[" + json.dumps(name).encode(), -1
        while (at := self.lines.find(wanted, at + 1)) >= 0:
            row = int(np.searchsorted(self.offsets, at))
            if self.offsets[row] == at and self.lines[at + len(wanted) : at + len(wanted) + 1] in (b",", b"]"):
                return row
        return None


def item_line(name: str, label: str) -> bytes:
    """One line of the names; any text is plain ASCII in it."""
    return json.dumps([name, label] if label else [name]).encode() + b"\n"


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A fresh folder in ``folder`` to write an index to; whoever else writes is waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = folder / uuid.uuid4().hex
        fresh.mkdir()
        try:
            yield fresh
        finally:
            if current(folder) != fresh.name:
                shutil.rmtree(fresh, ignore_errors=True)


def publish(folder: Path, fresh: Path, about: Mapping[str, Any]) -> None:
    """Make what was written the index: one rename, then what was there before goes."""
    files = {path.name: _digest(path) for path in sorted(fresh.iterdir())}
    manifest = Manifest(folder=fresh.name, files=files, **about)
    temporary = folder / f".{MANIFEST}-{fresh.name}"
    temporary.write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
    for other in folder.iterdir():
        if other.is_dir() and other.name != fresh.name:
            shutil.rmtree(other, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest | None:
    """What the index says of itself; None where there is no index.

    Raises:
        InputError: it cannot be read, or is of another version.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if found.pop("format") == FORMAT:
            return Manifest(**found)
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise damaged(folder, f"{MANIFEST} cannot be read") from error
    raise InputError(
        f"the index in {folder} was made by another version; build it again with: chainrule index {folder.parent}"
    )


def current(folder: Path) -> str:
    """The name of the folder that the index is in; "" where there is none or it cannot be told."""
    try:
        manifest = read_manifest(folder)
    except InputError:
        return ""
    return manifest.folder if manifest else ""


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with what the manifest says of it: about a second for each gigabyte.

    Raises:
        FileNotFoundError: one is absent.
        InputError: one has another length or content.
    """
    paths = {name: folder / manifest.folder / name for name in manifest.files}
    for name, path in paths.items():
        if path.stat().st_size != manifest.files[name]["bytes"]:
            raise damaged(folder, f"{name} has another length than when it was written")
    for name, path in paths.items():
        if _digest(path) != manifest.files[name]:
            raise damaged(folder, f"{name} has another SHA-256 than when it was written")


def damaged(folder: Path, what: str) -> InputError:
    """The error of an index that cannot be trusted."""
    return InputError(f"the index in {folder} is damaged: {what}. Build it again with: chainrule index {folder.parent}")


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
