"""An opened iteration as plain text for the terminal and as a self-contained page."""

from __future__ import annotations

import re

from chainrule.trace.notation import number
from chainrule.trace.tree import Iteration, Line

INDEX = re.compile(r"_(\d+(?:,\d+)?|new\b|old\b|rows?\b|[a-z]{1,2}\b)")  # not the _ inside a parameter's name
POWER = re.compile(r"\^(-?(?:\([^)]*\)|[\w.]+(?:<sub>\w+</sub>)?))")


def render_text(iteration: Iteration) -> str:
    """Plain text without markup or colour, one formula a line."""
    lines = [iteration.title, "  " + " · ".join(f"{name} {value}" for name, value in iteration.facts), ""]
    for place, section in enumerate(iteration.sections, 1):
        lines.append(f"{place}. {section.title}")
        lines += [f"   {section.rule}"] if section.rule else []
        for line in section.lines:
            lines += ["     " + text for text in _text_lines(line)]
        lines += [f"     ({section.left_out})"] if section.left_out else []
        lines.append("")
    lines.append(f"Loss of the batch: {number(iteration.loss_before)} before, {number(iteration.loss_after)} after")
    lines += [f"Checked: {check.text}: largest difference {check.largest_difference:.2g}" for check in iteration.checks]
    return "\n".join(lines) + "\n"


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


def render_page(iteration: Iteration) -> str:
    """One HTML file without scripts and without anything from elsewhere."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("chainrule.trace"), autoescape=True, trim_blocks=True)
    environment.filters["maths"] = _maths
    environment.filters["number"] = number
    return environment.get_template("trace.html").render(iteration=iteration)


def _maths(text: str) -> str:
    """x_1 with a lowered 1, w^(2) with a raised (2)."""
    from markupsafe import Markup, escape

    lowered = INDEX.sub(lambda found: f"<sub>{found[1]}</sub>", str(escape(text)))
    return Markup(POWER.sub(lambda found: f"<sup>{found[1]}</sup>", lowered))
