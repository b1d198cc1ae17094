"""One function over many items, on as many threads as this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function of each item, in order; for decoders and hashes, which let other threads run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(8, cores)
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    stretch = max(1, len(items) // (16 * threads))  # a future for each item costs more than a small image

    def run(start: int) -> list[R]:
        return [function(items[place]) for place in range(start, min(start + stretch, len(items)))]

    with ThreadPoolExecutor(threads) as pool:
        return [result for part in pool.map(run, range(0, len(items), stretch)) for result in part]
