"""Recurrent language models: gradients, rows and moments that do not see each other, precision, sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.networks import count_parameters

from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG
from chainrule.models.recurrent_lm import RecurrentLM, RecurrentLMConfig
from chainrule.train.optimizer import Optimizer, OptimizerConfig

CELLS = ("rnn", "gru", "lstm")
PARAMETERS = {"rnn_lm": 4_090_400, "gru_lm": 18_087_800, "lstm_lm": 19_780_400}  # by hand: V D + layers + D V + V


def network(cell: str = "lstm", **settings: Any) -> RecurrentLM:
    torch.manual_seed(0)
    return RecurrentLM(RecurrentLMConfig(vocab_size=13, cell=cell, **{"hidden": 10, **settings}))


def ids(rows: int = 4, length: int = 12) -> torch.Tensor:
    return torch.randint(13, (rows, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "settings", [{}, {"tied": True}, {"tied": True, "embedding": 6}, {"locked": True, "layers": 1}]
)
@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_gets_a_finite_gradient(cell: str, settings: dict[str, Any]) -> None:
    net = network(cell, **settings)
    F.cross_entropy(net(ids()).flatten(0, 1), ids().flatten()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("cell", CELLS)
def test_later_tokens_and_other_rows_change_nothing(cell: str) -> None:
    net, changed = network(cell).eval(), ids().clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 13
    with torch.no_grad():
        whole = net(ids())
        assert torch.equal(net(changed)[:, :7], whole[:, :7])
        assert not torch.allclose(net(changed)[:, 7:], whole[:, 7:])
        alone = torch.cat([net(row[None]) for row in ids()])
        assert torch.equal(net(ids()), whole)
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-6)  # float32 kernels differ by batch size


@pytest.mark.parametrize("cell", CELLS)
def test_it_runs_in_bfloat16_with_a_state(cell: str) -> None:
    net = network(cell)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = net.run(ids())
        logits, _ = net.run(ids(), state)
    logits.float().square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_the_published_size_has_its_parameters(name: str) -> None:
    entry = CATALOG[name]
    config = entry.config(**{**entry.settings, **entry.published})
    assert count_parameters(config, entry.build) == PARAMETERS[name]


def test_tied_weights_stay_one_tensor_when_trained_and_loaded() -> None:
    net = network(tied=True)
    optimizer = Optimizer(net, OptimizerConfig(name="adamw", learning_rate=0.1))
    F.cross_entropy(net(ids()).flatten(0, 1), ids().flatten()).backward()
    before = net.head.weight.detach().clone()
    optimizer.step(0.1)
    assert torch.equal(net.head.weight, net.embedding.weight)
    assert not torch.equal(net.head.weight, before)
    other = network(tied=True)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other.eval()(ids()), net.eval()(ids()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cell": "lstn"}, r"model\.cell"), ({"hidden": 0}, r"model\.hidden"), ({"layers": 0}, r"model\.layers"),
        ({"dropout": 1.0}, r"model\.dropout"), ({"embedding": -1}, r"model\.embedding"),
        ({"vocab_size": 1}, "2 tokens"),
    ],
)  # fmt: skip
def test_sizes_without_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RecurrentLMConfig(**{"vocab_size": 9, **wrong})
