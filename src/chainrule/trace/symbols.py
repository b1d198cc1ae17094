"""The derivation of dL/dw in symbols, with SymPy: every factor of the chain rule, held equal to the traced numbers."""

from __future__ import annotations

from typing import Any

import torch

from chainrule.errors import InputError
from chainrule.trace.dense import Dense
from chainrule.trace.tree import Check, Line, Section

LIMIT = 60  # parameters; beyond it the expressions fill pages
TOLERANCE = 1e-10  # of SymPy's derivative in double precision, relative to the largest derivative


def derive(dense: Dense) -> tuple[Section, Check]:
    """dL/dw of the first row's loss for every weight, its chain-rule factors in symbols for the first of each layer.

    Raises:
        InputError: SymPy is absent or the network has more than 60 parameters.
    """
    sp = _sympy()
    count = sum(t.numel() for t in (*dense.weights, *dense.biases))
    if count > LIMIT:
        raise InputError(
            f"the derivation in symbols is for up to {LIMIT} parameters, this network has {count}; "
            "use fewer hidden units, such as --set model.hidden=2"
        )
    letters = _Letters(sp, dense)
    largest, scale = 0.0, 1.0
    for layer, slopes in enumerate(dense.row.weights):
        for (i, j), expected in _entries(slopes):
            found = letters.evaluate(sp.diff(letters.loss, letters.weights[layer][i][j]))
            largest, scale = max(largest, abs(found - expected)), max(scale, abs(expected))
    assert largest <= TOLERANCE * scale, f"SymPy's derivative and the traced one differ by {largest}"
    weights = sum(w.numel() for w in dense.weights)
    check = Check(f"{weights} derivatives dL/dw of row 1 against SymPy's, evaluated at the numbers above", largest)
    return Section("The derivation in symbols (SymPy)", "the chain rule, factor by factor", letters.chain()), check


def _sympy() -> Any:
    try:
        import sympy
    except ImportError:
        raise InputError("the derivation in symbols needs SymPy: pip install sympy") from None
    return sympy


def _entries(matrix: torch.Tensor) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), float(matrix[i, j])) for i in range(matrix.shape[0]) for j in range(matrix.shape[1])]


class _Letters:
    """The network's quantities as symbols, each layer written with the symbols of the one below."""

    def __init__(self, sp: Any, dense: Dense) -> None:
        self.sp, self.dense = sp, dense
        names, row = dense.names, dense.inputs[0].tolist()
        self.values: dict[Any, Any] = {}  # a number for each symbol
        self.symbols: dict[str, Any] = {}
        self.weights = [
            [[self._letter(names.weight(layer, j, i), w[i, j]) for j in range(w.shape[1])] for i in range(w.shape[0])]
            for layer, w in enumerate(dense.weights, 1)
        ]
        self.biases = [
            [self._letter(names.bias(layer, i), b[i]) for i in range(len(b))] for layer, b in enumerate(dense.biases, 1)
        ]
        below = [self._letter(names.below(1, j), row[j]) for j in range(len(row))]
        self.units = [below]  # symbols x_j, a_j of each level below the outputs
        self.totals: list[list[Any]] = []  # symbols h_i, o_k of each layer
        composed = list(below)
        for layer in range(1, names.depth + 1):
            sums = self._sums(layer, composed)
            z = dense.passed.z[layer - 1][0]
            self.totals.append([self._letter(names.total(layer, i), z[i]) for i in range(len(z))])
            if layer < names.depth:
                h = dense.passed.h[layer][0]
                self.units.append([self._letter(names.below(layer + 1, i), h[i]) for i in range(len(h))])
                composed = self._activate(sums)
        self.loss = self._loss(sums)  # of the inputs, weights and biases alone

    def evaluate(self, expression: Any) -> float:
        """The expression at the traced numbers."""
        return float(expression.xreplace(self.values))

    def chain(self) -> tuple[Line, ...]:
        """From the loss down to the inputs, factor by factor; of each layer dL/dw of its first weight."""
        sp, outputs, lines = self.sp, self.totals[-1], []
        local = self._loss(outputs)
        for o in outputs:
            slope = sp.diff(local, o)
            lines.append(self._line(f"dL/d{o}", sp.simplify(slope) if len(outputs) == 1 else slope))
        for layer in range(self.dense.names.depth, 0, -1):
            total, unit, weight = self.totals[layer - 1][0], self.units[layer - 1][0], self.weights[layer - 1][0][0]
            product = self._slope(total) * unit
            formula = f"dL/d{total} * d{total}/d{weight}"
            lines.append(Line(f"dL/d{weight}", formula, str(product), self.evaluate(product)))
            if layer > 1:
                lines += self._step_down(layer)
        return tuple(lines)

    def _step_down(self, layer: int) -> list[Line]:
        """From dL/d(sums of a layer) to dL/d(sums of the layer below)."""
        units, totals, lines = self.units[layer - 1], self.totals[layer - 2], []
        for j, a in enumerate(units):
            paths = [self._slope(z) * self.weights[layer - 1][i][j] for i, z in enumerate(self.totals[layer - 1])]
            lines.append(self._line(f"dL/d{a}", sum(paths)))
        activated = self._activate(totals)
        for total in totals:
            paths = []
            for a, expression in zip(units, activated, strict=True):
                derivative = self.sp.diff(expression, total)
                if derivative != 0:
                    lines.append(self._line(f"d{a}/d{total}", derivative))
                    paths.append(self._slope(a) * self.symbols[f"d{a}/d{total}"])
            lines.append(self._line(f"dL/d{total}", sum(paths)))
        return lines

    def _line(self, name: str, expression: Any) -> Line:
        """A derivative in symbols; from here on it has a symbol of its own."""
        value = self.evaluate(expression)
        self._letter(name, value)
        return Line(name, str(expression), "", value)

    def _slope(self, of: Any) -> Any:
        return self.symbols[f"dL/d{of}"]

    def _letter(self, name: str, value: Any) -> Any:
        letter = self.symbols[name] = self.sp.Symbol(name, real=True)
        self.values[letter] = self.sp.Float(float(value))
        return letter

    def _sums(self, layer: int, below: list[Any]) -> list[Any]:
        rows = zip(self.weights[layer - 1], self.biases[layer - 1], strict=True)
        return [sum(w * x for w, x in zip(row, below, strict=True)) + bias for row, bias in rows]

    def _activate(self, z: list[Any]) -> list[Any]:
        sp, name = self.sp, self.dense.activation
        if name == "softmax":
            bottom = sum(sp.exp(v) for v in z)
            return [sp.exp(v) / bottom for v in z]
        rules = {
            "identity": lambda v: v,
            "sigmoid": lambda v: 1 / (1 + sp.exp(-v)),
            "tanh": sp.tanh,
            "relu": lambda v: sp.Piecewise((v, v > 0), (0, True)),
            "leaky_relu": lambda v: sp.Piecewise((v, v > 0), (v / 100, True)),
            "gelu": lambda v: v * (1 + sp.erf(v / sp.sqrt(2))) / 2,
            "silu": lambda v: v / (1 + sp.exp(-v)),
        }
        return [rules[name](v) for v in z]

    def _loss(self, outputs: list[Any]) -> Any:
        sp, dense = self.sp, self.dense
        target, K = float(dense.targets[0]), len(outputs)
        if dense.loss == "squared_error":
            return (outputs[0] - sp.Float(target)) ** 2
        y = int(target)
        if K == 1:
            p = 1 / (1 + sp.exp(-outputs[0]))
            if dense.loss == "binary_cross_entropy":  # - log p = log(1 + e^-o), - log(1 - p) = log(1 + e^o)
                return sp.log(1 + sp.exp(-outputs[0] if y else outputs[0]))
            return (p - y) ** 2
        bottom = sum(sp.exp(o) for o in outputs)
        if dense.loss == "cross_entropy":
            return sp.log(bottom) - outputs[y]
        return sum((sp.exp(o) / bottom - int(k == y)) ** 2 for k, o in enumerate(outputs)) / K
