"""One opened iteration as data: sections of lines, each a symbol, its formula, its numbers and its value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """``symbol = formula = numbers = value``; what does not apply is "" or None."""

    symbol: str
    formula: str = ""
    numbers: str = ""
    value: float | None = None
    note: str = ""  # in words: a column's name, a shape


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that follow one rule."""

    title: str
    rule: str
    lines: tuple[Line, ...]
    left_out: str = ""  # what was computed and is not shown


@dataclass(frozen=True, slots=True)
class Check:
    """A comparison with an independent computation; a failed one is an error, so what is shown has passed."""

    text: str
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration: forward, loss, backward, update."""

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    checks: tuple[Check, ...]
    loss_before: float  # mean over the batch
    loss_after: float  # the same batch after the update

    def text(self) -> str:
        """For the terminal."""
        from chainrule.trace.render import render_text

        return render_text(self)

    def page(self) -> str:
        """A self-contained HTML page."""
        from chainrule.trace.render import render_page

        return render_page(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
