"""The encoder-decoder equals one written with torch's cells, a sentence and a step at a time: outputs and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.seq2seq import Seq2Seq, Seq2SeqConfig

EXACT = {"atol": 1e-10, "rtol": 1e-10}  # float64: the same sums in another order
CELLS: dict[str, Any] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
KINDS: dict[str, dict[str, Any]] = {
    "luong": {}, "dot": {"attention": "luong_dot"}, "input feeding": {"input_feeding": True},
    "bahdanau": {"attention": "bahdanau"},
}  # fmt: skip
CONFIGS = {
    f"{cell}, {kind}, {layers}": {"cell": cell, "layers": layers, **settings}
    for cell in CELLS for kind, settings in KINDS.items() for layers in (1, 2)
}  # fmt: skip


def build(**settings: Any) -> Seq2Seq:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"source_vocab_size": 11, "vocab_size": 9, "embedding": 4, "hidden": 6, "dropout": 0.0}
    network = Seq2Seq(Seq2SeqConfig(**(sizes | settings))).double()
    with torch.no_grad():
        for parameter in network.parameters():  # none may be zero by chance of its start
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def sentences() -> tuple[Tensor, Tensor, Tensor]:
    source = torch.tensor([[5, 6, 7, 4, 3], [8, 3, 0, 0, 0], [10, 4, 9, 3, 0]])
    return source, torch.tensor([5, 2, 4]), torch.tensor([[2, 4, 5, 6], [2, 7, 0, 0], [2, 8, 8, 4]])


class Plain:
    """The same with cells and loops; its weights are the network's own tensors."""

    def __init__(self, network: Seq2Seq, config: Seq2SeqConfig) -> None:
        self.net, self.config = network, config

    def cell(
        self, stack: nn.Module, x: Tensor, state: tuple[Tensor, ...], layer: int, back: str = ""
    ) -> tuple[Any, ...]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = {name: getattr(stack.fused, f"{name}_l{layer}{back}") for name in names}
        cell = CELLS[self.config.cell](x.shape[0], state[0].shape[0]).double()
        given = state if self.config.cell == "lstm" else state[0]
        after = torch.func.functional_call(cell, weights, (x, given))
        return after if self.config.cell == "lstm" else (after,)

    def encode(self, tokens: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Memory (S D) of one sentence, and the decoder's first state of each layer."""
        half, parts = self.config.hidden // 2, 2 if self.config.cell == "lstm" else 1
        x = list(self.net.source.weight[tokens])
        starts = []
        for layer in range(self.config.layers):
            sides, ends = [], []
            for back in ("", "_reverse"):
                state = tuple(torch.zeros(half, dtype=torch.float64) for _ in range(parts))
                outputs = []
                for moment in reversed(x) if back else x:
                    state = self.cell(self.net.encoder, moment, state, layer, back)
                    outputs.append(state[0])
                sides.append(outputs[::-1] if back else outputs)
                ends.append(state)
            x = [torch.cat(pair) for pair in zip(*sides, strict=True)]
            starts.append(tuple(torch.cat(pair) for pair in zip(*ends, strict=True)))
        return torch.stack(x), starts

    def shares(self, query: Tensor, memory: Tensor) -> Tensor:
        attention: Any = self.net.attention
        if self.config.attention == "luong_dot":
            scores = [query @ one for one in memory]
        elif self.config.attention == "luong":
            scores = [query @ (attention.key.weight @ one) for one in memory]
        else:
            asked = attention.query.weight @ query + attention.query.bias
            scores = [attention.score.weight[0] @ torch.tanh(asked + attention.key.weight @ one) for one in memory]
        return torch.softmax(torch.stack(scores), 0)

    def logits(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(T V) logits and (T S) shares of one sentence without filling."""
        memory, states = self.encode(source)
        fed = torch.zeros(self.config.embedding, dtype=torch.float64)
        rows, looks = [], []
        for token in target:
            embedded = self.net.target.weight[token]
            x = embedded
            if self.config.attention == "bahdanau":
                shares = self.shares(states[-1][0], memory)
                x = torch.cat((embedded, shares @ memory))
            elif self.config.input_feeding:
                x = torch.cat((embedded, fed))
            for layer in range(self.config.layers):
                states[layer] = self.cell(self.net.decoder, x, states[layer], layer)
                x = states[layer][0]
            if self.config.attention == "bahdanau":
                read = torch.cat((x, shares @ memory, embedded))
            else:
                shares = self.shares(x, memory)
                read = torch.cat((shares @ memory, x))
            fed = torch.tanh(self.net.combine.weight @ read + self.net.combine.bias)
            rows.append(self.net.target.weight @ fed + self.net.bias)
            looks.append(shares)
        return torch.stack(rows), torch.stack(looks)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_outputs_and_gradients_equal_the_plain_network(name: str) -> None:
    network = build(**CONFIGS[name])
    config = Seq2SeqConfig(
        **{"source_vocab_size": 11, "vocab_size": 9, "embedding": 4, "hidden": 6, "dropout": 0.0, **CONFIGS[name]}
    )
    source, lengths, target = sentences()
    network.train()
    logits, shares = network.aligned(source, lengths, target)
    ours = torch.autograd.grad(logits[target > 0].square().sum(), list(network.parameters()), allow_unused=True)
    plain, rows = Plain(network, config), []
    for row, length in enumerate(lengths.tolist()):
        found, looked = plain.logits(source[row, :length], target[row][target[row] > 0])
        rows.append(found)
        torch.testing.assert_close(logits[row, : len(found)], found, **EXACT)
        torch.testing.assert_close(shares[row, : len(found), :length], looked, **EXACT)
        assert not shares[row, :, length:].any()
    theirs = torch.autograd.grad(torch.cat(rows).square().sum(), list(network.parameters()), allow_unused=True)
    for (parameter, _), mine, other in zip(network.named_parameters(), ours, theirs, strict=True):
        assert mine is not None, parameter
        if parameter.endswith(("source.weight", "target.weight")):  # the filling's row is kept out of the gradient
            mine, other = mine[1:], other[1:]
        torch.testing.assert_close(mine, other, **EXACT, msg=lambda text, p=parameter: f"{p}: {text}")


@pytest.mark.parametrize("name", list(CONFIGS))
def test_steps_equal_the_whole_sentence(name: str) -> None:
    network = build(**CONFIGS[name]).eval()
    source, lengths, target = sentences()
    with torch.no_grad():
        logits, shares = network.aligned(source, lengths, target)
        state = network.encode(source, lengths)
        for place in range(target.shape[1]):
            log_probs, state, looked = network.step(target[:, place], state)
            torch.testing.assert_close(log_probs, F.log_softmax(logits[:, place], -1), **EXACT)
            torch.testing.assert_close(looked, shares[:, place], **EXACT)


@pytest.mark.parametrize("kind", list(KINDS))
def test_filling_and_later_words_change_nothing(kind: str) -> None:
    network = build(**KINDS[kind]).eval()
    source, lengths, target = sentences()
    with torch.no_grad():
        whole = network(source, lengths, target)
        alone = network(source[1:2, :2], lengths[1:2], target[1:2, :2])
        torch.testing.assert_close(whole[1:2, :2], alone, **EXACT)
        changed = target.clone()
        changed[:, 3] = 5
        torch.testing.assert_close(network(source, lengths, changed)[:, :3], whole[:, :3], rtol=0, atol=0)


def test_an_untrained_network_knows_nothing() -> None:
    """Its loss is near ln V: every word is about as likely as any other."""
    torch.manual_seed(0)
    network = Seq2Seq(Seq2SeqConfig(source_vocab_size=50, vocab_size=400, embedding=32, hidden=32))
    source, target = torch.randint(4, 50, (8, 6)), torch.randint(4, 400, (8, 7))
    with torch.no_grad():
        loss = F.cross_entropy(network(source, torch.full((8,), 6), target).flatten(0, 1), target.flatten())
    assert float(loss) == pytest.approx(torch.tensor(400.0).log().item(), abs=0.3)


def test_sizes_that_make_no_network_are_refused() -> None:
    sizes: dict[str, Any] = {"source_vocab_size": 9, "vocab_size": 9}
    for settings, word in (
        ({"hidden": 7}, "even"), ({"attention": "luogn"}, "luong"), ({"cell": "lstn"}, "lstm"),
        ({"attention": "bahdanau", "input_feeding": True}, "input_feeding"), ({"dropout": 1.0}, "dropout"),
        ({"layers": 0}, "layers"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            Seq2SeqConfig(**sizes, **settings)
