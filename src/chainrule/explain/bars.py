"""Bar charts of named numbers, as text for the terminal and as SVG for the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_ROW_PX, _LABEL_PX, _BAR_PX, _NUMBER_PX = 22, 180, 360, 90
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars_text(
    names: Sequence[str],
    values: Sequence[float],
    ranges: Sequence[tuple[float, float]] = (),
    width: int = 40,
) -> str:
    """One line per name: name, bar, number and, where given, the range behind it. Negative bars are hatched.

    Example:
        >>> print(bars_text(["age", "sex"], [0.5, -0.25], width=4))
        age ████   0.5
        sex ▒▒    -0.25
    """
    longest = max(map(abs, values), default=0.0)
    label = min(max(map(len, names), default=0), 40)
    lines = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        number = f"{value: .3g}" + (f" ({ranges[row][0]:.3g} to {ranges[row][1]:.3g})" if ranges else "")
        shown = name if len(name) <= label else name[: label - 1] + "…"
        lines.append(f"{shown:<{label}} {_bar(value, longest, width):<{width}}  {number}")
    return "\n".join(lines)


def _bar(value: float, longest: float, width: int) -> str:
    eighths = round(abs(value) / longest * width * 8) if longest else 0
    if value < 0:
        return "▒" * round(eighths / 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def bars_svg(
    names: Sequence[str], values: Sequence[float], ranges: Sequence[tuple[float, float]] = (), title: str = ""
) -> str:
    """The same chart as one ``<svg>`` element: bars to both sides of zero, whiskers for the ranges."""
    ends = [*values, *(end for ends in ranges for end in ends), 0.0]
    low, high = min(ends), max(ends)
    scale = _BAR_PX / (high - low) if high > low else 0.0
    zero = _LABEL_PX - low * scale
    height = _ROW_PX * len(values) + 4
    rows = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        top = _ROW_PX * row + 4
        middle = top + 8
        left, right = sorted((zero, zero + value * scale))
        rows.append(
            f'<text x="{_LABEL_PX - 8}" y="{middle + 4}" text-anchor="end">{escape(_short(name))}</text>'
            f'<rect x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="16" '
            f'fill="{"#2a7ab0" if value >= 0 else "#c0504d"}"><title>{escape(name)}: {value:.4g}</title></rect>'
            f'<text x="{_LABEL_PX + _BAR_PX + 8}" y="{middle + 4}">{value:.3g}</text>'
        )
        if ranges:
            ends_px = [zero + end * scale for end in ranges[row]]
            rows.append(f'<path d="M{ends_px[0]:.1f} {middle}H{ends_px[1]:.1f}" stroke="currentColor"/>')
    axis = f'<path d="M{zero:.1f} 0V{height}" stroke="currentColor" stroke-width="0.5"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LABEL_PX + _BAR_PX + _NUMBER_PX} {height}" '
        f'role="img" font-family="sans-serif" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title>{''.join(rows)}{axis}</svg>"
    )


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
