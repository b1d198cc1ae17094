"""Nearest of many vectors: seconds to build an index and to ask it, memory, and how many of the true ten are found.

    python -m benchmarks.search [VECTORS ...]

Vectors of 128 in a thousand groups, as embeddings lie; questions are vectors with noise. Each number of vectors in a
fresh process. ``own_mb`` is the memory that only the process has, the largest of what was seen while it built and was
asked; ``peak_mb`` counts pages of the index's files as well, which the system takes back when others need them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

SIZES = (100_000, 1_000_000)
DIMS, GROUPS, BLOCK = 128, 1000, 8192
NOISE = 0.35  # of a vector, to its group's unit spread
ASKED, COMPARED = 1000, 50  # questions that are timed, and those whose answers are compared with the exact ones
LIMIT_MS = 10.0


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Build and ask in this process."""
    import numpy as np

    from chainrule.index import Block, write_index

    generator = np.random.default_rng(0)
    centres = generator.standard_normal((GROUPS, DIMS), dtype=np.float32)

    def noise(rows: int) -> Any:
        return NOISE * generator.standard_normal((rows, DIMS), dtype=np.float32)

    def blocks() -> Iterator[Block]:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            vectors = centres[generator.integers(0, GROUPS, len(rows))] + noise(len(rows))
            yield Block(vectors=vectors, names=[f"photo {row}.jpg" for row in rows], marks=rows.astype(np.uint64))

    own: list[float] = []
    watched = Event()

    def watch() -> None:
        while not watched.wait(0.02):
            own.append(_megabytes("RssAnon"))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    index = write_index(folder, blocks(), metric="cosine", weights="", sources=[])
    built_s = time.perf_counter() - started
    queries = centres[generator.integers(0, GROUPS, ASKED)] + noise(ASKED)
    taken, hits = [], 0
    for query in queries:
        started = time.perf_counter()
        rows, _ = index.nearest(index.prepare(query, "question"), 10)
        found = [index.items[row] for row in rows]
        taken.append(time.perf_counter() - started)
        assert len(found) == 10
    watched.set()
    watcher.join()
    for query in queries[:COMPARED]:
        asked = index.prepare(query, "question")
        hits += len({*index.nearest(asked, 10)[0]} & {*index.nearest(asked, 10, exactly=True)[0]})
    p50, p95 = (float(np.percentile(taken, share)) * 1000 for share in (50, 95))
    return {
        "search": index.how, "built_s": built_s, "p50_ms": p50, "p95_ms": p95, "recall": hits / (10 * COMPARED),
        "peak_mb": _megabytes("VmHWM"), "own_mb": max(own), "disk_mb": index.size / 2**20,
    }  # fmt: skip


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def measured(count: int) -> dict[str, Any]:
    """As ``measure``, in a process of its own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        words = [sys.executable, "-m", "benchmarks.search", "measure", str(count), folder]
        done = subprocess.run(words, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each number of vectors."""
    for count in sizes:
        found = measured(count)
        verdict = "ok" if found["p95_ms"] < LIMIT_MS else "MISSED"
        print(
            f"{count:>9,} x {DIMS}, {found['search']}: built in {found['built_s']:.1f} s, {found['disk_mb']:.0f} MB; "
            f"a question {found['p50_ms']:.2f} ms, p95 {found['p95_ms']:.2f} ms (limit {LIMIT_MS:g} ms) {verdict}; "
            f"recall of the ten nearest {found['recall']:.3f}; memory of its own at most {found['own_mb']:.0f} MB, "
            f"with what is mapped {found['peak_mb']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
