"""How much memory there is, within the limits of a container, and how much of it decoded data may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SHARE = 4  # decoded data may take one part in so many of what is free
CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc")


class Memory:
    """The bytes of decoded data that may be kept in memory; what comes beyond them goes to a file."""

    def __init__(self, limit: int = 0) -> None:
        """``limit`` in bytes; 0: a quarter of what is free now."""
        self.limit = limit or free_memory() // SHARE
        self.kept = 0

    def has_room(self, size: int, share: float = 1.0) -> bool:
        """Whether ``size`` more bytes stay within this share of the limit."""
        return self.kept + size <= share * self.limit

    def takes(self, size: int, share: float = 1.0) -> bool:
        """As ``has_room``, and if so the bytes count from now on."""
        fits = self.has_room(size, share)
        self.kept += size if fits else 0
        return fits


def free_memory() -> int:
    """Bytes that this process may still take: what the system has available, less where a container allows less.

    Half of the installed memory where the system does not tell.
    """
    return max(0, min([_available(), *_cgroup_rooms()]))


def _available() -> int:
    try:
        for line in (PROCESS / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _cgroup_rooms() -> Iterator[int]:
    """The room in each control group with a limit, of version 2 or 1, that this process is in.

    Pages of files that are not in use count as room: the system takes them back first.
    """
    for folder, limit, usage, cache in _cgroup_folders():
        try:
            most, used = (int((folder / name).read_text()) for name in (limit, usage))
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        yield most - used + int(facts.get(cache, 0))


def _cgroup_folders() -> Iterator[tuple[Path, str, str, str]]:
    """Folder, and the names of limit, usage and unused file pages, of the process's groups and those above them."""
    try:
        lines = (PROCESS / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if not version_2 and "memory" not in controllers.split(","):
            continue
        root = CGROUPS if version_2 else CGROUPS / "memory"
        files = ("memory.max", "memory.current", "inactive_file") if version_2 else (
            "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        )  # fmt: skip
        inner = PurePosixPath(path.strip("/"))
        for at in (inner, *inner.parents):
            yield root / at, *files
