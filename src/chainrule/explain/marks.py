"""The page of an explanation of texts: every word coloured by what it adds to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from chainrule.explain.answers import Answer
from chainrule.explain.bars import bars_svg
from chainrule.explain.page import render_page, safe
from chainrule.explain.spans import Span

FOR, AGAINST = (240, 190, 20), (60, 120, 240)  # as the maps' legend: yellow and blue
FAINTEST = 0.04  # share of the strongest word below which a word stays clear
MEANING = ("speaks against the answer", "speaks for it")


def words_page(
    answers: Sequence[Answer], spans: Sequence[Sequence[Span]], methods: Sequence[dict[str, Any]], top: Sequence[Any],
    notes: Sequence[str],
) -> str:  # fmt: skip
    """One HTML file that needs nothing else.

    Args:
        methods: of each heading, lines, whether it is trusted, and its values of every word of every text.
    """
    charts = [_chart(top, name) for name in dict.fromkeys(word.answer for word in top)]
    headed = [{**method, "chart": ""} for method in methods]
    headed += [{"heading": heading, "lines": [], "trusted": True, "chart": safe(svg)} for heading, svg in charts]
    rows = [
        {
            "answer": answer, "piece": "",
            "panels": [
                {"svg": safe(marked(spans[row], method["values"][row])), "title": method["heading"].split(":")[0]}
                for method in methods
            ],
        }
        for row, answer in enumerate(answers)
    ]  # fmt: skip
    return render_page("What the answers to texts depend on", notes, headed, MEANING, rows)


def _chart(top: Sequence[Any], answer: str) -> tuple[str, str]:
    words = [word for word in top if word.answer == answer]
    named = [f"{word.word} ({word.places})" for word in words]
    heading = f"Words that speak for {answer}: mean effect at so many places"
    return heading, bars_svg(named, [word.effect for word in words])


def marked(spans: Sequence[Span], values: Sequence[float]) -> str:
    """The text as HTML, each word on its colour; the number stands in its title."""
    strongest = max((abs(value) for value in values), default=0.0) or 1.0
    parts = []
    for span, value in zip(spans, values, strict=True):
        share = abs(value) / strongest
        red, green, blue = FOR if value > 0 else AGAINST
        colour = f"background:rgba({red},{green},{blue},{0.75 * share:.2f})" if share > FAINTEST else ""
        parts.append(f'{escape(span.before)}<span title="{value:+.3g}" style="{colour}">{escape(span.text)}</span>')
    return f'<p dir="auto" style="white-space:pre-wrap;max-width:60rem;margin:.2rem 0">{"".join(parts)}</p>'
