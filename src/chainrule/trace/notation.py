"""The textbook's notation: names of inputs, weights, sums and activations, and numbers put in their place.

x_j is an input, h_i = sum_j x_j w_ji + b_i what a hidden unit adds up, a_i = f(h_i) what it hands on, o_k an output.
w_ji leads from j to i. Layers after the first carry their number: w_ji^(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FEW = 6  # so many units or terms are shown in full; of more, the first FEW - 2 and, in sums, the last


@dataclass(frozen=True, slots=True)
class Names:
    """Names in a network whose levels have ``sizes`` units: inputs, hidden layers, outputs."""

    sizes: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Layers with weights."""
        return len(self.sizes) - 1

    def below(self, layer: int, j: int) -> str:
        """Unit j of the level that ``layer`` (from 1) reads."""
        return f"x_{j + 1}" if layer == 1 else f"a_{j + 1}{_power(layer - 1)}"

    def total(self, layer: int, i: int) -> str:
        """What unit i of ``layer`` adds up."""
        return f"o_{i + 1}" if layer == self.depth else f"h_{i + 1}{_power(layer)}"

    def weight(self, layer: int, j: int, i: int) -> str:
        """The weight from unit j below to unit i of ``layer``."""
        comma = "," if max(self.sizes[layer - 1], self.sizes[layer]) > 9 else ""
        return f"w_{j + 1}{comma}{i + 1}{_power(layer)}"

    def bias(self, layer: int, i: int) -> str:
        """The bias of unit i of ``layer``."""
        return f"b_{i + 1}{_power(layer)}"


def _power(layer: int) -> str:
    return "" if layer == 1 else f"^({layer})"


def shown(count: int) -> range:
    """The units of a layer that are shown."""
    return range(count if count <= FEW else FEW - 2)


def joined(terms: Sequence[str]) -> str:
    """The terms as a sum, the middle of a long one left out."""
    if len(terms) > FEW:
        terms = [*terms[: FEW - 2], "...", terms[-1]]
    return " + ".join(terms)


def number(value: float) -> str:
    """Six significant digits."""
    return f"{value:.6g}"


def factor(value: float) -> str:
    """A number inside a formula: in brackets where it is negative."""
    return f"({value:.6g})" if value < 0 else number(value)


def products(left: Sequence[float], right: Sequence[float]) -> list[str]:
    """left * right, number by number."""
    return [f"{factor(a)} * {factor(b)}" for a, b in zip(left, right, strict=True)]
