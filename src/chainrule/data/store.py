"""Decoded content, read back by place: arrays of any shape as they were decoded, and encoded rows of one shape.

What fits is kept in memory. What does not is written to a file without a name in TMPDIR, which the system removes with
the process, however it ends; it is read back with ``pread``, so its pages belong to the system and not to the process.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from chainrule.data.memory import Memory
from chainrule.data.samples import Arrangement, Batch, Samples, TensorSamples
from chainrule.data.threads import in_threads
from chainrule.errors import InputError

ARRAYS_SHARE = 0.5  # of the memory for decoded data that arrays may fill, so that the rows made from them find room
BLOCK = 1 << 20  # bytes of rows that are made or copied at once


class Rows(Protocol):
    """Rows of one shape, a batch of them read when it is asked for."""

    def __len__(self) -> int: ...

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """A new tensor of these rows, (B, ...)."""


class File:
    """A file that is read and written by position, from any thread, and closed with its last user."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor, self.name = descriptor, name
        weakref.finalize(self, os.close, descriptor)

    @staticmethod
    def open(path: Path) -> File:
        """A file that is there, for reading."""
        return File(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path))

    @staticmethod
    def temporary() -> File:
        """A new one without a name, in TMPDIR.

        Raises:
            InputError: no folder can be written to.
        """
        try:
            with tempfile.TemporaryFile(dir=spill_folder()) as file:
                return File(os.dup(file.fileno()), "the temporary file of decoded data")
        except OSError as error:
            raise InputError(
                f"the decoded data is larger than memory allows and no temporary file can be made for it ({error}); "
                f"set TMPDIR to a folder that can be written to"
            ) from None

    def read(self, out: NDArray[Any], offset: int) -> None:
        """Fill a contiguous array with the bytes from ``offset`` on.

        Raises:
            InputError: the file ends before.
        """
        left = out.reshape(-1).view(np.uint8).data
        while left:
            count = os.preadv(self.descriptor, [left], offset)
            if not count:
                raise InputError(f"{self.name} became shorter while it was read; leave it alone during a run")
            left, offset = left[count:], offset + count

    def write(self, content: NDArray[Any], offset: int, needed: int) -> None:
        """Write an array's bytes at ``offset``; ``needed`` is what all the data takes, for the message.

        Raises:
            InputError: the disk is full.
        """
        left = np.ascontiguousarray(content).reshape(-1).view(np.uint8).data
        while left:
            try:
                count = os.pwrite(self.descriptor, left, offset)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise no_room(needed) from None
            left, offset = left[count:], offset + count


def spill_folder() -> str:
    """Where temporary files go: TMPDIR, or /var/tmp, since /tmp is held in memory on many systems."""
    usual = "/var/tmp"
    return tempfile.gettempdir() if os.environ.get("TMPDIR") or not os.access(usual, os.W_OK) else usual


def no_room(needed: int) -> InputError:
    """The disk has no room for this many bytes of decoded data."""
    folder = spill_folder()
    free = shutil.disk_usage(folder).free
    return InputError(
        f"the decoded data takes {needed:,} bytes, more than memory allows, and {folder} has no room for it "
        f"({free:,} bytes are free); set TMPDIR to a folder on a larger disk, ask for smaller inputs, or allow more "
        f"memory with --set data.memory_mb="
    )


class Arrays(Sequence[NDArray[Any]]):
    """Arrays of one type and number of axes, each of its own shape; the first ones in memory, the others in a file."""

    def __init__(self) -> None:
        self._kept: list[NDArray[Any]] = []
        self._file: File | None = None
        self._dtype = np.dtype(np.uint8)
        self._axes = 0
        self._sides = array("q")
        self._offsets = array("q")  # of those in the file
        self._end = 0  # of the file

    def __len__(self) -> int:
        return len(self._kept) + len(self._offsets)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, axes): the shape of each array, without reading it."""
        return np.array(self._sides, dtype=np.int64).reshape(len(self), self._axes)

    @overload
    def __getitem__(self, place: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, place: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        if place < len(self._kept):
            return self._kept[place]
        sides = self._sides[place * self._axes : (place + 1) * self._axes]
        out = np.empty(tuple(sides), dtype=self._dtype)
        assert self._file is not None
        self._file.read(out, self._offsets[place - len(self._kept)])
        return out

    def add(self, content: NDArray[Any], memory: Memory, total: int) -> None:
        """One more of ``total`` arrays (0: not known)."""
        if not len(self):
            self._dtype, self._axes = content.dtype, content.ndim
        assert (content.dtype, content.ndim) == (self._dtype, self._axes), "arrays of one type and number of axes"
        if self._file is None and memory.takes(content.nbytes, ARRAYS_SHARE):
            self._kept.append(content)
        else:
            self._file = self._file or File.temporary()
            share = max(total, len(self) + 1) / (len(self._offsets) + 1)
            self._file.write(content, self._end, round(share * (self._end + content.nbytes)))
            self._offsets.append(self._end)
            self._end += content.nbytes
        self._sides.extend(content.shape)


def collect(arrays: Iterable[NDArray[Any]], memory: Memory | None = None, total: int = 0) -> Arrays:
    """The arrays in the order they come, each of its own shape; what does not fit into memory is kept in a file.

    Args:
        memory: what decoded data may take; by default a quarter of what is free.
        total: how many arrays there will be, where it is known, so that a full disk can be told what is needed.

    Raises:
        InputError: the disk has no room.
    """
    memory = memory or Memory()
    collected = Arrays()
    for content in arrays:
        collected.add(content, memory, total)
    return collected


class FileRows:
    """Rows of one shape that stand in a file one after the other; indexed as an array is, which reads them."""

    def __init__(self, file: File, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.file, self.offset = file, offset
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.row_bytes = math.prod(shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """One row, a slice of them in one read, or those at these places."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1, "rows in order"
            out = np.empty((max(0, stop - start), *self.shape[1:]), dtype=self.dtype)
            self.file.read(out, self.offset + start * self.row_bytes)
            return out
        if not isinstance(index, np.ndarray):
            return self[index : index + 1].reshape(self.shape[1:])
        out = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for place, row in enumerate(index.tolist()):
            self.file.read(out[place : place + 1], self.offset + row * self.row_bytes)
        return out

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """A new tensor of these rows."""
        return torch.from_numpy(self[places])


def in_file(content: NDArray[Any]) -> NDArray[Any] | FileRows:
    """A mapped file as rows to be read, so that what was read does not stay in memory; any other array as it is."""
    root: Any = content
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c" or not content.flags.c_contiguous:
        return content
    offset = root.offset + content.ctypes.data - root.ctypes.data
    try:
        return FileRows(File.open(Path(root.filename)), offset, content.shape, content.dtype)
    except OSError:  # the file's name is gone, its map is not
        return content


def stack(
    count: int, shape: tuple[int, ...], dtype: DTypeLike, make: Callable[[int], NDArray[Any]],
    memory: Memory | None = None,
) -> Tensor | FileRows:  # fmt: skip
    """Rows 0..count of one shape, each made once, in threads; a tensor, or a file where that does not fit into memory.

    Raises:
        InputError: the disk has no room.
    """

    def block(start: int, stop: int) -> NDArray[Any]:
        rows = np.empty((stop - start, *shape), dtype=dtype)
        for place in range(start, stop):
            rows[place - start] = make(place)
        return rows

    return as_rows(stack_blocks(count, shape, dtype, block, memory))


def as_rows(rows: NDArray[Any] | FileRows) -> Tensor | FileRows:
    """An array as the tensor over the same memory; rows in a file as they are."""
    return rows if isinstance(rows, FileRows) else torch.from_numpy(rows)


def stack_blocks(
    count: int, shape: tuple[int, ...], dtype: DTypeLike, make: Callable[[int, int], NDArray[Any]],
    memory: Memory | None = None, share: float = 1.0,
) -> NDArray[Any] | FileRows:  # fmt: skip
    """As ``stack``, from rows start..stop made at once; an array or a file.

    Args:
        share: of the memory that may be filled.

    Raises:
        InputError: the disk has no room.
    """
    row_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    size = count * row_bytes
    step = max(1, BLOCK // max(1, row_bytes))
    if (memory or Memory()).takes(size, share):
        rows = np.empty((count, *shape), dtype=dtype)

        def fill(start: int) -> None:
            rows[start : start + step] = make(start, min(start + step, count))

        in_threads(fill, range(0, count, step))
        return rows
    file = _file_for(size)

    def write(start: int) -> None:
        file.write(make(start, min(start + step, count)).astype(dtype, copy=False), start * row_bytes, size)

    in_threads(write, range(0, count, step))
    return FileRows(file, 0, (count, *shape), dtype)


def _file_for(size: int) -> File:
    if shutil.disk_usage(spill_folder()).free < size:
        raise no_room(size)
    return File.temporary()


def unpacked(stream: IO[bytes], size: int) -> File:
    """The next ``size`` bytes of a compressed stream in a temporary file.

    Raises:
        EOFError: the stream ends before.
        InputError: the disk has no room.
    """
    file = _file_for(size)
    done = 0
    while done < size:
        part = stream.read(min(BLOCK, size - done))
        if not part:
            raise EOFError(f"it ends after {done:,} of {size:,} bytes")
        file.write(np.frombuffer(part, dtype=np.uint8), done, size)
        done += len(part)
    return file


def blocks(rows: NDArray[Any] | FileRows) -> Iterator[NDArray[Any]]:
    """All rows in order, about a megabyte of them at once."""
    step = max(1, BLOCK // max(1, math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


class RowSamples:
    """Samples of which each batch is read when it is asked for; targets and ids are in memory."""

    lengths = None
    arrangement: Arrangement = "shuffled"

    def __init__(self, inputs: tuple[Tensor | Rows, ...], targets: Tensor | None, ids: Sequence[str]) -> None:
        lengths = {len(ids), *map(len, inputs), *(() if targets is None else (len(targets),))}
        assert len(lengths) == 1, f"inputs, targets and ids differ in length: {sorted(lengths)}"
        self.inputs, self.targets, self.ids = inputs, targets, ids

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64)."""
        places = rows.numpy()
        targets = None if self.targets is None else self.targets.index_select(0, rows)
        inputs = (x.index_select(0, rows) if isinstance(x, Tensor) else x.rows(places) for x in self.inputs)
        return Batch(tuple(inputs), targets, rows)


def stacked_samples(inputs: tuple[Tensor | Rows, ...], targets: Tensor | None, ids: Sequence[str]) -> Samples:
    """Samples over stacks: tensors where all are in memory, otherwise read batch by batch."""
    tensors = tuple(x for x in inputs if isinstance(x, Tensor))
    if len(tensors) == len(inputs):
        return TensorSamples(tensors, targets, ids)
    return RowSamples(inputs, targets, ids)
