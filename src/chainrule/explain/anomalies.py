"""Why rows are strange: which column, place, moment or word of a row was built worst from its code.

The error of an autoencoder falls apart into those of single numbers, pixels and tokens, so no further method is needed:
what is shown is the score itself, taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chainrule.explain.page import render_page, safe

SHOWN_PARTS = 8  # of each row, in words


@dataclass(frozen=True, slots=True)
class Part:
    """A column, a place, or a word of a row."""

    name: str
    share: float  # of the row's error
    value: str = ""
    expected: str = ""  # what was built instead

    def line(self) -> str:
        """For a terminal."""
        said = f": {self.value}" if self.value else ""
        return f"{self.share:5.0%}  {self.name}{said}" + (f", expected {self.expected}" if self.expected else "")


@dataclass(frozen=True)
class Strange:
    """One row, or one stretch of a series."""

    id: str
    score: float
    called: bool | None  # an anomaly; None where no threshold is settled
    label: str  # what it is known to be; "" where nothing is known
    parts: tuple[Part, ...]  # the largest first
    panels: tuple[tuple[str, str], ...]  # titles and figures

    @property
    def said(self) -> str:
        """The score in words."""
        called = {None: "", True: ", an anomaly", False: ", not called an anomaly"}[self.called]
        return f"score {self.score:.4g}{called}"


@dataclass(frozen=True)
class AnomalyExplanation:
    """The strangest rows, taken apart."""

    rows: tuple[Strange, ...]
    notes: tuple[str, ...]
    overview: tuple[tuple[str, str], ...] = ()  # titles and figures of all together

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [
            {
                "id": row.id, "score": row.score, "anomaly": row.called, "label": row.label or None,
                "parts": [asdict(part) for part in row.parts],
            }
            for row in self.rows
        ]  # fmt: skip
        return {"rows": rows, "notes": list(self.notes)}

    def text(self) -> str:
        """For a terminal."""
        lines = [*self.notes]
        for row in self.rows:
            lines += ["", f"{row.id}: {row.said}{f' ({row.label})' if row.label else ''}"]
            lines += [f"  {part.line()}" for part in row.parts[:SHOWN_PARTS]]
        return "\n".join(lines)

    def page(self) -> str:
        """One HTML file that needs nothing else."""
        rows = [
            {
                "answer": {"id": row.id, "text": row.said, "share": None, "truth": row.label, "right": None},
                "panels": [{"title": title, "svg": safe(figure)} for title, figure in row.panels], "piece": "",
            }
            for row in self.rows
        ]  # fmt: skip
        heads = [
            {"heading": title, "lines": [], "trusted": True, "chart": safe(figure)} for title, figure in self.overview
        ]
        return render_page("What is strange, and why", self.notes, heads, (), rows)

    def save(self, path: str | Path) -> None:
        """Write the page."""
        Path(path).write_text(self.page(), encoding="utf-8")


def told(shown: int, rows: int, scores: Sequence[float], threshold: float, false_alarms: float, noun: str) -> str:
    """How many rows there are, and how many of them are called anomalies."""
    line = f"the {shown} strangest of {rows:,} {noun}; a score of 2 is usual"
    if not threshold:
        return line
    called = sum(score >= threshold for score in scores)
    return (
        f"{line}; {called:,} score {threshold:.4g} or more and are called anomalies, as {false_alarms:.0%} of the "
        "validation split do"
    )
