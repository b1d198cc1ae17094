"""The page of an explanation: one HTML file that needs nothing else and asks nothing of the network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from torch import Tensor

from chainrule.explain.axes import Axes
from chainrule.explain.overlay import Pixels, fitted, heat, png, shown_frames

LEFT_PX, FOOT_PX, BARS_PX = 44, 18, 40
PIXELS_PX = 288  # longer side of pictures of masks


def shrunk(pixels: Pixels) -> Any:
    """Large pictures shrunk; pixels of small ones are enlarged by who shows the page."""
    longer = max(pixels.shape[:2])
    H, W = (max(1, round(side * PIXELS_PX / longer)) for side in pixels.shape[:2])
    held = fitted(pixels, PIXELS_PX) if longer > PIXELS_PX else pixels
    return safe(f'<img class="pixels" src="{png(held)}" width="{W}" height="{H}" alt="">')


def render_page(
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


def safe(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)


def panel(pixels: Pixels, axes: Axes, clip: Tensor | None) -> str:
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
        parts.append(f'<g transform="translate({left} {H + 2})">{bars(sizes, W, shown_frames(len(sizes)))}</g>')
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


def bars(values: Any, width: float, marked: Any) -> str:
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
