"""TabM equals the authors' packages: outputs and the gradient of every parameter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from chainrule.data.table.columns import NumberColumn
from chainrule.data.table.front import ColumnsFront
from chainrule.models.tabm import REFERENCE_NAMES, TabM, TabMConfig, embedding_sizes

tabm = pytest.importorskip("tabm")
rtdl = pytest.importorskip("rtdl_num_embeddings")
pytestmark = pytest.mark.filterwarnings("ignore:.*just two bin edges:UserWarning")

CONFIGS = {
    "number": TabMConfig(
        num_numbers=3, num_bins=5, cardinalities=(), num_classes=1, members=4, width=8, num_layers=2, number_size=3
    ),
    "classes": TabMConfig(
        num_numbers=4, num_bins=6, cardinalities=(), num_classes=3, members=5, width=12, num_layers=3, dropout=0.3
    ),
    "mixed": TabMConfig(
        num_numbers=2, num_bins=4, cardinalities=(7, 50), num_classes=2, members=3, width=8, category_size=6
    ),
    "one bin": TabMConfig(num_numbers=1, num_bins=1, cardinalities=(9,), num_classes=4, members=2, width=4),
}


class Reference(nn.Module):
    """The authors' parts put together as their ``TabM`` does, with embeddings where that has one-hot vectors."""

    def __init__(self, config: TabMConfig, bins: list[Tensor]) -> None:
        super().__init__()
        sizes = embedding_sizes(config)
        self.num_module = rtdl.PiecewiseLinearEmbeddings(bins, config.number_size, activation=False, version="B")
        self.categories = nn.ModuleList(
            nn.Embedding(codes, size)
            for codes, size in zip(config.cardinalities, sizes[config.num_numbers :], strict=True)
        )
        self.backbone = tabm.make_tabm_backbone(
            d_in=sum(sizes),
            n_blocks=config.num_layers,
            d_block=config.width,
            dropout=config.dropout,
            k=config.members,
            arch_type="tabm-mini",
            start_scaling_init="normal",
            start_scaling_init_chunks=sizes,
        )
        self.output = tabm.LinearEnsemble(config.width, config.num_classes, k=config.members)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        columns = [self.num_module(numbers).flatten(1)]
        columns += [embedding(codes[:, column]) for column, embedding in enumerate(self.categories)]
        hidden = tabm.ensemble_view(torch.cat(columns, 1), self.backbone.k, self.training)
        return self.output(self.backbone(hidden))


def whole_reference(config: TabMConfig, bins: list[Tensor]) -> nn.Module:
    """The authors' own class, which has no embeddings for categories."""
    return tabm.TabM(
        n_num_features=config.num_numbers,
        cat_cardinalities=[],
        d_out=config.num_classes,
        num_embeddings=rtdl.PiecewiseLinearEmbeddings(bins, config.number_size, activation=False, version="B"),
        n_blocks=config.num_layers,
        d_block=config.width,
        dropout=config.dropout,
        k=config.members,
        arch_type="tabm-mini",
        start_scaling_init="normal",
    )


def ours(name: str) -> str:
    """Our name of a parameter of the reference."""
    number = next((part for part in name.split(".") if part.isdigit()), "")
    if name.startswith("categories."):
        return name
    return REFERENCE_NAMES[name.replace(f"blocks.{number}.", "blocks.{}.")].format(number)


def random_bins(config: TabMConfig) -> list[Tensor]:
    """Edges with a different number of bins per column, ``num_bins`` at most and once."""
    counts = [max(1, config.num_bins - 2 * column) for column in range(config.num_numbers)]
    return [torch.randn(count + 1).sort().values for count in counts]


def pair(config: TabMConfig, build: Callable[..., nn.Module]) -> tuple[TabM, nn.Module]:
    """Our network with the weights of a reference whose every parameter is random, in float64."""
    reference = build(config, random_bins(config)).double()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    network = TabM(config).double()
    network.load_state_dict({ours(name): value.detach() for name, value in reference.named_parameters()})
    return network, reference


def answer(members: Tensor) -> Tensor:
    """How the authors average in evaluation: probabilities of classes, values of a number."""
    return members.mean(1) if members.shape[-1] == 1 else members.softmax(-1).mean(1).log()


def rows(config: TabMConfig) -> tuple[Tensor, Tensor]:
    codes = [torch.randint(codes, (11, 1)) for codes in config.cardinalities]
    return 2 * torch.randn(11, config.num_numbers).double(), torch.cat([torch.empty(11, 0).long(), *codes], 1)


def compare(network: TabM, reference: nn.Module, training: bool, tolerance: float) -> None:
    numbers, codes = (x.to(next(network.parameters()).dtype) if x.is_floating_point() else x for x in rows_of(network))
    encoded = reference.num_module.impl(numbers)
    network.train(training), reference.train(training)
    torch.manual_seed(1)
    got = network(numbers, encoded, codes)
    torch.manual_seed(1)  # both drop out the same units: the draws have one shape and one order
    members = reference(numbers, codes) if isinstance(reference, Reference) else reference(numbers)
    expected = members if training else answer(members)
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    direction = torch.randn_like(expected)
    (got * direction).sum().backward()
    (expected * direction).sum().backward()
    parameters = dict(network.named_parameters())
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(parameters.pop(ours(name)).grad, parameter.grad, atol=tolerance, rtol=tolerance)
    assert not parameters


def rows_of(network: TabM) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return rows(network.config)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_and_gradients_equal_the_authors_parts(name: str, training: bool) -> None:
    torch.manual_seed(0)
    compare(*pair(CONFIGS[name], Reference), training, 1e-10)  # float64, the same sums in another order


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["number", "classes"])
def test_outputs_and_gradients_equal_the_authors_class(name: str, training: bool) -> None:
    torch.manual_seed(0)
    compare(*pair(CONFIGS[name], whole_reference), training, 1e-10)


def test_float32_equals_too() -> None:
    torch.manual_seed(0)
    network, reference = pair(CONFIGS["classes"], whole_reference)
    compare(network.float(), reference.float(), True, 2e-5)  # sums of a few hundred products of size one


@pytest.mark.parametrize("training", [True, False])
def test_an_identity_embedding_is_the_authors_one_hot_vector(training: bool) -> None:
    torch.manual_seed(0)
    config = TabMConfig(num_numbers=0, num_bins=0, cardinalities=(3, 4), num_classes=2, members=3, width=8)
    reference = tabm.TabM.make(
        cat_cardinalities=[3, 4], d_out=2, n_blocks=2, d_block=8, dropout=0.0, k=3, arch_type="tabm-mini"
    ).double()
    network = TabM(config).double().train(training)
    weights = {ours(name): value.detach() for name, value in reference.named_parameters()}
    identity = {f"categories.{column}.weight": torch.eye(codes) for column, codes in enumerate((3, 4))}
    network.load_state_dict(weights | identity)
    codes = torch.stack([torch.randint(3, (9,)), torch.randint(4, (9,))], 1)
    members = reference.train(training)(x_cat=codes)
    got = network(torch.empty(9, 0), torch.empty(9, 0, 0), codes)
    torch.testing.assert_close(got, members if training else answer(members), atol=1e-10, rtol=1e-10)


def test_init_draws_from_the_authors_distributions() -> None:
    torch.manual_seed(0)
    config = TabMConfig(num_numbers=6, num_bins=8, cardinalities=(), num_classes=3, members=32, width=128)
    reference = dict(whole_reference(config, [torch.linspace(0, 1, 9)] * 6).named_parameters())
    network = dict(TabM(config).named_parameters())
    for name, parameter in reference.items():
        drawn, expected = network[ours(name)].detach(), parameter.detach()
        assert drawn.shape == expected.shape
        spread = float(expected.std())  # the fewest independent draws are 72, so a mean may be off by an eighth
        assert float(drawn.mean()) == pytest.approx(float(expected.mean()), abs=0.5 * spread + 1e-12), name
        assert float(drawn.std()) == pytest.approx(spread, rel=0.25), name


def test_the_fronts_encoding_equals_the_authors() -> None:
    torch.manual_seed(0)
    bins = [torch.randn(count + 1).mul(5).sort().values.double() for count in (1, 2, 7)]
    front = ColumnsFront([number(f"x{column}", edges) for column, edges in enumerate(bins)], [])
    inside = torch.stack([edges[0] + (edges[-1] - edges[0]) * torch.rand(200).double() for edges in bins], 1)
    _, encoded, _ = front.eval()(inside.float(), torch.empty(200, 0, dtype=torch.int64))
    # the authors write the last bin's share in the last place, the front beside the bin before it
    reference = rtdl.PiecewiseLinearEncoding([edges.float() for edges in bins])(inside.float())
    kept = torch.cat([encoded[:, column, : len(edges) - 1] for column, edges in enumerate(bins)], 1)
    torch.testing.assert_close(kept, reference, atol=1e-4, rtol=0)  # (x - a) w against x w - a w in float32
    assert (encoded[:, 0, 1:] == 0).all()
    assert (encoded[:, 1, 2:] == 0).all()


def number(name: str, edges: Tensor) -> NumberColumn:
    """A number column of which the encoding needs no more than the edges."""
    low, high = float(edges[0]), float(edges[-1])
    return NumberColumn(
        name=name, source=name, mean=0, std=1, median=0, low=low, high=high, lower_quartile=low, upper_quartile=high,
        edges=tuple(edges.tolist()), missing=False,
    )  # fmt: skip
