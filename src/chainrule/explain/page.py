"""The page of an explanation: one HTML file that needs nothing else and asks nothing of the network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.mask.decode import nearest
from chainrule.data.mask.write import WHITE, class_colours, outline, overlay
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.explain.axes import Axes
from chainrule.explain.bars import bars_svg
from chainrule.explain.overlay import Pixels, draw, fitted, heat, png, scaled, shown_frames, smoothed

if TYPE_CHECKING:
    from chainrule.explain.maps import MapsExplanation
    from chainrule.explain.pixels import PixelsExplanation, Shown
    from chainrule.explain.table import TableExplanation

LEFT_PX, FOOT_PX, BARS_PX = 44, 18, 40
PIXELS_PX = 288  # longer side of pictures of masks
ERRORS = {  # colours of the error map
    "object, and right": (46, 196, 112), "false alarm": (249, 142, 9), "missed": (66, 168, 220),
    "another class": (216, 80, 200),
}  # fmt: skip


def render(explanation: MapsExplanation) -> str:
    """The page of maps over samples."""
    methods = [
        {"heading": lines[0], "lines": lines[1:], "trusted": method.sanity.passed, "chart": ""}
        for method in explanation.methods
        for lines in [explanation.lines_of(method)]
    ]
    rows = [_row(explanation, row) for row in range(len(explanation.explained.answers))]
    number = explanation.explained.answers[0].share is None
    meaning = ("lowers the number", "raises it") if number else ("speaks against the answer", "speaks for it")
    keys = [{"colour": WHITE, "words": "outline of the mask"}] if explanation.explained.masks else []
    return _page("Where the answers come from", explanation.notes, methods, meaning, rows, keys)


def render_table(explanation: TableExplanation) -> str:
    """The page of a table's columns."""
    found, attribution = explanation.importance, explanation.attribution
    ranges = list(zip(found.low, found.high, strict=True))
    charts = [
        bars_svg(found.names, found.mean, ranges, title="rise of the loss when a column is shuffled"),
        bars_svg(*attribution.ranked(), title="mean size of each column's share in the answer"),
    ]
    doubts: list[tuple[list[str], bool]] = [([], True), ([explanation.sanity.text()], explanation.sanity.passed)]
    methods = [
        {"heading": heading, "lines": lines, "trusted": trusted, "chart": _safe(chart)}
        for heading, (lines, trusted), chart in zip(explanation.headings(), doubts, charts, strict=True)
    ]
    return _page("What the answers depend on", [], methods, (), [])


def render_pixels(explanation: PixelsExplanation) -> str:
    """The page of answers about pixels."""
    methods = [
        {
            "heading": heading, "lines": [text for text, _ in lines], "trusted": all(fine for _, fine in lines),
            "chart": "",
        }
        for heading, lines in explanation.methods()
    ]  # fmt: skip
    target, shown = explanation.target, explanation.shown
    held = np.unique(np.concatenate([one.seen.classes.ravel() for one in shown]))
    keys = [
        {"colour": colour, "words": name}
        for k, (name, colour) in enumerate(zip(target.classes, class_colours(target), strict=True))
        if k in held and k != target.background
    ]
    if any(one.seen.truth is not None for one in shown):
        keys.append({"colour": WHITE, "words": "outline of the mask"})
        keys += [{"colour": colour, "words": f"errors: {name}"} for name, colour in ERRORS.items()]
    rows = [_pixels_row(one, target) for one in shown]
    return _page("Where the network is unsure, and where it errs", explanation.notes, methods, (), rows, keys)


def _pixels_row(one: Shown, target: MaskTarget) -> dict[str, Any]:
    seen, picture = one.seen, one.picture
    panels = [("the image", picture)]
    if seen.truth is not None:
        panels.append(("its mask", overlay(picture, seen.truth, target)))
    panels += [
        ("the answer", overlay(picture, seen.classes, target, seen.truth)),
        ("uncertainty", heat(picture, seen.uncertainty.astype(np.float64))),
        ("what the views differ in", heat(picture, seen.disagreement.astype(np.float64))),
    ]
    if seen.truth is not None:
        panels.append(("errors", error_map(picture, seen.classes, seen.truth, target.background)))
    known = [one.sort] if one.sort else []
    known += [] if one.score is None else [f"Dice {one.score:.3f}"]
    known.append(f"mean uncertainty {seen.mean:.3f}")
    known += [] if seen.wrong is None else [f"{seen.wrong:.2%} of the pixels wrong"]
    return {
        "answer": {"id": seen.id, "text": one.words, "share": None, "truth": ""},
        "panels": [{"title": title, "svg": _image(pixels)} for title, pixels in panels],
        "piece": " · ".join(known),
    }


def error_map(picture: Pixels, classes: NDArray[np.uint8], truth: NDArray[np.uint8], background: int) -> Pixels:
    """The picture in dimmed grey, objects that are answered right, wrongly, as another class, or not, in colour."""
    grey = np.rint(0.6 * picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    shown = np.repeat(grey[..., None], 3, axis=2)
    claimed, there, known = classes != background, truth != background, truth != IGNORE
    same = classes == truth
    parts = (claimed & same, claimed & ~there, ~claimed & there, claimed & there & ~same)
    for part, colour in zip(parts, ERRORS.values(), strict=True):
        chosen = part & known
        shown[chosen] = np.rint(0.4 * shown[chosen] + 0.6 * np.array(colour))
    return shown


def _image(pixels: Pixels) -> Any:
    """Large pictures shrunk; pixels of small ones are enlarged by who shows the page."""
    longer = max(pixels.shape[:2])
    H, W = (max(1, round(side * PIXELS_PX / longer)) for side in pixels.shape[:2])
    held = fitted(pixels, PIXELS_PX) if longer > PIXELS_PX else pixels
    return _safe(f'<img class="pixels" src="{png(held)}" width="{W}" height="{H}" alt="">')


def _page(
    title: str, notes: Sequence[str], methods: list[dict[str, Any]], meaning: Sequence[str],
    rows: list[dict[str, Any]], keys: Sequence[dict[str, Any]] = (),
) -> str:  # fmt: skip
    """Every word from the data is escaped, and the page's own policy forbids scripts and requests."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("chainrule.explain").joinpath("templates/explain.html").read_text("utf-8"))
    return template.render(
        title=title, notes=notes, methods=methods, meaning=meaning, legend=_legend(), rows=rows, keys=keys
    )


def _row(explanation: MapsExplanation, row: int) -> dict[str, Any]:
    seen, axes = explanation.explained, explanation.axes
    tensor, picture = seen.inputs[row], seen.pictures[row]
    mask = seen.masks[row] if seen.masks else None
    panels = [("as the network sees it", _panel(draw(tensor, None, picture, axes.upright), axes, None))]
    for method in explanation.methods:
        values = scaled(smoothed(method.maps[row]) if method.name == "integrated_gradients" else method.maps[row])
        pixels = draw(tensor, values, picture, axes.upright)
        pixels = pixels if mask is None else _outlined(pixels, mask)
        panels.append((method.title, _panel(pixels, axes, values if tensor.dim() == 4 else None)))
    if seen.pieces:
        panels.append(("output of each piece", _bars(seen.pieces[row], 4 * LEFT_PX, (seen.chosen[row],))))
    return {
        "answer": seen.answers[row],
        "panels": [{"title": title, "svg": _safe(svg)} for title, svg in panels],
        "piece": f"piece {seen.chosen[row] + 1} of {len(seen.pieces[row])}" if seen.pieces else "",
    }


def _outlined(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """The pixels with the edge of the mask in white."""
    large = nearest(mask.astype(np.uint8), pixels.shape[:2])
    return np.where((outline(large) & (large > 0))[..., None], np.uint8(255), pixels)


def _safe(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)


def _panel(pixels: Pixels, axes: Axes, clip: Tensor | None) -> str:
    """Pixels with their axes; under a clip's frames a bar for the attribution in each of its frames."""
    H, W = pixels.shape[:2]
    left = LEFT_PX if axes.hertz else 0
    below = BARS_PX if clip is not None else 0
    foot = FOOT_PX if axes.seconds else 0
    parts = [f'<image href="{png(pixels)}" x="{left}" y="0" width="{W}" height="{H}"/>']
    parts += [
        f'<text x="{left - 4}" y="{min(max(H - place * H + 4, 10), H):.0f}" text-anchor="end">{escape(words)}</text>'
        for place, words in axes.hertz
    ]
    if clip is not None:
        sizes = clip.abs().flatten(1).sum(1).tolist()
        parts.append(f'<g transform="translate({left} {H + 2})">{_bars(sizes, W, shown_frames(len(sizes)))}</g>')
    if axes.seconds:
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            x, y = left + share * W, H + below + 13
            parts.append(f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}">{share * axes.seconds:.3g} s</text>')
    width, height = left + W, H + below + foot
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="10" fill="currentColor" style="max-width:100%;height:auto">'
        f"{''.join(parts)}</svg>"
    )


def _bars(values: Any, width: float, marked: Any) -> str:
    """A bar for each value, those below zero hanging; the marked ones in full colour."""
    high, low = max(*values, 0.0), min(*values, 0.0)
    scale = (BARS_PX - 8) / ((high - low) or 1.0)
    step = width / len(values)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{(high - max(value, 0.0)) * scale:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{abs(value) * scale:.1f}" fill="var(--bar)" fill-opacity="{1 if place in marked else 0.45}">'
        f"<title>{place + 1}: {value:.3g}</title></rect>"
        for place, value in enumerate(values)
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{BARS_PX - 6}" role="img">{bars}</svg>'


def _legend() -> str:
    """From -1 to 1 over white."""
    values = np.broadcast_to(np.linspace(-1, 1, 256), (12, 256))
    return png(heat(np.full((12, 256, 3), 255, dtype=np.uint8), values))
