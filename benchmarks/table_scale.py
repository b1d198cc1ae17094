"""A table of 40 columns at 50 thousand and at 5 million rows: peak memory over decoded size, seconds per row.

One epoch of fit in a fresh process each. The decoded size is what the columns take as float64.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (50_000, 5_000_000)
COLUMNS = 40


def write(path: Path, rows: int) -> None:
    """A Parquet file of numbers and some words."""
    import numpy as np
    import polars as pl

    generator = np.random.default_rng(0)
    columns = {f"x{i}": generator.normal(size=rows) for i in range(COLUMNS - 1)}
    y = (columns["x0"] + generator.normal(size=rows) > 0).astype(np.int64)
    pl.DataFrame({**columns, "y": y}).write_parquet(path)


def measure(rows: int) -> tuple[float, float]:
    """Peak memory in units of the decoded size, and seconds in all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        subprocess.run([sys.executable, "-m", "benchmarks.table_scale", "write", str(path), str(rows)], check=True)
        words = [sys.executable, "-m", "benchmarks.table_scale", "fit", str(path), str(Path(folder) / "run")]
        done = json.loads(subprocess.run(words, check=True, capture_output=True).stdout.splitlines()[-1])
        return done["peak_bytes"] / (rows * COLUMNS * 8), done["seconds"]


def main() -> None:
    """Print both sizes."""
    costs = {}
    for rows in SIZES:
        share, seconds = measure(rows)
        costs[rows] = seconds / rows
        print(f"{rows:,} rows: peak {share:.2f} x decoded size, {seconds:.1f} s, {1e6 * costs[rows]:.1f} us a row")
    small, large = costs.values()
    print(f"cost per row, large / small: {large / small:.2f} (flat is <= 1; the small one pays start-up)")


def fit(path: str, out: str) -> None:
    """One epoch in this process; prints its peak."""
    import time

    import chainrule

    started = time.perf_counter()
    chainrule.fit(path, target="y", model="mlp", epochs=1, batch_size=1024, out=out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        fit(sys.argv[2], sys.argv[3])
