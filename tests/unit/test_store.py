"""Decoded content that does not fit into memory: kept in a file, read back by place, the same as in memory."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chainrule.data import memory as memory_room
from chainrule.data import threads
from chainrule.data.memory import Memory, free_memory
from chainrule.data.samples import TensorSamples
from chainrule.data.store import (
    BLOCK,
    Arrays,
    File,
    FileRows,
    RowSamples,
    blocks,
    collect,
    in_file,
    spill_folder,
    stack,
    stacked_samples,
    unpacked,
)
from chainrule.data.threads import stream_in_threads
from chainrule.errors import InputError

NONE = 1  # a limit of one byte: nothing fits


def ragged(count: int, dtype: type = np.uint8) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 99, (rng.integers(1, 9), rng.integers(1, 9), 3)).astype(dtype) for _ in range(count)]


def full_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """No more than ``room`` bytes can be written."""
    write, left = os.pwrite, [room]

    def limited(descriptor: int, content: memoryview, offset: int) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(descriptor, content[: left[0]], offset)
        left[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", limited)


# arrays of any shape


@given(limit=st.integers(1, 4000), dtype=st.sampled_from([np.uint8, np.int16, np.float32]))
def test_arrays_are_the_same_wherever_they_are_kept(limit: int, dtype: type) -> None:
    content = ragged(20, dtype)
    memory = Memory(limit)
    kept = collect(iter(content), memory)
    assert memory.kept <= limit / 2
    assert len(kept) == 20
    assert kept.shapes.tolist() == [list(one.shape) for one in content]
    for place in (*range(20), -1):
        assert kept[place].dtype == dtype
        assert np.array_equal(kept[place], content[place])
    assert [one.shape for one in kept[3:6]] == [one.shape for one in content[3:6]]
    with pytest.raises(IndexError):
        kept[20]


def test_what_fits_is_kept_as_it_is() -> None:
    content = ragged(5)
    kept = collect(content, Memory(1 << 20))
    assert all(a is b for a, b in zip(kept, content, strict=True))
    assert len(collect([])) == len(collect([]).shapes) == 0


def test_arrays_are_read_from_many_threads_at_once() -> None:
    content = ragged(200)
    kept = collect(content, Memory(NONE))
    wrong: list[int] = []

    def read(seed: int) -> None:
        for place in np.random.default_rng(seed).integers(0, 200, 500).tolist():
            if not np.array_equal(kept[place], content[place]):
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# rows of one shape


@given(count=st.integers(1, 40), side=st.integers(1, 5), spilled=st.booleans())
def test_rows_are_the_same_wherever_they_are_kept(count: int, side: int, spilled: bool) -> None:
    content = np.random.default_rng(0).normal(size=(count, side, 2)).astype(np.float32)
    rows = stack(count, (side, 2), np.float32, content.__getitem__, Memory(NONE if spilled else 1 << 20))
    assert isinstance(rows, FileRows) == spilled
    targets = torch.arange(count)
    samples = stacked_samples((rows, torch.from_numpy(content)), targets, [str(i) for i in range(count)])
    assert isinstance(samples, RowSamples if spilled else TensorSamples)
    places = torch.randint(0, count, (7,))
    batch = samples.batch(places)
    assert torch.equal(batch.inputs[0], batch.inputs[1])
    assert torch.equal(batch.inputs[0], torch.from_numpy(content)[places])
    assert batch.targets is not None
    assert torch.equal(batch.targets, places)
    assert torch.equal(batch.ids, places)


def test_rows_of_several_blocks_are_written_in_place() -> None:
    side = 700  # two rows a block, so threads finish out of order
    rows = stack(9, (side, side), np.uint8, lambda place: np.full((side, side), place, np.uint8), Memory(NONE))
    assert isinstance(rows, FileRows)
    assert 9 * side * side > 4 * BLOCK
    for place in range(9):
        assert (rows[place] == place).all()
    assert rows[2:5].shape == (3, side, side)
    assert [len(block) for block in blocks(rows)] == [2, 2, 2, 2, 1]


def test_a_row_that_is_one_number_is_a_row() -> None:
    rows = stack(5, (), np.int64, lambda place: np.array(place * 10), Memory(NONE))
    assert isinstance(rows, FileRows)
    assert rows[np.array([4, 0])].tolist() == [40, 0]
    assert int(rows[3]) == 30


def test_the_limit_counts_what_is_kept() -> None:
    memory = Memory(1000)
    first = stack(6, (100,), np.uint8, lambda place: np.zeros(100, np.uint8), memory)
    second = stack(6, (100,), np.uint8, lambda place: np.zeros(100, np.uint8), memory)
    assert (type(first), type(second)) == (torch.Tensor, FileRows)
    assert memory.kept == 600


# mapped files


@pytest.mark.parametrize("cut", [slice(None), slice(3, 9)])
def test_a_mapped_array_is_read_in_place(tmp_path: Path, cut: slice) -> None:
    content = np.arange(10 * 6, dtype=np.int16).reshape(10, 3, 2)
    np.save(tmp_path / "a.npy", content)
    mapped = np.asarray(np.load(tmp_path / "a.npy", mmap_mode="r")[cut])
    rows = in_file(mapped)
    assert isinstance(rows, FileRows)
    assert np.array_equal(rows[np.array([5, 0, 5])], content[cut][[5, 0, 5]])
    assert np.array_equal(rows[1:3], content[cut][1:3])


def test_other_arrays_stay_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 6), np.uint8))
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")  # changes of this one are in memory only
    across = np.load(tmp_path / "a.npy", mmap_mode="r").T
    for content in (np.zeros((3, 2)), changed, across):
        assert in_file(content) is content


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((100, 100), np.uint8))
    rows = in_file(np.load(tmp_path / "a.npy", mmap_mode="r"))
    os.truncate(tmp_path / "a.npy", 5000)
    with pytest.raises(InputError, match=r"a\.npy became shorter while it was read"):
        rows[90:]


def test_a_compressed_stream_is_unpacked_to_its_length(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 3 * BLOCK + 7, dtype=np.uint8)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content.tobytes(), 1))
    with gzip.open(tmp_path / "a.gz") as stream:
        rows = FileRows(unpacked(stream, len(content)), 0, content.shape, np.uint8)
    assert np.array_equal(rows[:], content)
    with gzip.open(tmp_path / "a.gz") as stream, pytest.raises(EOFError, match="ends after"):
        unpacked(stream, len(content) + 1)


# full disks, killed processes, other folders


def test_a_disk_that_fills_is_one_message_with_the_bytes_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, 10_000)
    hundred = (np.zeros((10, 10, 10), np.uint8) for _ in range(100))
    with pytest.raises(InputError, match=r"takes 100,000 bytes, .* has no room .* TMPDIR .* data.memory_mb="):
        collect(hundred, Memory(NONE), total=100)
    with pytest.raises(InputError, match="takes 50,000 bytes"):
        stack(50, (1000,), np.uint8, lambda place: np.zeros(1000, np.uint8), Memory(NONE))


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(place: int) -> NDArray[np.uint8]:
        raise AssertionError("made")

    with pytest.raises(InputError, match=f"{spill_folder()} has no room"):
        stack(1 << 40, (1 << 20,), np.uint8, never)


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(InputError, match=r"no temporary file can be made .*TMPDIR"):
        collect(ragged(3), Memory(NONE))


def test_tmpdir_is_obeyed_and_nothing_is_left_there_after_a_kill(tmp_path: Path) -> None:
    script = (
        "import numpy, time\n"
        "from chainrule.data.memory import Memory\n"
        "from chainrule.data.store import collect\n"
        "kept = collect([numpy.zeros((1000, 1000, 1), 'uint8')] * 5, Memory(1))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        links = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()]
        process.send_signal(signal.SIGKILL)
    assert any(link.startswith(str(tmp_path)) for link in links)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_closed_with_its_last_user() -> None:
    file = File.temporary()
    descriptor = file.descriptor
    kept = FileRows(file, 0, (0, 1), np.uint8)
    del file
    os.fstat(descriptor)
    del kept
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


# how much memory there is


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 8,000 kB available."""
    monkeypatch.setattr(memory_room, "PROCESS", tmp_path / "proc")
    monkeypatch.setattr(memory_room, "CGROUPS", tmp_path / "cgroup")
    write(tmp_path / "proc" / "meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n")
    return tmp_path


def test_what_the_system_has_available_is_free(machine: Path) -> None:
    assert free_memory() == 8_192_000
    assert Memory().limit == 2_048_000


@pytest.mark.parametrize("group", ["0::/a/b\n", "0::/a\n"])
def test_a_containers_limit_counts_wherever_it_is_set(machine: Path, group: str) -> None:
    write(machine / "proc" / "self" / "cgroup", group)
    for name, limit, used in (("a", "5000000", "3000000"), ("a/b", "max", "1")):
        write(machine / "cgroup" / name / "memory.max", limit)
        write(machine / "cgroup" / name / "memory.current", used)
        write(machine / "cgroup" / name / "memory.stat", "anon 5\ninactive_file 400000\n")
    assert free_memory() == 2_400_000


def test_a_limit_of_the_older_control_groups_counts(machine: Path) -> None:
    write(machine / "proc" / "self" / "cgroup", "3:cpuset:/\n4:cpu,memory:/job\n")
    for name, value in (("limit_in_bytes", "600"), ("usage_in_bytes", "500"), ("stat", "total_inactive_file 50\n")):
        write(machine / "cgroup" / "memory" / "job" / f"memory.{name}", value)
    assert free_memory() == 150


def test_a_system_that_does_not_tell_counts_half_of_what_is_installed(machine: Path) -> None:
    (machine / "proc" / "meminfo").unlink()
    assert free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


# threads


def test_results_come_in_order_and_only_a_few_are_made_ahead() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    results = stream_in_threads(make, range(10_000), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(made) < 200
    results.close()
    assert len(made) < 200
    assert list(stream_in_threads(make, range(50), 7)) == list(range(50))


def test_arrays_of_different_types_are_our_own_mistake() -> None:
    kept = Arrays()
    kept.add(np.zeros((2, 2), np.uint8), Memory(), 0)
    with pytest.raises(AssertionError, match="one type"):
        kept.add(np.zeros((2, 2), np.float32), Memory(), 0)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 6), ({"cpu.max": "max 100000"}, 6), ({"cpu.max": "150000 100000"}, 2), ({"cpu.max": "30000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)  # fmt: skip
def test_a_containers_quota_limits_the_cores(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert threads.usable_cores() == cores
