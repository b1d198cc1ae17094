"""Which moments of a series are strange: stretches of them, the columns that are to blame, and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from chainrule.data.series.panel import Panel
from chainrule.data.series.window_samples import WindowSchema, in_own_units
from chainrule.errors import InputError
from chainrule.explain.anomalies import AnomalyExplanation, Part, Strange
from chainrule.tasks.moments import Floats, Moments

SHOWN, CURVES = 8, 2  # stretches, and columns of each that are drawn
RARE = 0.99  # quantile of the scores that stands in where no moment is called an anomaly
WIDTH, HEIGHT, LEFT, FOOT = 640, 130, 64, 18  # of a curve, in pixels

Stretch = tuple[int, int]  # the first step, and the one after the last


def explain_moments(
    panel: Panel, moments: Moments, schema: WindowSchema, steps: NDArray[np.int64]
) -> AnomalyExplanation:
    """Take the strangest stretches of a series apart.

    Args:
        steps: that are looked at; only those a window holds have a score.

    Raises:
        InputError: no value is known.
    """
    scores = np.full(len(panel), np.nan)
    scores[steps] = moments.scores[steps]
    known = np.isfinite(scores)
    if not known.any():
        raise InputError("there is no moment to explain: no value is known")
    limit = schema.target.moment_threshold
    called = bool(limit) and bool((scores[known] >= limit).any())
    line = limit if called else float(np.quantile(scores[known], RARE))
    found = stretches(scores, line, max(1, schema.window // 4))
    expected = in_own_units(moments.built, schema)
    rows = [_strange(panel, moments, expected, scores, stretch, schema, called) for stretch in found[:SHOWN]]
    count, several = int((scores[known] >= line).sum()), f"in {len(found):,} stretches"
    how = (
        f"{count:,} of {int(known.sum()):,} moments score {limit:.4g} or more and are called anomalies, "
        f"{several}, as {schema.target.false_alarms:.0%} of the validation split's do"
        if called
        else f"no moment is called an anomaly; these are the strangest {count:,} of {int(known.sum()):,}, {several}"
    )
    notes = (how, f"a moment's score is its mean misfit over the {schema.window} windows that hold it; 1 is usual")
    first, last = np.flatnonzero(known)[[0, -1]].tolist()
    marks = [(a - first, b - first) for a, b in found]
    figure = curve_svg([scores[first : last + 1]], marks, panel.written([first, last]), line)
    return AnomalyExplanation(tuple(rows), notes, (("Score of each moment; marked: the stretches", figure),))


def stretches(scores: Floats, limit: float, gap: int) -> list[Stretch]:
    """Runs of scores from ``limit`` on, those up to ``gap`` steps apart joined; the highest one first.

    Example:
        >>> stretches(np.array([0.0, 3.0, 0.0, 4.0, np.nan, 0.0, 0.0, 9.0]), 3.0, 2)
        [(7, 8), (1, 4)]
    """
    high = np.flatnonzero(np.where(np.isfinite(scores), scores, -np.inf) >= limit)
    runs = np.split(high, np.flatnonzero(np.diff(high) > gap) + 1)
    found = [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    return sorted(found, key=lambda run: -np.nanmax(scores[run[0] : run[1]]))


def _strange(
    panel: Panel, moments: Moments, expected: Floats, scores: Floats, stretch: Stretch, schema: WindowSchema,
    called: bool,
) -> Strange:  # fmt: skip
    begin, end = stretch
    peak = begin + int(np.nanargmax(scores[begin:end]))
    misfits = moments.misfits[begin:end]
    sums = np.where(np.isfinite(misfits), misfits, 0.0).sum(0)
    shares = sums / max(float(sums.sum()), np.finfo(float).tiny)
    order = np.argsort(-shares, kind="stable")
    value, built = panel.values[peak], expected[peak]
    when = panel.written([peak])[0]
    parts = [
        Part(f"{panel.names[c]} at {when}", float(shares[c]), f"{value[c]:.6g}" if np.isfinite(value[c]) else "missing",
             f"{built[c]:.6g}")
        for c in order.tolist()
    ]  # fmt: skip
    first, last = max(0, begin - schema.window), min(len(panel), end + schema.window)
    panels = [
        (
            f"{panel.names[c]}; dashed: as it was expected",
            curve_svg([panel.values[first:last, c], expected[first:last, c]], [(begin - first, end - first)],
                      panel.written([first, last - 1])),
        )
        for c in order[:CURVES].tolist()
    ]  # fmt: skip
    labels = [] if panel.labels is None else [name for name in panel.labels[begin:end].tolist() if name]
    told = next((name for name in labels if name not in schema.target.classes), labels[0] if labels else "")
    ends = panel.written([begin, end - 1])
    name = ends[0] if end - begin == 1 else f"{ends[0]} to {ends[1]}"
    return Strange(name, float(scores[peak]), called, told, tuple(parts), tuple(panels))


def curve_svg(
    lines: Sequence[Floats], marks: Sequence[Stretch], ends: Sequence[str], limit: float | None = None
) -> str:
    """Values over time: the first line drawn through, others dashed, stretches marked, a level across."""
    known = np.concatenate([line[np.isfinite(line)] for line in lines] + ([] if limit is None else [[limit]]))
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    span, count = (high - low) or 1.0, len(lines[0])
    scale_x, scale_y = WIDTH / max(1, count - 1), (HEIGHT - 12) / span

    def y(value: float) -> float:
        return HEIGHT - 6 - (value - low) * scale_y

    parts = [
        f'<rect x="{LEFT + (a - 0.5) * scale_x:.1f}" y="0" width="{max(2.0, (b - a) * scale_x):.1f}" height="{HEIGHT}" '
        'fill="#c0504d" fill-opacity="0.25"/>'
        for a, b in marks
    ]
    for number, line in enumerate(lines):
        dash = ' stroke-dasharray="5 3"' if number else ""
        parts.append(f'<path d="{_path(line, scale_x, y)}" fill="none" stroke="var(--bar, #2a7ab0)"{dash}/>')
    if limit is not None:
        parts.append(f'<path d="M{LEFT} {y(limit):.1f}H{LEFT + WIDTH}" stroke="#c0504d" stroke-dasharray="2 2"/>')
    for value in (low, high):
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for place, text in zip((LEFT, LEFT + WIDTH), ends, strict=True):
        anchor = "start" if place == LEFT else "end"
        parts.append(f'<text x="{place}" y="{HEIGHT + FOOT - 4}" text-anchor="{anchor}">{escape(text)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 4} {HEIGHT + FOOT}" role="img" '
        f'font-family="sans-serif" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
    )


def _path(line: Floats, scale_x: float, y: Callable[[float], float]) -> str:
    """A path that is lifted where nothing is known; of long lines the highest value of each pixel."""
    size = max(1, len(line) // WIDTH)
    found, there = [], False
    for start in range(0, len(line), size):
        part = line[start : start + size]
        part = part[np.isfinite(part)]
        if len(part):
            found.append(f"{'L' if there else 'M'}{LEFT + start * scale_x:.1f} {y(float(part.max())):.1f}")
        there = bool(len(part))
    return "".join(found)
