"""The idx format of MNIST: big-endian header, then one array.

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.memory import Memory
from chainrule.data.store import ARRAYS_SHARE, File, FileRows, unpacked
from chainrule.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_shape(path: Path) -> tuple[int, ...] | None:
    """The array's shape as the header states it; None where this is not an idx file."""
    try:
        with _open(path) as file:
            start = file.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 8:
                return None
            header = file.read(4 * start[3])
    except (OSError, EOFError, zlib.error):
        return None
    return tuple(int(size) for size in np.frombuffer(header, ">u4")) if len(header) == 4 * start[3] else None


def read_idx(path: Path) -> NDArray[Any]:
    """The array of an idx file, gzipped or not.

    Raises:
        InputError: not idx, or shorter or longer than its header says.
    """
    shape = idx_shape(path)
    if shape is None:
        raise InputError(f"{path} is not an idx file: it does not start with 0, 0, a type and a number of axes")
    try:
        with _open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is broken or truncated ({error}); get the file again") from None
    dtype, header = np.dtype(TYPES[content[2]]), 4 + 4 * len(shape)
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise InputError(
            f"{path} has {len(content):,} bytes, its header {shape} asks for {expected:,}; get the file again"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def idx_rows(path: Path, memory: Memory) -> NDArray[Any] | FileRows:
    """The array of an idx file; rows to be read, unpacked into a temporary file where gzipped, if it is too large.

    Raises:
        InputError: not idx, shorter or longer than its header says, or the disk has no room.
    """
    shape = idx_shape(path)
    with _open(path) as stream:
        dtype = np.dtype(TYPES.get(stream.read(4)[2], ">u1")) if shape else np.dtype(">u1")
    size = math.prod(shape or ()) * dtype.itemsize
    if shape is None or memory.takes(size, ARRAYS_SHARE):
        return read_idx(path)
    header = 4 + 4 * len(shape)
    try:
        with _open(path) as stream:
            zipped = isinstance(stream, gzip.GzipFile)
            stream.read(header)
            file = unpacked(stream, size) if zipped else File.open(path)
            longer = bool(stream.read(1)) if zipped else path.stat().st_size != header + size
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is broken or truncated ({error}); get the file again") from None
    if longer:
        raise InputError(f"{path} is not of the {header + size:,} bytes that its header {shape} asks for; get it again")
    return FileRows(file, 0 if zipped else header, shape, dtype)


def partner(images: Path) -> Path | None:
    """The labels file beside an images file: ``train-images-idx3-ubyte.gz`` -> ``train-labels-idx1-ubyte.gz``."""
    key = _key(images.name.lower().replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1"))
    beside = sorted(path for path in images.parent.iterdir() if path != images and path.is_file())
    return next((path for path in beside if _key(path.name) == key), None)


def split_of(path: Path) -> str:
    """The split in the file's name; ``t10k`` is MNIST's word for test. "" where there is none."""
    from chainrule.data.sources import split_word

    return "test" if "t10k" in path.name.lower() else split_word(path.name)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().removesuffix(".gz"))


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")
