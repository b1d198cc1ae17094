"""One function over many items, on as many threads as this process may use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

MOST_THREADS = 8  # more wait for the disk and for Python
CGROUPS = Path("/sys/fs/cgroup")

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function of each item, in order; for decoders and hashes, which let other threads run."""
    # a future for each item costs more than a small image
    return list(stream_in_threads(function, items, max(1, len(items) // (16 * _threads()))))


def stream_in_threads(function: Callable[[T], R], items: Iterable[T], stretch: int = 1) -> Generator[R, None, None]:
    """As ``in_threads``, but only a few stretches of so many items ahead of who asks, so that results need no room."""
    threads = _threads()
    if threads == 1:
        yield from map(function, items)
        return

    def run(part: list[T]) -> list[R]:
        return [function(item) for item in part]

    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[R]]] = deque()
        while part := list(islice(left, stretch)):
            waiting.append(pool.submit(run, part))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _threads() -> int:
    return min(MOST_THREADS, usable_cores())


def usable_cores() -> int:
    """CPU cores this process may use: those of its affinity, or fewer where the container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _quota() or cores)


def _quota() -> int | None:
    """The container's share of time in whole cores, one at least; None where it has no limit."""
    try:  # control groups version 2, then version 1
        share = (CGROUPS / "cpu.max").read_text().split()
    except OSError:
        try:
            share = [(CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        except OSError:
            return None
    unlimited = share[0] == "max" or int(share[0]) <= 0
    return None if unlimited else max(1, int(int(share[0]) / int(share[1]) + 0.5))
