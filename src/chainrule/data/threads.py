"""One function over many items, on as many threads as this process may use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)
