"""One contract for every catalog entry, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses
import typing

import pytest
import torch
from torch import Tensor, nn

from chainrule.models.catalog import CATALOG, Entry
from chainrule.tasks.table import TASKS

SMALL = (
    "perceptron", "mlp", "tabm", "resnet9", "resnet20", "resnet32", "resnet18", "resnet50", "mobilenet_v2",
    "rnn", "gru", "lstm", "bag_of_embeddings", "cnn_lstm",
)  # fmt: skip
PARAMETERS = {  # of the published networks, ImageNet's 3 channels and 1000 classes or CIFAR's 3 and 10
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586, "resnet56": 853_018,
    "resnet110": 1_727_962, "alexnet": 61_100_840, "vgg11": 132_863_336, "vgg16": 138_357_544,
    "vgg19_bn": 143_678_248, "mobilenet_v2": 3_504_872, "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
}  # fmt: skip
SIZES = {
    "vector": {"in_features": 5},
    "columns": {"num_numbers": 3, "num_bins": 4, "cardinalities": (5, 3)},
    "image": {"in_channels": 3, "image_size": (16, 16)},
    "tokens": {"vocab_size": 12},
    "frames": {"in_features": 6},
}


def config_of(entry: Entry, num_classes: int, **sizes: object) -> object:
    fields = {field.name for field in dataclasses.fields(entry.config)}
    given = {**SIZES[entry.takes[0]], **sizes, "num_classes": num_classes}
    return entry.config(**entry.settings, **{name: value for name, value in given.items() if name in fields})


def build(name: str, num_classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return CATALOG[name].build(config_of(CATALOG[name], num_classes))


def inputs(name: str, rows: int = 4) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    takes = CATALOG[name].takes[0]
    if takes == "vector":
        return (torch.randn(rows, 5, generator=generator),)
    if takes == "image":
        return (torch.randn(rows, 3, 16, 16, generator=generator),)
    if takes in ("tokens", "frames"):
        lengths = torch.tensor([9, 4, 1, 6]).repeat(2)[:rows]
        if takes == "tokens":
            return torch.randint(1, 12, (rows, 9), generator=generator), lengths
        return torch.randn(rows, 9, 6, generator=generator), lengths
    codes = torch.stack([torch.randint(k, (rows,), generator=generator) for k in (5, 3)], 1)
    return torch.randn(rows, 3, generator=generator), torch.rand(rows, 3, 4, generator=generator), codes


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_gives_logits_and_every_parameter_a_finite_gradient(name: str, num_classes: int) -> None:
    network = build(name, num_classes).train()
    rows = 8 if CATALOG[name].takes == ("columns",) else 4  # enough that every embedding row but few is looked up
    logits = network(*inputs(name, rows))
    assert logits.shape[0] == rows
    assert logits.shape[-1] == num_classes
    (logits**2).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0 or "bias" in parameter_name, parameter_name


@pytest.mark.parametrize("name", SMALL)
def test_evaluation_is_deterministic_and_rows_are_alone(name: str) -> None:
    network, batch = build(name).eval(), inputs(name)
    with torch.no_grad():
        whole, again = network(*batch), network(*batch)
        alone = torch.cat([network(*(x[row : row + 1] for x in batch)) for row in range(4)])
    assert torch.equal(whole, again)
    assert whole.shape == (4, 3)
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)  # float32 kernels differ by batch size


@pytest.mark.parametrize("name", SMALL)
def test_the_state_dict_round_trips(name: str) -> None:
    network = build(name).eval()
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(network(*inputs(name)), other(*inputs(name)))


@pytest.mark.parametrize("name", SMALL)
def test_runs_under_bfloat16(name: str) -> None:
    network = build(name).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(*inputs(name))
    logits.float().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_the_published_number_of_parameters(name: str) -> None:
    entry = CATALOG[name]
    small = "depth" in entry.settings
    sizes = {"image_size": (32, 32) if small else (224, 224)}
    with torch.device("meta"):
        network = entry.build(config_of(entry, 10 if small else 1000, **sizes))
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


PARTS = {"optimizer", "schedule", "train", "model", "augment", "task"}  # of a recipe that a network may have a say in


@pytest.mark.parametrize("name", list(CATALOG))
def test_the_entry_is_complete(name: str) -> None:
    entry = CATALOG[name]
    assert dataclasses.is_dataclass(entry.config)
    assert entry.config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {"num_classes", "vocab_size", "shape"} & set(typing.get_type_hints(entry.config))
    assert set(entry.tasks) <= set(TASKS)
    assert "tests/" in entry.reference
    for rows in (4, 100, 50_000, 5_000_000):
        settings = entry.training(rows, 10)
        assert settings.get("train.epochs", 1) >= 1
        assert {setting.partition(".")[0] for setting in settings} <= PARTS
