"""Rows of ``make prove`` in docs/results.md: one line a proof, replaced by its newest run."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
HEADING = "## Rows of the last `make prove`"


def record(name: str, result: str, results: Path = RESULTS) -> None:
    """Print a row; with CHAINRULE_RECORD set, as ``make prove`` does, write it into ``results`` as well."""
    print(f"\n{name}: {result}")
    if not os.environ.get("CHAINRULE_RECORD"):
        return
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {datetime.date.today()}"
    row = f"| {name} | {result} | {machine} |"
    before, found, after = results.read_text(encoding="utf-8").partition(HEADING)
    rows = [line for line in after.splitlines() if line.startswith("|") and not line.startswith(f"| {name} |")]
    head = ["| proof | result | machine |", "|---|---|---|"]
    kept = [*head, *(line for line in rows if line not in head), row]
    table = "\n".join(kept)
    results.write_text(f"{before.rstrip()}\n\n{found or HEADING}\n\n{table}\n", encoding="utf-8")
