"""Recurrent networks: state that is carried, pooling, gradients over time, the puzzles, and the trace of a layer."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.puzzles import adding, copying
from chainrule.errors import InputError
from chainrule.functional.recurrent import CELLS
from chainrule.models.bag_of_embeddings import BagOfEmbeddings, BagOfEmbeddingsConfig
from chainrule.models.cnn_lstm import CNNLSTM, CNNLSTMConfig
from chainrule.models.recurrent import POOLINGS, RecurrentClassifier, RecurrentConfig
from chainrule.nn.recurrent import Recurrent
from chainrule.trace.iteration import open_iteration
from chainrule.trace.recurrent import gradients_over_time

LENGTHS = torch.tensor([7, 2, 5, 1])


class Adder(nn.Module):
    """The sum, read from the last state."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell, 2, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, frames: Tensor) -> Tensor:
        answer: Tensor = self.head(self.recurrent(frames)[0][:, -1])[:, 0]
        return answer


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", list(CELLS))
def test_a_carried_state_is_the_whole_sequence(cell: str, layers: int) -> None:
    torch.manual_seed(0)
    network, x = Recurrent(cell, 3, 8, layers=layers).double(), torch.randn(4, 12, 3).double()
    whole, end = network(x)
    state, parts = None, []
    for part in x.split(5, dim=1):
        outputs, state = network(part, None, state)
        parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", list(CELLS))
def test_rows_of_unequal_length_go_on_from_their_own_last_step(cell: str) -> None:
    torch.manual_seed(0)
    network, x, more = Recurrent(cell, 3, 8).double(), torch.randn(4, 7, 3).double(), torch.randn(4, 2, 3).double()
    _, state = network(x, LENGTHS)
    gone_on, _ = network(more, None, state)
    for row, length in enumerate(LENGTHS.tolist()):
        whole, _ = network(torch.cat((x[row, :length], more[row]))[None])
        torch.testing.assert_close(gone_on[row], whole[0, length:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("form", ["tokens", "frames"])
def test_padding_changes_nothing(form: str, pooling: str) -> None:
    torch.manual_seed(0)
    sizes: dict[str, int] = {"vocab_size": 9} if form == "tokens" else {"in_features": 3}
    network = RecurrentClassifier(RecurrentConfig(**sizes, num_classes=2, hidden=8, pooling=pooling)).double().eval()
    x = torch.randint(1, 9, (4, 7)) if form == "tokens" else torch.randn(4, 7, 3).double()
    wider = torch.cat((x, x), 1)
    features = network.features(x, LENGTHS)
    torch.testing.assert_close(network.features(wider, LENGTHS), features, rtol=0, atol=1e-12)
    alone = torch.cat([network.features(x[row : row + 1, :length]) for row, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(alone, features, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(x, LENGTHS), network.head(features), rtol=0, atol=1e-12)
    assert features.shape == (4, 16)


@pytest.mark.parametrize("buckets", [0, 32])
def test_padding_changes_no_bag(buckets: int) -> None:
    torch.manual_seed(0)
    network = BagOfEmbeddings(BagOfEmbeddingsConfig(vocab_size=9, num_classes=2, buckets=buckets)).double().eval()
    x = torch.randint(1, 9, (4, 7))
    alone = torch.cat([network.features(x[row : row + 1, :length]) for row, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(alone, network.features(x, LENGTHS), rtol=0, atol=1e-12)


def test_a_bag_sees_order_only_in_pairs() -> None:
    ids = torch.tensor([[3, 4, 5], [5, 4, 3]])
    for buckets, equal in ((0, True), (64, False)):
        network = BagOfEmbeddings(BagOfEmbeddingsConfig(vocab_size=9, num_classes=2, buckets=buckets)).eval()
        nn.init.normal_(network.embedding.weight)  # pairs begin at 0
        first, second = network(ids)
        assert torch.allclose(first, second, atol=1e-6) is equal


@pytest.mark.parametrize("halvings", [0, 2, 3])
def test_padding_changes_no_sound(halvings: int) -> None:
    torch.manual_seed(0)
    network = CNNLSTM(CNNLSTMConfig(in_features=5, num_classes=2, widths=(4, 5, 6), halvings=halvings)).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that what lies beyond an end would be seen
            nn.init.normal_(module.bias)
    network.eval()
    lengths, x = torch.tensor([11, 2, 5, 1]), torch.randn(4, 11, 5).double()
    together = network.features(F.pad(x, (0, 0, 0, 6), value=3.0), lengths)
    alone = torch.cat([network.features(x[row : row + 1, :length]) for row, length in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_a_clip_tells_where_a_thing_moves() -> None:
    """A bar that moves to the left or to the right: no single frame tells, and the mean over a map would not."""
    torch.manual_seed(0)
    starts, steps = torch.randint(16, (64,)), torch.tensor([1, -1]).repeat(32)
    places = (starts[:, None] + steps[:, None] * torch.arange(6)) % 16  # (B, T)
    clips = F.one_hot(places, 16).float()[:, None, :, None].expand(-1, 1, -1, 16, -1)
    config = CNNLSTMConfig(in_channels=1, num_classes=2, widths=(8, 8), hidden=16, dropout=0.0)
    network = CNNLSTM(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        loss = F.cross_entropy(network(clips), (steps > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "one of both"), ({"vocab_size": 5, "in_features": 5}, "one of both"),
        ({"vocab_size": 5, "pooling": "first"}, "pooling"),
        ({"vocab_size": 5, "num_classes": 0}, "at least 1"), ({"vocab_size": 5, "cell": "lsmt"}, "lstm"),
    ],
)  # fmt: skip
def test_wrong_settings_say_how_to_fix(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        RecurrentConfig(**{"num_classes": 2, **settings})


def test_wrong_settings_of_the_others() -> None:
    with pytest.raises(InputError, match="one of both"):
        CNNLSTMConfig(num_classes=2)
    with pytest.raises(InputError, match="halvings"):
        CNNLSTMConfig(num_classes=2, in_features=4, halvings=4)
    with pytest.raises(InputError, match="buckets"):
        BagOfEmbeddingsConfig(vocab_size=5, num_classes=2, buckets=-1)


def test_the_adding_puzzle() -> None:
    frames, sums = adding(2000, 11, torch.Generator().manual_seed(0))
    assert frames.shape == (2000, 11, 2)
    assert (frames[:, :5, 1].sum(1) == 1).all()
    assert (frames[:, 5:, 1].sum(1) == 1).all()
    torch.testing.assert_close((frames[..., 0] * frames[..., 1]).sum(1), sums)
    assert abs(float((sums - 1).square().mean()) - 1 / 6) < 0.01  # the variance of a sum of two numbers in 0..1
    with pytest.raises(InputError, match="2 steps"):
        adding(1, 1, torch.Generator())


def test_the_copy_puzzle() -> None:
    tokens, answers = copying(50, 7, torch.Generator().manual_seed(0), symbols=4, length=3)
    assert tokens.shape == answers.shape == (50, 13)
    assert torch.equal(tokens[:, :3], answers[:, -3:])
    assert set(tokens[:, :3].unique().tolist()) == {2, 3, 4, 5}
    assert (tokens == 1).nonzero()[:, 1].unique().tolist() == [9]
    assert not answers[:, :10].any()
    with pytest.raises(InputError, match="1 or more"):
        copying(1, 0, torch.Generator())


def slopes(cell: str, steps: int) -> Tensor:
    """The gradient norms over time of an untrained adder whose weights torch's rule drew."""
    torch.manual_seed(0)
    network = Adder(cell)
    network.recurrent.fused.reset_parameters()
    if cell == "lstm":  # keeps most of what it has, as after training
        network.recurrent.fused.bias_ih_l0.data[16:32] = 4.0
    frames, sums = adding(8, steps, torch.Generator().manual_seed(1))
    return gradients_over_time(network, (frames,), lambda out: (out - sums.double()).square().sum())[0]


def test_the_gradient_of_an_rnn_vanishes_and_that_of_an_lstm_does_not() -> None:
    rnn, lstm = slopes("rnn", 60), slopes("lstm", 60)
    assert float(rnn[0] / rnn[-1]) < 1e-6
    assert float(lstm[0] / lstm[-1]) > 0.01
    assert all(float(a) < float(b) for a, b in pairwise(rnn[::10]))


def test_the_gradient_of_an_rnn_explodes_with_large_weights() -> None:
    torch.manual_seed(0)
    network = Adder("rnn")
    network.recurrent.fused.weight_hh_l0.data *= 1.5
    network.recurrent.fused.weight_ih_l0.data *= 0.01  # near 0, where tanh has a slope of 1
    frames, sums = adding(8, 30, torch.Generator().manual_seed(1))
    norms = gradients_over_time(network, (0.01 * frames,), lambda out: (out - sums.double()).square().sum())[0]
    assert float(norms[0] / norms[-1]) > 100


@pytest.mark.parametrize("cell", list(CELLS))
def test_gradients_over_time_are_those_of_a_nudged_state(cell: str) -> None:
    """The norm at a step against the loss's finite differences when the state after that step is moved."""
    torch.manual_seed(0)
    network = Recurrent(cell, 3, 4).double()
    x, at = torch.randn(1, 6, 3).double(), 2
    norms = gradients_over_time(network, (x,), lambda out: out[0].square().sum())
    network.requires_grad_(False)
    before, state = network(x[:, : at + 1])

    def loss(moved: tuple[Tensor, ...]) -> float:
        later, _ = network(x[:, at + 1 :], None, moved)
        return float(before[:, :at].square().sum() + moved[0].square().sum() + later.square().sum())

    eps, slope = 1e-6, []
    for place, tensor in enumerate(state):
        for unit in range(4):
            nudge = torch.zeros_like(tensor)
            nudge[..., unit] = eps
            ends = [tuple(t + sign * nudge if p == place else t for p, t in enumerate(state)) for sign in (1, -1)]
            slope.append((loss(ends[0]) - loss(ends[1])) / (2 * eps))
    h = torch.tensor(slope[:4], dtype=torch.float64)
    if cell == "lstm":  # h_t is made of c_t, so c_t's slope has h_t's way in it
        o = CELLS[cell].step(*_inputs(network, x, at)).gates["output"][0]
        c = torch.tensor(slope[4:], dtype=torch.float64) + h * o * (1 - torch.tanh(state[1][0, 0]) ** 2)
        h = torch.cat((h, c))
    torch.testing.assert_close(norms[0, at], h.norm().detach(), rtol=1e-6, atol=1e-8)


def _inputs(network: Recurrent, x: Tensor, at: int) -> tuple[Any, ...]:
    _, state = network(x[:, :at])
    return x[:, at], tuple(tensor[0] for tensor in state), network.weights(0)


def test_gradients_over_time_of_rows_and_directions() -> None:
    torch.manual_seed(0)
    network = RecurrentClassifier(
        RecurrentConfig(vocab_size=9, num_classes=2, hidden=6, layers=2, pooling="last")
    ).eval()
    weights = copy.deepcopy(network.state_dict())
    norms = gradients_over_time(network, (torch.randint(1, 9, (4, 7)), LENGTHS), lambda out: out.square().sum())
    assert norms.shape == (4, 7)  # two layers in two directions
    assert norms.isfinite().all()
    assert (norms > 0).all()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert "forward" not in vars(network.recurrent)
    with pytest.raises(InputError, match="no recurrent layer"):
        gradients_over_time(nn.Linear(2, 2), (torch.ones(1, 2),), lambda out: out.sum())


@pytest.mark.parametrize("cell", list(CELLS))
def test_the_trace_shows_gates_and_agrees_with_the_kernel(cell: str) -> None:
    torch.manual_seed(0)
    network = RecurrentClassifier(RecurrentConfig(vocab_size=9, num_classes=2, cell=cell, hidden=6, dropout=0.0))
    opened = open_iteration(network, (torch.randint(1, 9, (4, 7)), LENGTHS), torch.tensor([0, 1, 1, 0]))
    text = opened.text()
    for gate in CELLS[cell].gates:
        assert f"{gate} = " in text
    assert "step 7 of 7" in text
    assert "recurrent.fused" not in text.partition("Weights that no layer above owns")[2]
    check = next(check for check in opened.checks if "torch's kernel" in check.text)
    assert check.largest_difference < 1e-12
    over_time = next(section for section in opened.sections if "gradient over time" in section.title)
    assert len(over_time.lines) == 7


def test_a_wrong_equation_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    real = CELLS["gru"]

    def wrong(x: Tensor, state: Any, weights: Any) -> Any:
        step = real.step(x, state, weights)
        return replace(step, state=(step.state[0] * 1.001,))

    monkeypatch.setitem(CELLS, "gru", replace(real, step=wrong))
    network = RecurrentClassifier(RecurrentConfig(in_features=3, num_classes=2, cell="gru", hidden=6))
    with pytest.raises(AssertionError, match="differ"):
        open_iteration(network, (torch.randn(4, 5, 3),), torch.tensor([0, 1, 1, 0]))
