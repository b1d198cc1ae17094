"""Whole processes: ``chainrule --help``, ``fit xor``, ``fit iris``; seconds, median of five."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS_S = {"--help": 0.25, "fit xor": 3.0, "fit iris": 5.0}
RUNS = 5


def seconds_of(words: list[str]) -> float:
    """Wall seconds of one whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out = [] if words == ["--help"] else ["--out", str(Path(folder) / "run")]
        started = time.perf_counter()
        subprocess.run([str(Path(sys.executable).parent / "chainrule"), *words, *out], check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    """Print each command beside its limit."""
    for command, limit in LIMITS_S.items():
        seconds = statistics.median(seconds_of(command.split()) for _ in range(RUNS))
        print(f"chainrule {command}: {seconds:.2f} s (limit {limit} s) {'ok' if seconds < limit else 'MISSED'}")
