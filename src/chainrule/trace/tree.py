"""One opened iteration: sections of lines of symbol, formula, numbers and value; as text and as a page."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from chainrule.trace.notation import number

INDEX = re.compile(r"_(\d+(?:,\d+)?|new\b|old\b|rows?\b|[a-z]{1,2}\b)")  # not the _ inside a parameter's name
POWER = re.compile(r"\^(-?(?:\([^)]*\)|[\w.]+(?:<sub>\w+</sub>)?))")


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
        """Plain text without markup or colour, one formula a line."""
        lines = [self.title, "  " + " · ".join(f"{name} {value}" for name, value in self.facts), ""]
        for place, section in enumerate(self.sections, 1):
            lines.append(f"{place}. {section.title}")
            lines += [f"   {section.rule}"] if section.rule else []
            for line in section.lines:
                lines += ["     " + text for text in _text_lines(line)]
            lines += [f"     ({section.left_out})"] if section.left_out else []
            lines.append("")
        lines.append(f"Loss of the batch: {number(self.loss_before)} before, {number(self.loss_after)} after")
        lines += [f"Checked: {check.text}: largest difference {check.largest_difference:.2g}" for check in self.checks]
        return "\n".join(lines) + "\n"

    def page(self) -> str:
        """One HTML file without scripts and without anything from elsewhere."""
        from jinja2 import Environment, PackageLoader

        environment = Environment(loader=PackageLoader("chainrule.trace"), autoescape=True, trim_blocks=True)
        environment.filters["maths"] = _maths
        environment.filters["number"] = number
        return environment.get_template("trace.html").render(iteration=self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _text_lines(line: Line) -> list[str]:
    note = f"   ({line.note})" if line.note else ""
    steps = [step for step in (line.formula, line.numbers) if step]
    if line.value is not None:
        steps.append(number(line.value))
    if len(steps) < 2 or line.value is None:
        return [f"{line.symbol} = {' = '.join(steps)}{note}" if steps else f"{line.symbol}{note}"]
    indent = " " * len(line.symbol)
    first, *rest, last = steps
    return [f"{line.symbol} = {first}{note}", *(f"{indent} = {step}" for step in rest), f"{indent} = {last}"]


def _maths(text: str) -> str:
    """x_1 with a lowered 1, w^(2) with a raised (2)."""
    from markupsafe import Markup, escape

    lowered = INDEX.sub(lambda found: f"<sub>{found[1]}</sub>", str(escape(text)))
    return Markup(POWER.sub(lambda found: f"<sup>{found[1]}</sup>", lowered))
