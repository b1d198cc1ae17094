"""Trace: the numbers it shows are the network's, its derivatives autograd's and SymPy's, its text the textbook's."""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
import sympy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.functional.activations import ACTIVATIONS
from chainrule.functional.losses import squared_error_sum
from chainrule.functional.optimizers import OPTIMIZERS
from chainrule.models.mlp import MLP, MLPConfig
from chainrule.models.perceptron import Perceptron, PerceptronConfig
from chainrule.nn.fronted import Fronted
from chainrule.trace.iteration import open_iteration
from chainrule.trace.regions import GREEN, RED, collapse_line, decision_regions_svg
from chainrule.trace.tree import Iteration, Line

CORNERS = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]


def mlp(features: int = 3, classes: int = 1, hidden: Any = 2, activation: str = "sigmoid") -> MLP:
    return MLP(MLPConfig(in_features=features, num_classes=classes, hidden=hidden, activation=activation)).double()


def batch(features: int = 3, classes: int = 2, rows: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, features, dtype=torch.float64), torch.randint(classes, (rows,))


def line(opened: Iteration, symbol: str) -> Line:
    """The last line of that symbol that holds a number."""
    found = [line for section in opened.sections for line in section.lines if line.symbol == symbol]
    assert found, f"no line {symbol}"
    return found[-1]


def test_it_reads_as_the_textbook() -> None:
    opened = open_iteration(mlp(), *batch())
    text = opened.text()
    for formula in (
        "h_1 = x_1 w_11 + x_2 w_21 + x_3 w_31 + b_1",
        "h_2 = x_1 w_12 + x_2 w_22 + x_3 w_32 + b_2",
        "o_1 = a_1 w_11^(2) + a_2 w_21^(2) + b_1^(2)",
        "dL/dw_11 = dL/dh_1 * dh_1/dw_11 = dL/dh_1 * x_1",
        "dL/dh_1 = dL/da_1 * f'(h_1)",
        "w_11 new = w_11 - lr * dL/dw_11",
        "w_new = w_old - lr * dL/dw, lr = 0.01",
    ):
        assert formula in text, formula
    assert "[" not in text  # which a terminal's markup would swallow


def test_the_numbers_are_the_networks() -> None:
    network, (x, y) = mlp(activation="tanh"), batch()
    opened = open_iteration(network, x, y, learning_rate=0.5)
    hidden = network.layers[0](x).detach()
    assert line(opened, "h_2").value == pytest.approx(hidden[0, 1].item(), abs=1e-12)
    assert line(opened, "a_2").value == pytest.approx(math.tanh(hidden[0, 1]), abs=1e-12)
    loss = F.binary_cross_entropy_with_logits(network(x)[:, 0], y.double())
    loss.backward()
    assert opened.loss_before == pytest.approx(loss.item(), abs=1e-12)
    slope = network.layers[0].weight.grad[1, 2].item()
    assert line(opened, "dL/dw_32").value == pytest.approx(slope, abs=1e-12)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.5 * parameter.grad
        after = F.binary_cross_entropy_with_logits(network(x)[:, 0], y.double())
    assert line(opened, "w_32 new").value == pytest.approx(network.layers[0].weight[1, 2].item(), abs=1e-12)
    assert line(opened, "b_1^(2) new").value == pytest.approx(network.layers[1].bias[0].item(), abs=1e-12)
    assert opened.loss_after == pytest.approx(after.item(), abs=1e-12)


def evaluated(numbers: str) -> float:
    """A line's numbers, computed as they stand."""
    text = (
        numbers.replace("^", "**")
        .replace("e**", "E**")
        .replace("2 (", "2*(")
        .replace("5 (", "5*(")
        .replace("3 (", "3*(")
    )
    return float(sympy.sympify(text, {"sigmoid": lambda z: 1 / (1 + sympy.exp(-z))}))


@pytest.mark.parametrize(("classes", "loss"), [(1, "cross_entropy"), (1, "mse"), (3, "cross_entropy"), (3, "mse")])
def test_every_line_adds_up(classes: int, loss: str) -> None:
    opened = open_iteration(mlp(classes=classes), *batch(classes=max(2, classes)), loss=loss)
    lines = [line for section in opened.sections for line in section.lines if line.numbers and line.value is not None]
    assert len(lines) > 40
    for shown in lines:
        assert evaluated(shown.numbers) == pytest.approx(shown.value, rel=2e-4, abs=2e-5), shown  # 6 digits are shown


@pytest.mark.parametrize("hidden", [(), (2,), (3, 2, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_any_depth_and_activation(activation: str, hidden: tuple[int, ...]) -> None:
    for classes, loss in itertools.product((1, 3), ("cross_entropy", "mse")):
        network = mlp(classes=classes, hidden=hidden, activation=activation)
        opened = open_iteration(network, *batch(classes=max(2, classes)), loss=loss)
        assert opened.checks[0].largest_difference <= 1e-12
        assert opened.checks[1].largest_difference <= 1e-12
        assert opened.loss_after < opened.loss_before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer: str) -> None:
    network, (x, y) = mlp(), batch()
    opened = open_iteration(network, x, y, optimizer=optimizer, learning_rate=1e-3)
    old, slope = network.layers[0].weight[0, 0], line(opened, "dL/dw_11").value
    new = OPTIMIZERS[optimizer].step(old.detach(), torch.tensor(slope, dtype=torch.float64), {}, 1e-3)[0]
    assert line(opened, "w_11 new").value == pytest.approx(new.item(), abs=1e-12)


def test_numbers_as_targets() -> None:
    x, y = batch()[0], torch.randn(5, dtype=torch.float64)
    network = mlp(activation="relu")
    opened = open_iteration(network, x, y)
    assert opened.loss_before == pytest.approx(squared_error_sum(network(x), y).item() / 5, abs=1e-12)
    assert line(opened, "dL/do_1").formula == "2 (o_1 - y)"
    with pytest.raises(InputError, match="use mse"):
        open_iteration(network, x, y, loss="cross_entropy")


def test_perceptron_and_front() -> None:
    gate = Perceptron(PerceptronConfig(in_features=2, num_classes=1))
    x = torch.tensor([row[:2] for row in CORNERS], dtype=torch.float32)
    y = torch.tensor([row[2] for row in CORNERS])

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (2 * x,)

    opened = open_iteration(Fronted(Doubling(), gate), x[1:], y[1:])
    assert line(opened, "x_2").value == 2
    assert line(opened, "o_1").formula == "x_1 w_11 + x_2 w_21 + b_1"
    assert opened.checks[1].largest_difference < 1e-6


def test_large_layers_are_cut_in_display_only() -> None:
    network, (x, y) = mlp(30, 12, (64, 32), "relu"), batch(30, 12, 40)
    opened = open_iteration(network, x, y)
    assert "w_1,1" in opened.text()
    assert "60 more units" in opened.text()
    assert str(30 * 64 + 64 + 64 * 32 + 32 + 32 * 12 + 12 + 40 * 30) in opened.checks[0].text
    assert opened.checks[0].largest_difference <= 1e-12
    assert len(opened.text()) < 40_000


def test_names_of_columns_and_classes() -> None:
    names, classes = ["age", "<b>fare</b>", "sib_sp"], ["died", "survived"]
    opened = open_iteration(mlp(), *batch(), input_names=names, target_names=classes)
    assert line(opened, "x_2").note == "<b>fare</b>"
    assert line(opened, "y").note in classes
    assert "&lt;b&gt;fare&lt;/b&gt;" in opened.page()
    assert "<b>fare" not in opened.page()


class Reader(HTMLParser):
    """Collects tags that could load something from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += tag == "h2"
        self.outside += [tag] if tag in ("script", "link", "img", "iframe") else []


def test_page_is_self_contained() -> None:
    opened = open_iteration(mlp(), *batch())
    reader, page = Reader(), opened.page()
    reader.feed(page)
    assert reader.outside == []
    assert "http" not in page
    assert reader.headings == len(opened.sections)
    assert "x<sub>1</sub> w<sub>11</sub>" in page
    assert "w<sub>11</sub><sup>(2)</sup>" in page


def test_json() -> None:
    data = json.loads(json.dumps(open_iteration(mlp(), *batch()).as_dict()))
    assert data["sections"][1]["lines"][0]["formula"] == "x_1 w_11 + x_2 w_21 + x_3 w_31 + b_1"


def test_the_network_stays_as_it_was() -> None:
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4, 2))
    x, y = batch(rows=12)
    for network, inputs in ((mlp(), x), (layers, x.float())):
        network[1].eval() if isinstance(network, nn.Sequential) else None
        kept = copy.deepcopy(network.state_dict())
        modes = [module.training for module in network.modules()]
        state = torch.get_rng_state()
        open_iteration(network, inputs, y)
        assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())
        assert [module.training for module in network.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Shared(nn.Module):
    """A layer used twice, a weight that belongs to no layer, one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(3, 3)
        self.act = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.step(self.step(x))) * self.scale


def test_any_network_layer_by_layer() -> None:
    network, (x, y) = Shared(), batch(classes=3)
    opened = open_iteration(network, x.float(), y)
    titles = [section.title for section in opened.sections]
    assert titles[:4] == ["network: Shared", "step: Linear", "step (call 2): Linear", "act: ReLU"]
    F.cross_entropy(network(x.float()), y).backward()
    weight = network.step.weight
    expected = weight.detach() - 0.01 * weight.grad
    (shown,) = [line for line in opened.sections[1].lines if line.symbol == "weight new"]
    assert f"first {expected[0, 0]:.6g}, {expected[0, 1]:.6g}" in shown.numbers
    before_relu = opened.sections[3].lines[0].numbers
    assert "min 0," not in before_relu  # the input as it came, not as the in-place layer left it
    assert opened.loss_after < opened.loss_before
    unused = [line for line in opened.sections[-1].lines if line.symbol == "dL/dunused.weight"]
    assert unused[0].note.startswith("none")
    assert "dL/doutput" in opened.text()


def test_members_of_an_ensemble() -> None:
    class Members(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).unflatten(1, (4, 2))

    x, y = batch()
    opened = open_iteration(Members(), x.float(), y)
    assert opened.loss_after < opened.loss_before


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("classes", "loss"), [(1, "cross_entropy"), (1, "mse"), (3, "cross_entropy"), (3, "mse")])
def test_symbols(activation: str, classes: int, loss: str) -> None:
    network = mlp(2, classes, 2, activation)
    opened = open_iteration(network, *batch(2, max(2, classes)), loss=loss, symbols=True)
    assert opened.checks[-1].largest_difference <= 1e-10
    assert opened.sections[-1].title.startswith("The derivation in symbols")
    traced = {line.symbol: line.value for section in reversed(opened.sections[:-1]) for line in section.lines}
    derived = {line.symbol: line.value for line in opened.sections[-1].lines if line.symbol in traced}
    assert {"dL/do_1", "dL/dw_11^(2)", "dL/da_2", "dL/dh_2", "dL/dw_11"} <= derived.keys()
    for symbol, value in derived.items():
        assert value == pytest.approx(traced[symbol], abs=1e-10), symbol


def test_symbols_of_a_number_and_of_three_layers() -> None:
    opened = open_iteration(mlp(2, 1, (2, 2), "tanh"), batch(2)[0], torch.randn(5), symbols=True)
    assert opened.checks[-1].largest_difference <= 1e-10


def test_symbols_at_extreme_numbers() -> None:
    x, y = batch(2)
    opened = open_iteration(mlp(2, 1, 2, "relu"), 1e4 * x, y, symbols=True)
    assert opened.checks[-1].largest_difference <= 1e-6  # of derivatives up to 1e4


def test_symbols_need_sympy_and_a_small_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = batch()
    with pytest.raises(InputError, match=r"model\.hidden=2"):
        open_iteration(mlp(hidden=64), x, y, symbols=True)
    with pytest.raises(InputError, match="perceptron and mlp"):
        open_iteration(nn.Linear(3, 2).double(), x, y, symbols=True)
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(InputError, match="pip install sympy"):
        open_iteration(mlp(), x, y, symbols=True)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"loss": "mes"}, "mse"),
        ({"optimizer": "sdg"}, "sgd"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"targets": torch.tensor([1])}, "number of rows"),
        ({"inputs": torch.tensor([[1.0, float("nan"), 0.0]] * 5)}, "NaN"),
    ],
)
def test_wrong_requests_say_how_to_fix(change: dict[str, Any], word: str) -> None:
    x, y = batch()
    request = {"inputs": x, "targets": y, **change}
    with pytest.raises(InputError, match=word):
        open_iteration(mlp(), **request)


def test_decision_regions() -> None:
    picture = decision_regions_svg(lambda x: (x[:, 0] - x[:, 1]).abs(), CORNERS, "XOR & <co>")
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{space}circle")
    assert [circle.get("fill") for circle in circles] == [GREEN if row[2] else RED for row in CORNERS]
    for circle in circles:  # each point lies on its own colour
        assert colour_at(root, space, float(circle.get("cx", "")), float(circle.get("cy", ""))) == circle.get("fill")
    assert root.findtext(f"{space}title") == "XOR & <co>"


def colour_at(root: ElementTree.Element, space: str, x: float, y: float) -> str | None:
    for rect in root.findall(f"{space}rect"):
        left, top, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        if left <= x < left + width and top <= y < top + height:
            return rect.get("fill")
    return None


@pytest.mark.parametrize("classes", [1, 2])
def test_collapse_line_has_this_networks_numbers(classes: int) -> None:
    network = mlp(2, classes, (4, 3), "identity")
    text = collapse_line([layer.weight for layer in network.layers], [layer.bias for layer in network.layers])
    with torch.no_grad():
        logits = network(torch.tensor([row[:2] for row in CORNERS], dtype=torch.float64))
    outputs = logits[:, -1] - (logits[:, 0] if classes == 2 else 0)
    a, b = (outputs[2] - outputs[0]).item(), (outputs[1] - outputs[0]).item()
    assert text.startswith(f"W_3 W_2 W_1 = ({a:.4g}, {b:.4g})")
    assert f"(here {(outputs[0] + outputs[3]).item():.4g} on both sides)" in text
    assert "\n" not in text
