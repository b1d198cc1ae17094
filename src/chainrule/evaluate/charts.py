"""Charts as inline SVG text: no scripts, no fonts, no files, readable in light and dark, by eye and by screen reader.

Colours are those of Okabe and Ito 2008, told apart by all common kinds of colour vision; a page may override them with
the CSS variables --c0 to --c6. Text takes the page's own colour.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.functional.metrics import Curve, ReliabilityBins

Array = NDArray[Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 84, 16, 40, 48
MOST_POINTS = 400  # of one line; more are averaged in equal parts
MOST_DOTS = 1000  # of a scatter plot; more are thinned evenly
MARKS = (  # about the point where the pen stands, and how it draws: a disc, a square, a cross
    ("h0", 'stroke-width="5" stroke-linecap="round"'), ("h0", 'stroke-width="4.5" stroke-linecap="square"'),
    ("m-3,0h6m-3,-3v6", 'stroke-width="1.6"'),
)  # fmt: skip
MOST_CLASSES = 30  # of a confusion matrix; of more, the ones with the most mistakes


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points that are not finite are left out."""

    name: str
    x: Sequence[float] | Array
    y: Sequence[float] | Array
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One horizontal bar, with whiskers where ``low`` and ``high`` are given."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values along one side of a chart."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, values: Any, start: float, end: float) -> Any:
        """Pixels of these values."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        scaled = np.log10(np.maximum(values, self.low)) if self.log else np.asarray(values, float)
        return start + (scaled - low) / ((high - low) or 1.0) * (end - start)

    def ticks(self) -> list[float]:
        """About five round values inside the range."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(exponents) < 5 else (1,)
            ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
            return [tick for tick in ticks if self.low <= tick <= self.high]
        rough = (self.high - self.low) / 5 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def number(value: float) -> str:
    """A number as short as it can be read: 0.953, 12,400, 3.1e-05."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    size = abs(value)
    if value == int(value) and size < 1e7:
        return f"{int(value):,}"
    if size >= 1e7 or size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1e4 else f"{value:.4g}"


def line_chart(title: str, series: Sequence[Series], x_label: str, y_label: str, log_y: bool = False) -> str:
    """Lines over a common axis with a legend; a logarithmic axis leaves out values that are not above 0."""
    lines = [(one, *_thinned(one, log_y)) for one in series]
    lines = [(one, x, y) for one, x, y in lines if len(x)]
    x_axis = _around(x_label, np.concatenate([x for _, x, _ in lines] or [np.zeros(0)]), margin=0)
    y_axis = _around(y_label, np.concatenate([y for _, _, y in lines] or [np.zeros(0)]), log=log_y)
    body = []
    for index, (one, x, y) in enumerate(lines):
        colour, dash = _colour(index), ' stroke-dasharray="6 4"' if one.dashed else ""
        points = _points(x_axis, y_axis, x, y)
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{points}"/>')
        if len(x) == 1:
            cx, cy = points.split(",")
            body.append(f'<circle cx="{cx}" cy="{cy}" r="3" fill="{colour}"/>')
    return _frame(title, x_axis, y_axis, "".join(body) + _legend([one.name for one, _, _ in lines]))


def bar_chart(title: str, bars: Sequence[Bar], label: str) -> str:
    """Horizontal bars from 0, the strong one in another colour, whiskers for intervals, the value at the end."""
    ends = [value for bar in bars for value in (bar.value, bar.low, bar.high) if value is not None]
    axis = Axis(label, min(0.0, *ends), max(0.0, *ends) or 1.0)
    left, step = 170, 34
    height = TOP + step * len(bars) + BOTTOM
    zero = axis.place(0.0, left, WIDTH - 80)
    body = []
    for index, bar in enumerate(bars):
        y, end = TOP + step * index, axis.place(bar.value, left, WIDTH - 80)
        body.append(_text(left - 8, y + 16, _short(bar.name, 24), "end"))
        body.append(
            f'<rect x="{min(zero, end):.1f}" y="{y + 2}" width="{abs(end - zero):.1f}" height="18" '
            f'fill="{_colour(0 if bar.strong else 6)}"><title>{escape(bar.name)}: {number(bar.value)}</title></rect>'
        )
        furthest = end
        if bar.low is not None and bar.high is not None:
            low, high = axis.place([bar.low, bar.high], left, WIDTH - 80)
            furthest = max(end, high)
            path = f"M{low:.1f},{y + 11}H{high:.1f}M{low:.1f},{y + 6}v10M{high:.1f},{y + 6}v10"
            body.append(f'<path d="{path}" stroke="currentColor" stroke-width="1.5" fill="none"/>')
        body.append(_text(max(furthest, zero) + 6, y + 16, number(bar.value), "start"))
    foot = TOP + step * len(bars)
    for tick in axis.ticks():
        place = axis.place(tick, left, WIDTH - 80)
        body.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{foot}" class="grid"/>')
        body.append(_text(place, foot + 16, number(tick), "middle"))
    body.append(_text((left + WIDTH - 80) / 2, foot + 36, label, "middle"))
    return _svg(title, WIDTH, height, "".join(body))


def confusion_chart(title: str, confusion: Array, classes: Sequence[str]) -> str:
    """Rows are true classes, columns answers; the shade is the share of the row, the figure the count."""
    kept = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        mistakes = confusion.sum(0) + confusion.sum(1) - 2 * np.diagonal(confusion)
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])
        title = f"{title} (the {MOST_CLASSES} of {len(classes)} classes with the most mistakes)"
    cells = confusion[np.ix_(kept, kept)]
    shares = cells / np.maximum(confusion[kept].sum(1, keepdims=True), 1)
    left, top = 120, 70
    size = min(64.0, (WIDTH - left - RIGHT) / len(kept))
    body = [_text(left + size * len(kept) / 2, 44, "answered", "middle"), _text(8, top - 6, "true class", "start")]
    names = [str(classes[label]) for label in kept.tolist()]
    for row, true in enumerate(names):
        middle = top + size * (row + 0.5)
        body.append(_text(left - 6, middle + 4, _short(true, 15), "end"))
        if size >= 24:
            body.append(_text(left + size * (row + 0.5), top - 6, _short(true, int(size / 7)), "middle"))
        for column, answer in enumerate(names):
            share, count = float(shares[row, column]), int(cells[row, column])
            x = left + size * column
            words = f"{true} answered as {answer}: {count:,} ({share:.1%})"
            body.append(
                f'<rect x="{x:.1f}" y="{top + size * row:.1f}" width="{size - 1:.1f}" height="{size - 1:.1f}" '
                f'fill="{_colour(0 if row == column else 1)}" fill-opacity="{0.06 + 0.94 * share:.3f}">'
                f"<title>{escape(words)}</title></rect>"
            )
            if size >= 24 and count:
                colour = ' style="fill:#fff"' if share > 0.55 else ""
                body.append(_text(x + size / 2, middle + 4, f"{count:,}", "middle", colour))
    return _svg(title, WIDTH, int(top + size * len(kept) + 12), "".join(body))


def reliability_chart(title: str, bins: ReliabilityBins) -> str:
    """What was stated against what came true; on the diagonal probabilities mean what they say."""
    filled = bins.count > 0
    axis_x, axis_y = Axis("stated probability", 0, 1), Axis("share that came true", 0, 1)
    said, came_true, count = bins.confidence[filled], bins.share[filled], bins.count[filled]
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 7 * (n / count.max()) ** 0.5:.1f}" fill="{_colour(0)}" '
        f'fill-opacity="0.75"><title>stated {p:.2f}, came true {q:.2f}, {n:,} rows</title></circle>'
        for x, y, n, p, q in zip(_x(axis_x, said), _y(axis_y, came_true), count, said, came_true, strict=True)
    ]
    return _frame(title, axis_x, axis_y, _diagonal(axis_x, axis_y) + "".join(dots))


def roc_chart(title: str, points: Curve, positive: str) -> str:
    """Sensitivity over the false-alarm rate at every threshold; the diagonal is guessing."""
    x_axis = Axis("false alarms (1 - specificity)", 0, 1)
    y_axis = Axis(f"sensitivity for {_short(positive, 24)}", 0, 1)
    place = np.unique(np.linspace(0, len(points.tp) - 1, MOST_POINTS).astype(int))
    x, y = points.fp[place] / max(points.fp[-1], 1), points.tp[place] / max(points.tp[-1], 1)
    line = _points(x_axis, y_axis, x, y)
    body = f'<polyline fill="none" stroke="{_colour(0)}" stroke-width="2" points="{line}"/>'
    return _frame(title, x_axis, y_axis, _diagonal(x_axis, y_axis) + body)


def scatter_chart(title: str, true: Array, predicted: Array, label: str) -> str:
    """Predicted over true numbers; on the diagonal the answer is right."""
    finite = np.flatnonzero(np.isfinite(true) & np.isfinite(predicted))
    rows = finite[np.unique(np.linspace(0, len(finite) - 1, min(len(finite), MOST_DOTS)).astype(int))]
    both = np.concatenate((true[rows], predicted[rows]))
    x_axis, y_axis = _around(f"true {label}", both), _around(f"predicted {label}", both)
    places = zip(_x(x_axis, true[rows]), _y(y_axis, predicted[rows]), strict=True)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places)
    group = f'<g fill="{_colour(0)}" fill-opacity="0.5">{dots}</g>'
    return _frame(title, x_axis, y_axis, _diagonal(x_axis, y_axis) + group)


def groups_chart(title: str, points: Array, groups: Array, names: Sequence[str], labels: tuple[str, str]) -> str:
    """Points (N, 2) in the colours and shapes of their groups, which are named below; large groups are drawn first.

    Args:
        groups: of each point, its place in ``names``.
        labels: of both axes.
    """
    finite = np.isfinite(points).all(1)
    (x, y), groups = points[finite].T, groups[finite]
    x_axis, y_axis = _around(labels[0], x), _around(labels[1], y)
    body = []
    for place in sorted(range(len(names)), key=lambda place: -int((groups == place).sum())):
        chosen = groups == place
        body.append(_marks(place, _x(x_axis, x[chosen]), _y(y_axis, y[chosen])))
    foot, line, left = [], HEIGHT + 8.0, float(LEFT)
    for place, name in enumerate(names if len(names) > 1 else ()):
        words = _short(name, 28)
        width = 6.4 * len(words) + 30
        if left + width > WIDTH and left > LEFT:
            line, left = line + 18, float(LEFT)
        foot += [_marks(place, np.array([left + 4]), np.array([line - 4])), _text(left + 12, line, words, "start")]
        left += width
    return _frame(title, x_axis, y_axis, "".join(body + foot), below=int(line - HEIGHT) + 10 if foot else 0)


def forecast_chart(
    title: str, history: Array, truth: Array, forecast: Array, low: Array, high: Array, moments: Sequence[str],
    label: str,
) -> str:  # fmt: skip
    """The last values of a series, then its forecast with an interval, beside what came where that is known.

    Args:
        truth: as long as the forecast; NaN where nothing is known.
        moments: of the history and the forecast, as a person writes them.
    """
    begin = len(history)
    back, forth = np.arange(begin), np.arange(begin, begin + len(forecast))
    known = np.concatenate([part[np.isfinite(part)] for part in (history, truth, forecast, low, high)])
    x_axis, y_axis = Axis("", 0.0, float(max(1, begin + len(forecast) - 1))), _around(label, known)
    band = _points(x_axis, y_axis, np.r_[forth, forth[::-1]], np.r_[low, high[::-1]])
    parts = [f'<polygon points="{band}" fill="{_colour(1)}" fill-opacity="0.2"/>']
    after = np.r_[history[-1:], truth]
    for colour, x, y in ((0, back, history), (0, np.r_[back[-1:], forth], after), (1, forth, forecast)):
        seen = np.isfinite(y)
        points = _points(x_axis, y_axis, x[seen], y[seen])
        parts.append(f'<polyline fill="none" stroke="{_colour(colour)}" stroke-width="2" points="{points}"/>')
    edge = float(_x(x_axis, begin - 0.5))
    parts.append(f'<line x1="{edge:.1f}" x2="{edge:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="currentColor" '
                 'stroke-opacity="0.5" stroke-dasharray="4 4"/>')  # fmt: skip
    places = np.unique(np.linspace(0, len(moments) - 1, 4).astype(int)).tolist()
    ticks = [(float(place), moments[place]) for place in places]
    return _frame(title, x_axis, y_axis, "".join(parts) + _legend(["known", "forecast"]), ticks)


def stacked(drawn: Sequence[str]) -> str:
    """Charts below each other, as one SVG file."""
    inner = [
        chart.replace("<svg ", f'<svg y="{HEIGHT * place}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        for place, chart in enumerate(drawn)
    ]
    size = f'width="{WIDTH}" height="{HEIGHT * len(drawn)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="background:#fff">{"".join(inner)}</svg>'


def histogram(title: str, values: Array, label: str, bins: int = 30) -> str:
    """How often values occur."""
    finite = np.asarray(values, float)[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=bins)
    x_axis = Axis(label, float(edges[0]), float(edges[-1]))
    y_axis = Axis("rows", 0.0, float(max(counts.max(), 1)) * 1.05)
    foot = HEIGHT - BOTTOM
    bars = "".join(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(after - x - 1, 0.5):.1f}" height="{foot - y:.1f}" '
        f'fill="{_colour(0)}"><title>{number(low)} to {number(high)}: {count:,}</title></rect>'
        for (x, after), (low, high), y, count in zip(
            pairwise(_x(x_axis, edges)), pairwise(edges.tolist()), _y(y_axis, counts), counts, strict=True
        )
    )
    return _frame(title, x_axis, y_axis, bars)


def image_grid(images: Sequence[Array], captions: Sequence[str]) -> str:
    """Pictures (H W 3) uint8 with a caption each, as HTML figures."""
    figures = (
        f'<figure><img src="{png(image)}" alt="{escape(caption)}"/><figcaption>{escape(caption)}</figcaption></figure>'
        for image, caption in zip(images, captions, strict=True)
    )
    return f'<div class="pictures">{"".join(figures)}</div>'


def png(image: Array, longest: int = 192) -> str:
    """A picture (H W 3) uint8 as a data URI, at most ``longest`` pixels wide and high."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((longest, longest))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _thinned(series: Series, log_y: bool) -> tuple[Array, Array]:
    """The finite points, averaged in equal parts where there are many."""
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    keep = np.isfinite(x) & np.isfinite(y) & ((y > 0) if log_y else True)
    x, y = x[keep], y[keep]
    if len(x) <= MOST_POINTS:
        return x, y
    starts = np.arange(MOST_POINTS) * len(x) // MOST_POINTS
    count = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / count, np.add.reduceat(y, starts) / count


def _around(label: str, values: Array, margin: float = 0.05, log: bool = False) -> Axis:
    """An axis that holds these values with a little room."""
    if not len(values):
        return Axis(label, 0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        return Axis(label, low / 1.2, high * 1.2, log=True)
    room = (high - low) * margin if high > low else 0.5 * abs(high) or 0.5
    return Axis(label, low - room, high + room)


def _x(axis: Axis, values: Any) -> Any:
    return axis.place(values, LEFT, WIDTH - RIGHT)


def _y(axis: Axis, values: Any) -> Any:
    return axis.place(values, HEIGHT - BOTTOM, TOP)


def _points(x_axis: Axis, y_axis: Axis, x: Array, y: Array) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(_x(x_axis, x), _y(y_axis, y), strict=True))


def _marks(group: int, x: Array, y: Array) -> str:
    """The points of a group in its colour and shape."""
    pen, style = MARKS[group // len(COLOURS) % len(MARKS)]
    path = "".join(f"M{a:.1f},{b:.1f}{pen}" for a, b in zip(x, y, strict=True))
    return f'<path d="{path}" fill="none" stroke="{_colour(group)}" stroke-opacity="0.65" {style}/>'


def _diagonal(x_axis: Axis, y_axis: Axis) -> str:
    ends = np.array([max(x_axis.low, y_axis.low), min(x_axis.high, y_axis.high)])
    line = _points(x_axis, y_axis, ends, ends)
    return f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-opacity="0.5" stroke-dasharray="4 4"/>'


def _frame(
    title: str, x_axis: Axis, y_axis: Axis, body: str, named: Sequence[tuple[float, str]] = (), below: int = 0
) -> str:
    """Grid, ticks, axis labels and title around a chart's body; ``named`` are ticks of the x axis with words.

    Args:
        below: pixels of room under the chart, which the body has filled.
    """
    parts, foot = [], HEIGHT - BOTTOM
    for tick, word in named or [(tick, number(round(tick, 12))) for tick in x_axis.ticks()]:
        x = _x(x_axis, tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}" class="grid"/>')
        ends = {named[0][0]: "start", named[-1][0]: "end"} if named else {}  # words are longer than numbers
        parts.append(_text(x, foot + 16, word, ends.get(tick, "middle")))
    for tick in y_axis.ticks():
        y = _y(y_axis, tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(LEFT - 6, y + 4, number(round(tick, 12)), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_axis.label, "middle"))
    middle = (TOP + foot) / 2
    parts.append(_text(14, middle, y_axis.label, "middle", f' transform="rotate(-90 14 {middle:.0f})"'))
    return _svg(title, WIDTH, HEIGHT + below, "".join(parts) + body)


def _legend(names: Sequence[str]) -> str:
    """Names in their colours, in a row under the title's right end."""
    parts, x = [], float(WIDTH - RIGHT)
    for index in reversed(range(len(names))):
        name = _short(names[index], 28)
        parts.append(_text(x, TOP - 8, name, "end"))
        x -= 6.4 * len(name) + 8
        parts.append(f'<rect x="{x - 12:.1f}" y="{TOP - 17}" width="12" height="8" fill="{_colour(index)}"/>')
        x -= 24
    return "".join(parts)


def _svg(title: str, width: int, height: int, body: str) -> str:
    words = escape(title)
    style = ".grid{stroke:currentColor;stroke-opacity:.15}text{font:12px system-ui,sans-serif;fill:currentColor}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{words}"><title>{words}</title><style>{style}</style>'
        f'<text x="0" y="16" style="font-weight:600">{words}</text>{body}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _short(words: str, most: int) -> str:
    """At most this many letters, cut in the middle: names that are numbered differ at their end."""
    if len(words) <= most:
        return words
    head = (most - 1) // 2
    return words[:head] + "…" + words[len(words) - max(most - 1 - head, 1) :]


def _colour(index: int) -> str:
    place = index % len(COLOURS)
    return f"var(--c{place},{COLOURS[place]})"
