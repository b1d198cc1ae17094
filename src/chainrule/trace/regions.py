"""Where a classifier of two inputs says 1 (green) and where 0 (red), as SVG; and why no straight line does XOR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from chainrule.functional.backprop import collapse

GREEN, RED = "#2e9e5b", "#d64545"
CELLS = 80  # per axis
SIDE_PX = 360
EDGE_PX = 46
MARGIN = 0.35  # of the points' range, around them


def decision_regions_svg(
    predict: Callable[[Tensor], Tensor], rows: Sequence[tuple[float, float, int]], title: str = "Decision regions"
) -> str:
    """The regions of ``predict`` with the rows (x_1, x_2, class) on top.

    ``predict`` takes float32 points (N, 2) and gives the share of class 1, (N,) or (N, 1); green from 0.5 on.

    Example:
        >>> decision_regions_svg(lambda x: (x[:, 0] > 0.5).float(), [(0, 0, 0), (1, 0, 1)])[:4]
        '<svg'
    """
    bounds = [_bounds([row[axis] for row in rows]) for axis in (0, 1)]
    axes = [torch.linspace(low, high, 2 * CELLS + 1)[1::2] for low, high in bounds]  # the middles of the cells
    points = torch.cartesian_prod(axes[1].flip(0), axes[0]).flip(1)  # row by row from the top
    with torch.no_grad():
        green = predict(points).reshape(CELLS, CELLS) >= 0.5
    size = SIDE_PX + 2 * EDGE_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" role="img" aria-label="{_escape(title)}" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{_escape(title)}</title>",
        *_cells(green),
        *(_point(row, bounds) for row in rows),
        *_labels(bounds, title),
        "</svg>",
    ]
    return "\n".join(parts)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = MARGIN * ((high - low) or 1.0)
    return low - margin, high + margin


def _cells(green: Tensor) -> Iterator[str]:
    """One rectangle for each run of cells of one colour."""
    cell = SIDE_PX / CELLS
    for y, line in enumerate(green.tolist()):
        x = 0
        for is_green, run in groupby(line):
            length = len(list(run))
            yield (
                f'<rect x="{EDGE_PX + x * cell:g}" y="{EDGE_PX + y * cell:g}" width="{length * cell:g}" '
                f'height="{cell:g}" fill="{GREEN if is_green else RED}" fill-opacity="0.45" '
                'shape-rendering="crispEdges"/>'
            )
            x += length


def _point(row: tuple[float, float, int], bounds: Sequence[tuple[float, float]]) -> str:
    x, y = (EDGE_PX + SIDE_PX * (row[axis] - low) / (high - low) for axis, (low, high) in enumerate(bounds))
    y = SIDE_PX + 2 * EDGE_PX - y
    return (
        f'<circle cx="{x:g}" cy="{y:g}" r="11" fill="{GREEN if row[2] else RED}" stroke="#fff" stroke-width="2"/>'
        f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="middle" fill="#fff" font-weight="bold">{int(row[2])}</text>'
    )


def _labels(bounds: Sequence[tuple[float, float]], title: str) -> Iterator[str]:
    middle, bottom = EDGE_PX + SIDE_PX / 2, SIDE_PX + 2 * EDGE_PX - 12
    end = EDGE_PX + SIDE_PX
    yield f'<text x="{middle:g}" y="22" text-anchor="middle" fill="currentColor">{_escape(title)}</text>'
    yield f'<text x="{middle:g}" y="{bottom}" text-anchor="middle" fill="currentColor">x_1</text>'
    yield f'<text x="14" y="{middle:g}" text-anchor="middle" fill="currentColor">x_2</text>'
    for place, value in ((EDGE_PX, bounds[0][0]), (end, bounds[0][1])):
        yield f'<text x="{place}" y="{bottom}" text-anchor="middle" fill="currentColor">{value:.2g}</text>'
    for place, value in ((end, bounds[1][0]), (EDGE_PX + 8, bounds[1][1])):
        yield f'<text x="{EDGE_PX - 4}" y="{place}" text-anchor="end" fill="currentColor">{value:.2g}</text>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def collapse_line(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> str:
    """Why layers with identity activations and two inputs cannot do XOR, in one line with this network's numbers.

    Two outputs count as one, their difference.
    """
    weight, bias = collapse([w.detach().double() for w in weights], [b.detach().double() for b in biases])
    if weight.shape[0] == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    assert weight.shape == (1, 2), f"two inputs and one answer are needed, got {tuple(weight.shape)}"
    (a, b), c = weight[0].tolist(), bias.item()
    product = " ".join(f"W_{i}" for i in range(len(weights), 0, -1))
    return (
        f"{product} = ({a:.4g}, {b:.4g}): all layers together are one straight line, "
        f"o = {a:.4g} x_1 {b:+.4g} x_2 {c:+.4g}, and on every line o(0,0) + o(1,1) = o(0,1) + o(1,0) "
        f"(here {a + b + 2 * c:.4g} on both sides), "
        "while XOR needs the left sum below 0 and the right one above"
    )
