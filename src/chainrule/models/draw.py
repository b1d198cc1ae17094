"""A network drawn as blocks: as high as the map's sides, as wide as its channels; vectors as bars.

Sizes go from 1 to 100,000, so they are drawn by their logarithm in text and by their square root in the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

TEXT_WIDTH = 110  # characters; longer drawings go on below
HEIGHT, WIDEST, DEPTH = 150.0, 46.0, 0.35  # of the figure's largest map, in px; depth: share of the height
TOP, LABELS, GAP, LABEL_PX = 34.0, 58.0, 8.0, 88.0
FILL = {"map": "#56B4E9", "vector": "#E69F00", "input": "#BBBBBB"}  # of Okabe and Ito 2008


@dataclass(frozen=True, slots=True)
class Block:
    """One output: (channels, sides ...) or (units,)."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Channels of a map; 1 for a vector, whose units are its height."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def side(self) -> float:
        """The side of a map, of a signal the side of a square with as many samples; the units of a vector."""
        if len(self.shape) == 2:
            return math.sqrt(self.shape[1])
        return float(min(self.shape[-2:]) if len(self.shape) > 1 else (self.shape or (1,))[0])


def as_text(blocks: Sequence[Block]) -> str:
    """Blocks of characters side by side, numbered as the layers are; heights and widths are logarithms."""
    columns = [_column(number, block) for number, block in enumerate(blocks)]
    height = max(len(column) for column in columns)
    drawings, line = [], list[list[str]]()
    for column in columns:
        above = height - len(column)
        if line and sum(len(one[0]) + 1 for one in line) + len(column[0]) > TEXT_WIDTH:
            drawings.append(line)
            line = []
        line.append([" " * len(column[0])] * above + column)
    texts = ["\n".join(" ".join(row).rstrip() for row in zip(*part, strict=True)) for part in (*drawings, line)]
    return "\n\n".join(text.lstrip("\n") for text in texts)


def _column(number: int, block: Block) -> list[str]:
    """A block from top to bottom, its number beneath."""
    is_map = len(block.shape) > 1
    height = 1 + round(math.log2(max(block.side, 1)) / (1 if is_map else 1.5))
    width = 1 + round(math.log2(max(block.channels, 1)) / 2)
    label = str(number) if number else "in"
    body = "█" * width if is_map else "┃"
    cell = max(width, len(label))
    return [body.ljust(cell)] * height + [label.ljust(cell)]


def as_svg(title: str, blocks: Sequence[Block]) -> str:
    """The figure as a whole SVG file, readable on light and on dark pages."""
    sides = [math.sqrt(block.side) for block in blocks if len(block.shape) > 1] or [1.0]
    units = [math.sqrt(block.side) for block in blocks if len(block.shape) < 2] or [1.0]
    widest = max(math.sqrt(block.channels) for block in blocks)
    parts, x, base = [], GAP, TOP + HEIGHT * (1 + DEPTH)
    for place, block in enumerate(blocks):
        is_map = len(block.shape) > 1
        height = max(3.0, HEIGHT * math.sqrt(block.side) / (max(sides) if is_map else max(units)))
        width = max(3.0, WIDEST * math.sqrt(block.channels) / widest) if is_map else 5.0
        depth = DEPTH * height if is_map else 0.0
        fill = FILL["input" if place == 0 else "map" if is_map else "vector"]
        column = max(width + depth, LABEL_PX)
        parts.append(_cuboid(x + (column - width - depth) / 2, base, width, height, depth, fill))
        parts.append(_labels(x + column / 2, base, block, place))
        x += column + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x:.0f} {base + LABELS:.0f}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{escape(title)}</title>'
        "<style>text{fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
        f'<text x="{GAP}" y="18" font-size="14">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def _cuboid(x: float, base: float, width: float, height: float, depth: float, fill: str) -> str:
    """Front, top and side of a box whose lower front edge lies on ``base``."""
    top = base - height
    faces = [((x, base), (x + width, base), (x + width, top), (x, top))]
    if depth:
        back = depth * 0.7
        faces.append(((x, top), (x + width, top), (x + width + depth, top - back), (x + depth, top - back)))
        right = x + width
        faces.append(((right, base), (right, top), (right + depth, top - back), (right + depth, base - back)))
    shades = (1.0, 0.75, 0.55)
    return "".join(
        f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in face)}" fill="{fill}" fill-opacity="{shade}" '
        'stroke="#444" stroke-width="0.6"/>'
        for face, shade in zip(faces, shades, strict=False)
    )


def _labels(x: float, base: float, block: Block, place: int) -> str:
    shape = " × ".join(map(str, block.shape))
    kind = block.kind.partition(",")[0]
    lines = (f"{place}. {block.name}" if place else block.name, shape, kind if len(kind) <= 18 else f"{kind[:17]}…")
    return "".join(
        f'<text x="{x:.1f}" y="{base + 16 + 13 * row:.1f}" text-anchor="middle">{escape(line)}</text>'
        for row, line in enumerate(lines)
        if line
    )
