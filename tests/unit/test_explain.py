"""Explanations of small networks whose answer is known, their completeness, and what random weights do to them."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chainrule.errors import InputError
from chainrule.explain.bars import bars_svg, bars_text
from chainrule.explain.columns import owners_of, places_of
from chainrule.explain.gradients import attribute_columns, integrated_gradients, typical_row
from chainrule.explain.importance import permutation_importance
from chainrule.explain.sanity import rank_correlation, sanity_check


class Second(nn.Module):
    """Logits (0, 3 x_2) from the second column alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((torch.zeros(len(x)), 3 * x[:, 1]), 1)


class OneHotFront(nn.Module):
    """A vector from two numbers (missing ones 0) and one code of three values."""

    def forward(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor]:
        return (torch.cat((numbers.nan_to_num(0.0), F.one_hot(codes[:, 0], 3).float()), 1),)


class ColumnsFront(nn.Module):
    """Numbers, a two-bin encoding of each, and the codes as they are."""

    def forward(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        numbers = numbers.nan_to_num(0.0)
        return numbers, torch.stack((numbers.clamp(max=0), numbers.clamp(min=0)), 2), codes


class ColumnsNet(nn.Module):
    """x_1 (bins only) + 2 x_2 (number only) + 5 where the code is 2."""

    def forward(self, numbers: Tensor, encoded: Tensor, codes: Tensor) -> Tensor:
        return (encoded[:, 0].sum(1) + 2 * numbers[:, 1] + 5.0 * (codes[:, 0] == 2))[:, None]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int = 200) -> tuple[Tensor, Tensor]:
    """Two numbers, one of them missing now and then, and a code."""
    numbers = torch.randn(count, 2, generator=generator())
    numbers[::10, 0] = math.nan
    return numbers, torch.randint(0, 3, (count, 1), generator=generator(1))


def trained_network(x: Tensor, y: Tensor) -> nn.Module:
    """A small MLP after some hundred steps of plain gradient descent."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(x.shape[1], 16), nn.ReLU(), nn.Linear(16, 2))
    for _ in range(300):
        gradients = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
    return network.eval()


def test_permutation_importance_of_the_only_column_that_is_used() -> None:
    x = torch.randn(300, 3, generator=generator())
    y = (x[:, 1] > 0).long()
    places = {name: ((0, index),) for index, name in enumerate(("a", "b", "c"))}
    found = permutation_importance(lambda inputs: F.cross_entropy(Second()(*inputs), y).item(), (x,), places, seed=0)
    assert found.names[0] == "b"
    assert found.mean[1:] == found.low[1:] == found.high[1:] == (0.0, 0.0)
    assert found.low[0] <= found.mean[0] <= found.high[0]
    assert found.low[0] > 0.5
    assert found.loss == F.cross_entropy(Second()(x), y).item()


def test_parts_of_one_column_are_shuffled_together() -> None:
    x = torch.randn(100, 3, generator=generator())
    x[:, 1] = x[:, 0] ** 2
    codes = (x[:, :1] > 0).long()
    places = {"date": ((0, 0), (0, 1), (1, 0)), "other": ((0, 2),)}

    def broken_rows(inputs: tuple[Tensor, ...]) -> float:
        numbers, flags = inputs
        assert torch.equal(numbers[:, 1], numbers[:, 0] ** 2)
        assert torch.equal(flags[:, 0], (numbers[:, 0] > 0).long())
        return float((numbers != x).any(1).float().mean())

    found = permutation_importance(broken_rows, (x, codes), places, seed=3)
    assert all(value > 0.9 for value in found.mean)  # each column was shuffled, and put back before the next


def test_permutation_importance_depends_on_the_seed_alone_and_leaves_its_inputs() -> None:
    x = torch.randn(50, 2, generator=generator())
    before = x.clone()

    def loss(inputs: tuple[Tensor, ...]) -> float:
        return float((inputs[0].prod(1) - before.prod(1)).square().mean())

    places = {"a": ((0, 0),), "b": ((0, 1),)}
    first, again, other = (permutation_importance(loss, (x,), places, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(x, before)


def test_shuffling_one_row_is_refused() -> None:
    with pytest.raises(InputError, match=r"got 1 rows and 5 repeats"):
        permutation_importance(lambda _: 0.0, (torch.ones(1, 1),), {"a": ((0, 0),)}, seed=0)


def test_integrated_gradients_of_a_linear_network_are_weight_times_difference() -> None:
    x = torch.randn(20, 3, generator=generator())
    found = integrated_gradients(Second(), (x,), (torch.full((1, 3), 0.5),), target=1)
    expected = torch.zeros(20, 3)
    expected[:, 1] = 3 * (x[:, 1] - 0.5)
    assert torch.allclose(found.values[0], expected, atol=1e-5)
    assert found.complete


def test_integrated_gradients_sum_to_the_difference_of_outputs() -> None:
    x = torch.randn(50, 4, generator=generator())
    network = trained_network(x, (x[:, 0] * x[:, 1] > 0).long())
    target = network(x).argmax(1)
    found = integrated_gradients(network, (x,), (torch.zeros(1, 4),), target)
    with torch.no_grad():
        difference = network(x).gather(1, target[:, None])[:, 0] - network(torch.zeros(1, 4))[0][target]
    assert torch.allclose(found.difference, difference, atol=1e-6)
    missed = (found.values[0].sum(1) - difference).square().mean().sqrt() / difference.square().mean().sqrt()
    assert found.gap == pytest.approx(float(missed), rel=1e-3)
    assert found.complete


def test_a_jump_is_reported_as_incomplete() -> None:
    x = torch.linspace(1.2, 3, 9)[:, None]
    found = integrated_gradients(lambda x: x.sum(1) * 0 + (x[:, 0] > 1.1), (x,), (torch.zeros(1, 1),), target=0)
    assert found.steps == 256
    assert found.gap == pytest.approx(1.0)
    assert not found.complete


def test_rows_are_chunked_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(50, 4, generator=generator())
    network = trained_network(x, (x[:, 0] > 0).long())
    target = torch.arange(50) % 2
    whole = integrated_gradients(network, (x,), (torch.zeros(1, 4),), target)
    monkeypatch.setattr("chainrule.explain.gradients._ROWS_AT_ONCE", 7 * whole.steps)
    chunked = integrated_gradients(network, (x,), (torch.zeros(1, 4),), target)
    assert torch.allclose(whole.values[0], chunked.values[0], atol=1e-6)


def test_without_captum_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r"pip install 'chainrule\[explain\]'"):
        integrated_gradients(Second(), (torch.ones(2, 3),), (torch.zeros(1, 3),), target=1)


def test_one_hot_parts_are_summed_back_to_their_column() -> None:
    numbers, codes = rows()
    network = nn.Linear(5, 2)
    owners = (("age", "fare", "deck", "deck", "deck"),)
    found = attribute_columns(OneHotFront(), network, (numbers, codes), typical_row((numbers, codes)), owners, 1)
    assert found.names == ("age", "fare", "deck")
    assert found.complete
    vector, base = OneHotFront()(numbers, codes)[0], OneHotFront()(*typical_row((numbers, codes)))[0]
    by_place = (vector - base) * network.weight[1]
    expected = torch.cat((by_place[:, :2], by_place[:, 2:].sum(1, keepdim=True)), 1)
    assert torch.allclose(found.values, expected, atol=1e-5)
    sizes = expected.abs().mean(0).tolist()
    assert found.mean_size() == pytest.approx(sizes, abs=1e-5)
    names, ranked = found.ranked()
    assert ranked == pytest.approx(sorted(sizes, reverse=True), abs=1e-5)
    assert [found.mean_size()[found.names.index(name)] for name in names] == list(ranked)


def test_numbers_bins_and_codes_of_a_columns_network() -> None:
    numbers, codes = rows()
    typical = typical_row((numbers, codes))
    owners = (("age", "fare"), ("age", "fare"), ("deck",))
    found = attribute_columns(ColumnsFront(), ColumnsNet(), (numbers, codes), typical, owners, 0)
    assert found.names == ("age", "fare", "deck")
    known, base = numbers.nan_to_num(0.0), typical[0]
    assert torch.allclose(found.values[:, 0], known[:, 0] - base[0, 0], atol=1e-4)
    assert torch.allclose(found.values[:, 1], 2 * (known[:, 1] - base[0, 1]), atol=1e-4)
    steps = 5.0 * ((codes[:, 0] == 2).float() - (typical[1][0, 0] == 2).float())
    assert torch.allclose(found.values[:, 2], steps, atol=1e-5)


def test_tables_of_codes_alone_and_the_mode_of_the_network() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(3, 2)

        def forward(self, numbers: Tensor, encoded: Tensor, codes: Tensor) -> Tensor:
            return self.table(codes[:, 0])

    _, codes = rows()
    network = Embedded().train()
    inputs = (torch.zeros(len(codes), 0), codes)
    found = attribute_columns(ColumnsFront(), network, inputs, typical_row(inputs), ((), (), ("deck",)), 0)
    assert found.values.shape == (200, 1)
    assert found.values.abs().sum() > 0
    assert network.training


def test_typical_row_ignores_missing_numbers() -> None:
    numbers, codes = torch.tensor([[1.0, 5.0], [math.nan, 7.0], [3.0, 9.0]]), torch.tensor([[2], [2], [0]])
    typical = typical_row((numbers, codes))
    assert typical[0].tolist() == [[1.0, 7.0]]
    assert typical[1].tolist() == [[2]]


def explained(network: nn.Module) -> Tensor:
    x = torch.randn(60, 6, generator=generator(5))
    return integrated_gradients(network, (x,), (torch.zeros(1, 6),), target=1, most_steps=32).values[0]


def test_random_weights_change_the_explanation_of_a_trained_network() -> None:
    x = torch.randn(200, 6, generator=generator())
    network = trained_network(x, (x[:, 1] + 0.5 * x[:, 2] > 0).long())
    weights = [parameter.clone() for parameter in network.parameters()]
    found = sanity_check(network, explained, seed=0)
    assert abs(found.correlation) < 0.4
    assert found.passed
    assert "depends on what was learned" in found.text()
    assert all(map(torch.equal, weights, network.parameters()))


def test_an_explanation_that_ignores_the_weights_is_flagged() -> None:
    x = torch.randn(60, 6, generator=generator(5))
    found = sanity_check(nn.Linear(6, 2), lambda _: x, seed=0)
    assert found.correlation == pytest.approx(1.0)
    assert not found.passed
    assert "do not trust it" in found.text()


def test_an_explanation_that_ranks_nothing_has_no_verdict() -> None:
    found = sanity_check(nn.Linear(6, 2), lambda _: torch.zeros(5, 6), seed=0)
    assert math.isnan(found.correlation)
    assert not found.passed
    assert "no verdict" in found.text()


def test_rank_correlation_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    assert rank_correlation(first, torch.tensor([[10.0, 20.0, 900.0], [1.0, 2.0, 3.0]])) == pytest.approx(1.0)
    assert rank_correlation(first, torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])) == pytest.approx(-1.0)
    ties = rank_correlation(torch.tensor([[1.0, 1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 2.0, 3.0]]))
    assert ties == pytest.approx(3.75 / 4.5)  # ranks 0.5 0.5 2 3 and 0 1.5 1.5 3


def schema() -> SimpleNamespace:
    def number(source: str, missing: bool = False) -> SimpleNamespace:
        return SimpleNamespace(source=source, missing=missing)

    def category(name: str, count: int, missing: bool = False) -> SimpleNamespace:
        return SimpleNamespace(name=name, categories=tuple(map(str, range(count))), missing=missing)

    return SimpleNamespace(
        numbers=(number("day"), number("day"), number("age", missing=True)),
        categories=(category("sex", 2), category("deck", 3, missing=True), category("street", 70)),
    )


def test_places_of_a_date_stand_together() -> None:
    found = places_of(schema())
    assert found == {
        "day": ((0, 0), (0, 1)),
        "age": ((0, 2),),
        "sex": ((1, 0),),
        "deck": ((1, 1),),
        "street": ((1, 2),),
    }


def test_owners_of_every_tensor() -> None:
    assert owners_of(schema(), "columns") == (("day", "day", "age"),) * 2 + (("sex", "deck", "street", "age"),)
    (vector,) = owners_of(schema(), "vector")
    assert vector == ("day", "day", "age", "age", "sex", "sex", *["deck"] * 4, *["street"] * 65)


def test_owners_fit_the_fronts_of_a_table() -> None:
    columns = pytest.importorskip("chainrule.data.table.columns")
    front = pytest.importorskip("chainrule.data.table.front")
    number = columns.NumberColumn(
        name="age", source="age", mean=0.0, std=1.0, median=0.0, low=-1.0, high=1.0, lower_quartile=-0.5,
        upper_quartile=0.5, edges=(-1.0, 0.0, 1.0), missing=True,
    )  # fmt: skip
    street = columns.CategoryColumn(name="street", categories=tuple(map(str, range(70))), missing=True)
    table = SimpleNamespace(numbers=(number,), categories=(street,))
    inputs = (torch.tensor([[0.3], [math.nan]]), torch.tensor([[2], [71]]))
    for takes in ("vector", "columns"):
        tensors = front.build_front((number,), (street,), takes).eval()(*inputs)
        assert [tensor.shape[1] for tensor in tensors] == [len(owned) for owned in owners_of(table, takes)]


def test_bars_as_text() -> None:
    assert bars_text(["age", "sex"], [0.5, -0.25], width=4) == "age ████   0.5\nsex ▒▒    -0.25"
    assert bars_text(["a"], [1.0], [(0.5, 1.5)], width=2) == "a ██   1 (0.5 to 1.5)"
    assert bars_text(["x" * 60], [0.0]).startswith("x" * 39 + "…")
    assert bars_text([], []) == ""


def test_bars_as_svg_are_well_formed_and_escaped() -> None:
    chart = ElementTree.fromstring(bars_svg(["<b>&", "c"], [2.0, -1.0], [(1.0, 3.0), (-2.0, 0.0)], title="a < b"))
    bars = [element for element in chart.iter() if element.tag.endswith("rect")]
    widths = [float(bar.get("width", "nan")) for bar in bars]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.11)
    assert float(bars[0].get("x", "nan")) == pytest.approx(float(bars[1].get("x", "nan")) + widths[1], abs=0.11)
    assert "<b>&: 2" in [element.text for element in chart.iter()]
    ElementTree.fromstring(bars_svg(["a"], [0.0]))
