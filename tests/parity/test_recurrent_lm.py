"""Recurrent language models against torch's embedding, recurrent layers and linear layer, put together plainly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.models.recurrent_lm import RecurrentLM, RecurrentLMConfig, dropout, reference_name

LAYERS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64: the same kernels, sums of some 1e-16


class Reference(nn.Module):
    """As every tutorial writes it."""

    def __init__(self, config: RecurrentLMConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        between = config.dropout if config.layers > 1 else 0.0
        self.rnn = LAYERS[config.cell](config.width, config.hidden, config.layers, batch_first=True, dropout=between)
        self.head = nn.Linear(config.hidden, config.vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        outputs, state = self.rnn(self.dropout(self.embedding(ids)), state)
        return self.head(self.dropout(outputs)), state


def pair(dtype: torch.dtype = torch.float64, **settings: Any) -> tuple[RecurrentLM, Reference]:
    """Both with the reference's weights, loaded strictly."""
    config = RecurrentLMConfig(vocab_size=11, hidden=7, **settings)
    theirs, ours = Reference(config).to(dtype), RecurrentLM(config).to(dtype)
    ours.load_state_dict({reference_name(name): x for name, x in theirs.state_dict().items()}, strict=True)
    return ours, theirs


def ids(rows: int = 3, length: int = 9) -> Tensor:
    return torch.randint(11, (rows, length), generator=torch.Generator().manual_seed(1))


def backward(network: nn.Module, logits: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    F.cross_entropy(logits.flatten(0, 1), ids().flatten()).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("settings", [{"layers": 1}, {"layers": 2, "embedding": 5}, {"layers": 3, "tied": True}])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_outputs_state_and_every_gradient_are_equal(cell: str, settings: dict[str, Any], training: bool) -> None:
    ours, theirs = (network.train(training) for network in pair(cell=cell, dropout=0.3, **settings))
    torch.manual_seed(3)
    expected, state = theirs(ids())
    torch.manual_seed(3)
    logits, ends = ours.run(ids())
    assert float(expected.detach().std()) > 1e-3, "a comparison of nothing"
    torch.testing.assert_close(logits, expected, **EXACT)
    torch.testing.assert_close(ends, state if cell == "lstm" else (state,), **EXACT)
    gradients = backward(theirs, expected)
    mine = backward(ours, logits)
    assert mine.keys() == {reference_name(name) for name in gradients}
    for name, gradient in gradients.items():
        torch.testing.assert_close(mine[reference_name(name)], gradient, **EXACT)


def test_float32_is_near() -> None:
    ours, theirs = (network.eval() for network in pair(torch.float32, layers=2))
    torch.testing.assert_close(ours(ids()), theirs(ids())[0], rtol=0, atol=1e-6)  # logits of size 1, one unit in 2^-20


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_text_in_windows_is_the_text_at_once(cell: str) -> None:
    ours = pair(cell=cell)[0].eval()
    state, parts = None, []
    for window in ids(length=10).split((1, 4, 5), dim=1):
        logits, state = ours.run(window, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), ours(ids(length=10)), **EXACT)


def test_tied_weights_of_another_size_go_through_a_projection() -> None:
    network = RecurrentLM(RecurrentLMConfig(vocab_size=11, hidden=7, embedding=5, tied=True))
    assert network.head.weight is network.embedding.weight
    assert network(ids()).shape == (3, 9, 11)
    names = {name for name, _ in network.named_parameters()}
    assert {"projection.weight", "projection.bias"} <= names
    assert "head.weight" not in names  # counted and trained once


def test_a_locked_dropout_leaves_out_the_same_numbers_at_every_moment() -> None:
    x = torch.ones(4, 30, 50)
    kept = dropout(x, 0.4, True, locked=True)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert 0.45 < float((kept > 0).float().mean()) < 0.75
    assert torch.equal(kept.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert not torch.equal(kept[0], kept[1])
    free = dropout(x, 0.4, True)
    assert not torch.equal(free, free[:, :1].expand_as(free))
    assert torch.equal(dropout(x, 0.4, False, locked=True), x)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_an_untrained_network_knows_little_more_than_nothing(cell: str) -> None:
    torch.manual_seed(0)
    for tied in (False, True):
        network = RecurrentLM(RecurrentLMConfig(vocab_size=50, hidden=64, cell=cell, tied=tied)).eval()
        some = torch.randint(50, (8, 40))
        with torch.no_grad():
            loss = float(F.cross_entropy(network(some)[:, :-1].flatten(0, 1), some[:, 1:].flatten()))
        assert abs(loss - math.log(50)) < 0.35  # ln V and the spread of small logits
