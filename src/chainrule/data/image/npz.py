"""Arrays of npz files (NumPy's zip of .npy members), read without loading them."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainrule.data.store import BLOCK, File, FileRows, unpacked

LOCAL_HEADER = 30  # bytes before the name, whose length and that of the extra field end it (zip, section 4.3.7)


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array of an npz file, from the headers alone; nothing where it is none."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    shapes[name.removesuffix(".npy")] = _header(member)[0]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return {}
    return shapes


def npz_rows(path: Path, key: str) -> FileRows | None:
    """An array's rows to be read where they are, or unpacked into a temporary file where they are compressed.

    None where the rows do not stand one after the other: Fortran's order, Python objects.

    Raises:
        InputError: the disk has no room.
        BadZipFile, EOFError, zlib.error: the content is broken.
    """
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(key if key in archive.namelist() else f"{key}.npy")
        with archive.open(entry) as member:
            shape, fortran, dtype = _header(member)
            if fortran or dtype.hasobject:
                return None
            if entry.compress_type != zipfile.ZIP_STORED:
                return FileRows(unpacked(member, math.prod(shape) * dtype.itemsize), 0, shape, dtype)
            start = member.tell()
            while member.read(BLOCK):  # to the end, where the checksum is compared
                pass
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER)[26:])
    return FileRows(File.open(path), entry.header_offset + LOCAL_HEADER + name + extra + start, shape, dtype)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type, as the .npy header states them."""
    if np.lib.format.read_magic(member) == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)
