"""Perceptron and MLP against torch.nn.Sequential; the one-function pass against the layers."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chainrule.errors import InputError
from chainrule.functional.activations import ACTIVATIONS
from chainrule.models.mlp import MLP, MLPConfig, from_sequential
from chainrule.models.perceptron import Perceptron, PerceptronConfig, from_linear

MODULES: dict[str, Any] = {
    "identity": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU, "silu": nn.SiLU, "softmax": lambda: nn.Softmax(-1),
}  # fmt: skip
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def reference(config: MLPConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(config.widths[:-1], config.widths[1:], strict=True):
        layers += [
            nn.Linear(a, b),
            MODULES[config.activation](),
            *([nn.Dropout(config.dropout)] * bool(config.dropout)),
        ]
    return nn.Sequential(*layers[: -2 if config.dropout else -1])


def pair(config: MLPConfig, dtype: torch.dtype = torch.float64) -> tuple[MLP, nn.Sequential]:
    """Our network with the reference's weights, loaded strictly."""
    theirs = reference(config).to(dtype)
    ours = MLP(config).to(dtype)
    ours.load_state_dict({from_sequential(name, config): value for name, value in theirs.state_dict().items()})
    return ours, theirs


def assert_equal_step(ours: nn.Module, theirs: nn.Module, rename: Any, dtype: torch.dtype, features: int) -> None:
    """Equal outputs, parameter gradients and input gradients."""
    x = torch.randn(9, features, dtype=dtype)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    direction = torch.randn_like(outputs[0])
    for output in outputs:
        (output * direction).sum().backward()
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(outputs[0], outputs[1], **near)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, **near)
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(mine[rename(name)].grad, parameter.grad, **near)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("hidden", [(), (8,), (8, 5), (6, 7, 8)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(activation: str, hidden: tuple[int, ...], dtype: torch.dtype) -> None:
    config = MLPConfig(in_features=4, num_classes=3, hidden=hidden, activation=activation)
    ours, theirs = pair(config, dtype)
    for training in (True, False):
        ours.zero_grad()
        theirs.zero_grad()
        assert_equal_step(ours.train(training), theirs.train(training), lambda n: from_sequential(n, config), dtype, 4)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_perceptron(dtype: torch.dtype) -> None:
    theirs = nn.Linear(4, 3).to(dtype)
    ours = Perceptron(PerceptronConfig(in_features=4, num_classes=3)).to(dtype)
    ours.load_state_dict({from_linear(name): value for name, value in theirs.state_dict().items()})
    assert_equal_step(ours, theirs, from_linear, dtype, 4)


def test_same_seed_same_start_as_torch() -> None:
    config = MLPConfig(in_features=4, num_classes=3, hidden=(8, 5))
    torch.manual_seed(3)
    ours = MLP(config)
    torch.manual_seed(3)
    theirs = reference(config)
    for mine, parameter in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, parameter)


def test_dropout_falls_as_in_the_reference() -> None:
    ours, theirs = pair(MLPConfig(in_features=4, num_classes=3, hidden=(50, 50), dropout=0.4))
    x = torch.randn(7, 4, dtype=torch.float64)
    for training in (True, False):
        torch.manual_seed(5)
        mine = ours.train(training)(x)
        torch.manual_seed(5)
        torch.testing.assert_close(mine, theirs.train(training)(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_function_equals_the_layers(activation: str) -> None:
    network = MLP(MLPConfig(in_features=4, num_classes=3, hidden=(8, 5), activation=activation)).double()
    x = torch.randn(9, 4, dtype=torch.float64)
    assert network(x).grad_fn.name() == "_MLPBackward"
    for logits in (network(x), network.forward_by_layers(x)):
        logits.square().sum().backward()
    doubled = [p.grad for p in network.parameters()]
    network.zero_grad()
    network(x).square().sum().backward()
    for parameter, gradient in zip(network.parameters(), doubled, strict=True):
        torch.testing.assert_close(2 * parameter.grad, gradient, rtol=1e-12, atol=1e-12)


def test_hooks_on_layers_are_called() -> None:
    network = MLP(MLPConfig(in_features=4, num_classes=3))
    seen: list[Any] = []
    handle = network.layers[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = network(torch.randn(2, 4))
    assert len(seen) == 1
    assert torch.equal(seen[0], logits)
    handle.remove()
    assert network(torch.randn(2, 4)).grad_fn.name() == "_MLPBackward"


def test_autocast_computes_in_bfloat16() -> None:
    network = MLP(MLPConfig(in_features=4, num_classes=3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(8, 4))
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_torch_func_sees_the_network() -> None:
    network = MLP(MLPConfig(in_features=4, num_classes=2)).double()
    x, parameters = torch.randn(3, 4, dtype=torch.float64), dict(network.named_parameters())

    def total(p: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, p, (row[None],)).sum()

    per_row = torch.func.vmap(torch.func.grad(total), in_dims=(None, 0))(parameters, x)
    network(x).sum().backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(per_row[name].sum(0), parameter.grad, rtol=1e-12, atol=1e-12)


def test_overfits_one_batch() -> None:
    network = MLP(MLPConfig(in_features=6, num_classes=4, hidden=32))
    x, y = torch.randn(20, 6), torch.randint(4, (20,))
    for _ in range(300):
        network.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.5 * parameter.grad
    assert loss.item() < 0.05


def test_copies_and_state_dicts() -> None:
    network = MLP(MLPConfig(in_features=4, num_classes=3, hidden=5))
    assert list(network.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    twin = copy.deepcopy(network)
    x = torch.randn(2, 4)
    with torch.no_grad():
        twin.layers[0].weight += 1
    assert not torch.equal(twin(x), network(x))


def test_one_number_is_one_hidden_layer() -> None:
    assert MLPConfig(in_features=4, num_classes=3, hidden=5) == MLPConfig(in_features=4, num_classes=3, hidden=(5,))
    assert asdict(MLPConfig(in_features=4, num_classes=3, hidden=5))["hidden"] == (5,)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"activation": "rellu"}, "relu"), ({"hidden": (4, 0)}, "at least 1"), ({"dropout": 1.0}, "dropout")],
)
def test_wrong_settings_say_how_to_fix(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        MLPConfig(in_features=4, num_classes=3, **settings)
    with pytest.raises(InputError, match="in_features"):
        PerceptronConfig(in_features=0, num_classes=1)
