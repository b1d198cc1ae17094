"""One iteration of a perceptron or an MLP, number by number, from the hand-derived backpropagation in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.functional.activations import ACTIVATIONS
from chainrule.functional.backprop import Backward, Forward, backward, forward
from chainrule.functional.losses import LOSSES
from chainrule.functional.optimizers import OPTIMIZERS
from chainrule.models.mlp import MLP
from chainrule.models.perceptron import Perceptron
from chainrule.trace.notation import Names, factor, joined, number, products, shown
from chainrule.trace.tree import Check, Line, Section

TOLERANCE = 1e-12  # of the hand-derived derivatives against autograd in float64, relative to the largest sum of terms


@dataclass(frozen=True)
class Dense:
    """A network of dense layers with one batch, and every number of one iteration, in float64."""

    names: Names
    activation: str
    loss: str
    optimizer: str
    learning_rate: float
    inputs: Tensor  # (B, F)
    targets: Tensor  # (B,)
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    passed: Forward
    batch: Backward  # of the mean loss of the batch
    row: Backward  # of the loss of the first row
    row_losses: Tensor  # (B,)
    new_weights: tuple[Tensor, ...]
    new_biases: tuple[Tensor, ...]

    @property
    def loss_before(self) -> float:
        """The mean loss of the batch."""
        return float(self.row_losses.mean())

    @property
    def loss_after(self) -> float:
        """The mean loss of the same batch after the update."""
        logits = forward(self.inputs, self.new_weights, self.new_biases, self.activation).logits
        return float(LOSSES[self.loss].total(logits, self.targets)) / len(self.targets)

    @property
    def probabilities(self) -> Tensor:
        """(K,) of the first row: softmax, or the sigmoid of one output."""
        logits = self.passed.logits[0]
        return torch.sigmoid(logits) if len(logits) == 1 else torch.softmax(logits, 0)


def compute(
    network: MLP | Perceptron, inputs: Tensor, targets: Tensor, loss: str, optimizer: str, learning_rate: float
) -> Dense:
    """Run one iteration; the network itself stays as it is."""
    layers = list(network.layers) if isinstance(network, MLP) else [network.linear]
    activation = network.config.activation if isinstance(network, MLP) else "identity"
    weights = tuple(_double(layer.weight) for layer in layers)
    biases = tuple(_double(layer.bias) for layer in layers)
    inputs, rows = _double(inputs), len(targets)
    targets = targets if targets.dtype == torch.int64 else _double(targets)
    passed = forward(inputs, weights, biases, activation)
    gradient = LOSSES[loss].gradient(passed.logits, targets)
    first = Forward(tuple(z[:1] for z in passed.z), tuple(h[:1] for h in passed.h))
    batch = backward(gradient / rows, weights, passed, activation)
    update = OPTIMIZERS[optimizer].step
    return Dense(
        names=Names((inputs.shape[1], *(len(bias) for bias in biases))),
        activation=activation, loss=loss, optimizer=optimizer, learning_rate=learning_rate,
        inputs=inputs, targets=targets, weights=weights, biases=biases, passed=passed, batch=batch,
        row=backward(gradient[:1], weights, first, activation),
        row_losses=torch.stack(
            [LOSSES[loss].total(passed.logits[i : i + 1], targets[i : i + 1]) for i in range(rows)]
        ),
        new_weights=tuple(update(w, g, {}, learning_rate)[0] for w, g in zip(weights, batch.weights, strict=True)),
        new_biases=tuple(update(b, g, {}, learning_rate)[0] for b, g in zip(biases, batch.biases, strict=True)),
    )  # fmt: skip


def _double(tensor: Tensor | nn.Module) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor.detach().to("cpu", torch.float64)


def check(dense: Dense, network: nn.Module) -> tuple[Check, ...]:
    """Compare with autograd and with the network's own outputs.

    Raises:
        AssertionError: our own mistake: a derivative differs from autograd's.
    """
    leaves = [t.clone().requires_grad_() for t in (dense.inputs, *dense.weights, *dense.biases)]
    count = dense.names.depth
    logits = forward(leaves[0], leaves[1 : 1 + count], leaves[1 + count :], dense.activation).logits
    mean = LOSSES[dense.loss].total(logits, dense.targets) / len(dense.targets)
    expected = torch.autograd.grad(mean, leaves)
    found = (dense.batch.h[0], *dense.batch.weights, *dense.batch.biases)
    largest = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    terms = ((dz.abs().T @ h.abs()).max() for dz, h in zip(dense.batch.z, dense.passed.h, strict=True))
    assert largest <= TOLERANCE * max(1.0, *map(float, terms)), (
        f"hand-derived and autograd's derivatives differ by {largest}"
    )
    derivatives = sum(gradient.numel() for gradient in expected)
    own = copy.deepcopy(network).eval()
    parameter = next(own.parameters())
    with torch.no_grad():
        outputs = own(dense.inputs.to(parameter.device, parameter.dtype)).to("cpu", torch.float64)
    return (
        Check(f"{derivatives} derivatives derived by hand against autograd's, float64", largest),
        Check(
            f"outputs in float64 against the network's own in {str(parameter.dtype).removeprefix('torch.')}",
            float((outputs - dense.passed.logits).abs().max()),
        ),
    )


def sections(dense: Dense, input_names: Sequence[str], target_names: Sequence[str]) -> Iterator[Section]:
    """The iteration as it is written on paper: the first row in full, then the batch and the update."""
    yield _inputs(dense, input_names, target_names)
    for layer in range(1, dense.names.depth + 1):
        yield _forward(dense, layer)
    yield _loss(dense)
    yield _output_gradient(dense)
    for layer in range(dense.names.depth, 0, -1):
        yield _weight_gradients(dense, layer)
        if layer > 1:
            yield _unit_gradients(dense, layer)
    yield _batch_loss(dense)
    for layer in range(1, dense.names.depth + 1):
        yield _batch_gradients(dense, layer)
        yield _update(dense, layer)


def _inputs(dense: Dense, input_names: Sequence[str], target_names: Sequence[str]) -> Section:
    values, target = dense.inputs[0].tolist(), dense.targets[0]
    notes = list(input_names) if len(input_names) == len(values) else [""] * len(values)
    lines = [Line(dense.names.below(1, j), value=values[j], note=notes[j]) for j in shown(len(values))]
    named = dense.targets.dtype == torch.int64 and int(target) < len(target_names)
    lines.append(Line("y", value=float(target), note=target_names[int(target)] if named else ""))
    return Section("Row 1 of the batch", "", tuple(lines), _left_out(len(values), "inputs"))


def _forward(dense: Dense, layer: int) -> Section:
    names, last = dense.names, layer == dense.names.depth
    weight, bias = dense.weights[layer - 1], dense.biases[layer - 1]
    below, totals = dense.passed.h[layer - 1][0], dense.passed.z[layer - 1][0]
    lines = []
    for i in shown(len(totals)):
        symbols = [f"{names.below(layer, j)} {names.weight(layer, j, i)}" for j in range(len(below))]
        numbers = [*products(below.tolist(), weight[i].tolist()), factor(float(bias[i]))]
        formula = joined([*symbols, names.bias(layer, i)])
        lines.append(Line(names.total(layer, i), formula, joined(numbers), float(totals[i])))
        if not last:
            after = float(dense.passed.h[layer][0, i])
            name = names.total(layer, i)
            lines.append(
                Line(
                    names.below(layer + 1, i),
                    f"f({name})",
                    f"{dense.activation.replace('_', ' ')}({number(float(totals[i]))})",
                    after,
                )
            )
    unit, source = ("o_k", "k") if last else ("h_i", "i")
    rule = f"{unit} = sum_j {'x_j' if layer == 1 else 'a_j'} w_j{source} + b_{source}"
    if not last:
        rule += f", a_i = f(h_i), {dense.activation}: f(z) = {ACTIVATIONS[dense.activation].formula}"
    title = "Forward: the output layer" if last else f"Forward: hidden layer {layer}"
    return Section(title, rule, tuple(lines), _left_out(len(totals), "units"))


def _loss(dense: Dense) -> Section:
    lines, probs, y = [], dense.probabilities.tolist(), int(dense.targets[0])
    outputs, loss = dense.passed.logits[0].tolist(), float(dense.row_losses[0])
    if dense.loss == "squared_error":
        target = float(dense.targets[0])
        lines.append(Line("L", "(o_1 - y)^2", f"({number(outputs[0])} - {factor(target)})^2", loss))
    elif len(outputs) == 1:
        lines.append(Line("p", "1 / (1 + e^-o_1)", f"1 / (1 + e^-{factor(outputs[0])})", probs[0]))
        if dense.loss == "binary_cross_entropy":
            formula = "- log p" if y else "- log(1 - p)"
            numbers = f"- log({number(probs[0])})" if y else f"- log(1 - {number(probs[0])})"
            lines.append(Line("L", formula, numbers, loss, f"y = {y}: one of the two terms is left"))
        else:
            lines.append(Line("L", "(p - y)^2", f"({number(probs[0])} - {y})^2", loss))
    else:
        lines += _softmax_lines(outputs, probs)
        if dense.loss == "cross_entropy":
            lines.append(Line("L", f"- log p_{y + 1}", f"- log({number(probs[y])})", loss, f"y_{y + 1} = 1, others 0"))
        else:
            squares = [f"({number(p)} - {int(k == y)})^2" for k, p in enumerate(probs)]
            lines.append(Line("L", "1/K sum_k (p_k - y_k)^2", f"1/{len(probs)} ({joined(squares)})", loss))
    title = f"Loss of row 1: {dense.loss.replace('_', ' ')}"
    return Section(title, f"L = {LOSSES[dense.loss].formula}", tuple(lines), _left_out(len(probs), "outputs"))


def _softmax_lines(outputs: list[float], probs: list[float]) -> Iterator[Line]:
    bottom = joined([f"e^o_{k + 1}" for k in range(len(probs))])
    numbers = joined([f"e^{factor(o)}" for o in outputs])
    for k in shown(len(probs)):
        yield Line(f"p_{k + 1}", f"e^o_{k + 1} / ({bottom})", f"e^{factor(outputs[k])} / ({numbers})", probs[k])


def _output_gradient(dense: Dense) -> Section:
    slopes, probs, y = dense.row.z[-1][0].tolist(), dense.probabilities.tolist(), float(dense.targets[0])
    lines: list[Line] = []
    if dense.loss == "squared_error":
        numbers = f"2 ({number(float(dense.passed.logits[0, 0]))} - {factor(y)})"
        lines.append(Line("dL/do_1", "2 (o_1 - y)", numbers, slopes[0]))
    elif len(slopes) == 1:
        lines += _sigmoid_chain(dense.loss, probs[0], int(y), slopes[0])
    elif dense.loss == "cross_entropy":
        for k in shown(len(slopes)):
            numbers = f"{number(probs[k])} - {int(k == y)}"
            lines.append(Line(f"dL/do_{k + 1}", f"p_{k + 1} - y_{k + 1}", numbers, slopes[k]))
    else:
        errors = [p - (k == y) for k, p in enumerate(probs)]
        mean = sum(p * e for p, e in zip(probs, errors, strict=True))
        lines.append(Line("s", "sum_j p_j (p_j - y_j)", joined(products(probs, errors)), mean))
        for k in shown(len(slopes)):
            formula = f"2/K p_{k + 1} ((p_{k + 1} - y_{k + 1}) - s)"
            numbers = f"2/{len(probs)} * {number(probs[k])} * ({number(errors[k])} - {factor(mean)})"
            lines.append(Line(f"dL/do_{k + 1}", formula, numbers, slopes[k]))
    rule = f"dL/do = {LOSSES[dense.loss].gradient_formula}"
    return Section("Backward: from the loss to the output", rule, tuple(lines), _left_out(len(slopes), "outputs"))


def _sigmoid_chain(loss: str, p: float, y: int, slope: float) -> Iterator[Line]:
    """dL/do through p; where p is rounded to 0 or 1 only the product, which stays exact."""
    spread = p * (1 - p)
    if spread:
        if loss == "binary_cross_entropy":
            yield Line("dL/dp", "(p - y) / (p (1 - p))", f"({number(p)} - {y}) / {number(spread)}", (p - y) / spread)
        else:
            yield Line("dL/dp", "2 (p - y)", f"2 ({number(p)} - {y})", 2 * (p - y))
        yield Line("dp/do_1", "p (1 - p)", f"{number(p)} * {number(1 - p)}", spread)
    formula, numbers = "dL/dp * dp/do_1 = p - y", f"{number(p)} - {y}"
    if loss != "binary_cross_entropy":
        formula, numbers = "dL/dp * dp/do_1 = 2 (p - y) p (1 - p)", f"2 ({number(p)} - {y}) * {number(spread)}"
    yield Line("dL/do_1", formula, numbers, slope)


def _weight_gradients(dense: Dense, layer: int) -> Section:
    names, slopes = dense.names, dense.row.z[layer - 1][0].tolist()
    below = dense.passed.h[layer - 1][0].tolist()
    lines = []
    for i in shown(len(slopes)):
        total = names.total(layer, i)
        for j in shown(len(below)):
            weight, source = names.weight(layer, j, i), names.below(layer, j)
            formula = f"dL/d{total} * d{total}/d{weight} = dL/d{total} * {source}"
            slope = float(dense.row.weights[layer - 1][i, j])
            lines.append(Line(f"dL/d{weight}", formula, f"{factor(slopes[i])} * {factor(below[j])}", slope))
        lines.append(Line(f"dL/d{names.bias(layer, i)}", f"dL/d{total} * 1", factor(slopes[i]), slopes[i]))
    unit = "o_k" if layer == names.depth else "h_i"
    rule = f"dL/dw_j{unit[-1]} = dL/d{unit} * {'x_j' if layer == 1 else 'a_j'}, dL/db_{unit[-1]} = dL/d{unit}"
    left_out = _left_out(len(slopes) * len(below), "weights", len(shown(len(slopes))) * len(shown(len(below))))
    return Section(f"Backward: the weights of layer {layer}", rule, tuple(lines), left_out)


def _unit_gradients(dense: Dense, layer: int) -> Section:
    """Through the weights of ``layer`` and the activation below it."""
    names, slopes = dense.names, dense.row.z[layer - 1][0].tolist()
    totals = dense.passed.z[layer - 2][0]
    lines = []
    for j in shown(len(totals)):
        unit, total = names.below(layer, j), names.total(layer - 1, j)
        terms = [f"dL/d{names.total(layer, i)} {names.weight(layer, j, i)}" for i in range(len(slopes))]
        column = dense.weights[layer - 1][:, j].tolist()
        value = float(dense.row.h[layer - 1][0, j])
        lines.append(Line(f"dL/d{unit}", joined(terms), joined(products(slopes, column)), value))
        formula, numbers = _through_activation(dense, layer, j, total)
        lines.append(Line(f"dL/d{total}", formula, numbers, float(dense.row.z[layer - 2][0, j])))
    above = "o_k w_jk" if layer == names.depth else "h_k w_jk"
    rule = f"dL/da_j = sum_k dL/d{above}, dL/dh_j = dL/da_j * f'(h_j), f'(z) = "
    rule += ACTIVATIONS[dense.activation].derivative_formula
    return Section(f"Backward: the units of layer {layer - 1}", rule, tuple(lines), _left_out(len(totals), "units"))


def _through_activation(dense: Dense, layer: int, j: int, total: str) -> tuple[str, str]:
    activation, totals = ACTIVATIONS[dense.activation], dense.passed.z[layer - 2][0]
    slopes, names = dense.row.h[layer - 1][0].tolist(), dense.names
    derivative = activation.derivative(totals)
    if activation.elementwise:
        return f"dL/d{names.below(layer, j)} * f'({total})", f"{factor(slopes[j])} * {factor(float(derivative[j]))}"
    terms = [f"dL/d{names.below(layer, k)} d{names.below(layer, k)}/d{total}" for k in range(len(slopes))]
    return joined(terms), joined(products(slopes, derivative[:, j].tolist()))


def _batch_loss(dense: Dense) -> Section:
    rows = dense.row_losses.tolist()
    line = Line(
        "L", f"1/{len(rows)} sum_rows L", f"1/{len(rows)} ({joined([number(r) for r in rows])})", dense.loss_before
    )
    return Section(f"The batch: the mean of its {len(rows)} rows", "L = 1/B sum_rows L_row", (line,))


def _batch_gradients(dense: Dense, layer: int) -> Section:
    names, rows = dense.names, len(dense.targets)
    per_row = rows * dense.batch.z[layer - 1]  # dL_row/dz, (B, units)
    below = dense.passed.h[layer - 1]
    lines = []
    for i in shown(per_row.shape[1]):
        for j in shown(below.shape[1]):
            value = float(dense.batch.weights[layer - 1][i, j])
            lines.append(_mean_line(names.weight(layer, j, i), (per_row[:, i] * below[:, j]).tolist(), value))
        value = float(dense.batch.biases[layer - 1][i])
        lines.append(_mean_line(names.bias(layer, i), per_row[:, i].tolist(), value))
    rule = "dL/dw = 1/B sum_rows dL_row/dw"
    return Section(f"The batch: derivatives of layer {layer}", rule, tuple(lines), _weights_left_out(dense, layer))


def _mean_line(name: str, rows: list[float], value: float) -> Line:
    return Line(f"dL/d{name}", f"1/{len(rows)} sum_rows dL_row/d{name}",
                f"1/{len(rows)} ({joined([factor(r) for r in rows])})", value)  # fmt: skip


def _update(dense: Dense, layer: int) -> Section:
    names, weight = dense.names, dense.weights[layer - 1]
    lines = []
    for i in shown(weight.shape[0]):
        for j in shown(weight.shape[1]):
            lines.append(
                _update_line(dense, names.weight(layer, j, i), float(weight[i, j]),
                             float(dense.batch.weights[layer - 1][i, j]), float(dense.new_weights[layer - 1][i, j]))
            )  # fmt: skip
        lines.append(
            _update_line(dense, names.bias(layer, i), float(dense.biases[layer - 1][i]),
                         float(dense.batch.biases[layer - 1][i]), float(dense.new_biases[layer - 1][i]))
        )  # fmt: skip
    rule = f"{OPTIMIZERS[dense.optimizer].formula}, lr = {number(dense.learning_rate)}"
    return Section(f"Update: layer {layer}", rule, tuple(lines), _weights_left_out(dense, layer))


def _update_line(dense: Dense, name: str, old: float, slope: float, new: float) -> Line:
    if dense.optimizer == "sgd":
        numbers = f"{number(old)} - {number(dense.learning_rate)} * {factor(slope)}"
        return Line(f"{name} new", f"{name} - lr * dL/d{name}", numbers, new)
    return Line(
        f"{name} new", f"{dense.optimizer}({name}, dL/d{name})", f"old {number(old)}, dL/dw {number(slope)}", new
    )


def _weights_left_out(dense: Dense, layer: int) -> str:
    units, below = dense.weights[layer - 1].shape
    return _left_out(units * below, "weights", len(shown(units)) * len(shown(below)))


def _left_out(count: int, what: str, displayed: int = 0) -> str:
    displayed = displayed or len(shown(count))
    return f"{count - displayed} more {what} are computed and not shown" if count > displayed else ""
