"""Classifiers of sequences against torch's own layers: embeddings, packed recurrent layers, pools, convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chainrule.models.bag_of_embeddings import FACTORS, BagOfEmbeddings, BagOfEmbeddingsConfig
from chainrule.models.cnn_lstm import CNNLSTM, CNNLSTMConfig
from chainrule.models.recurrent import POOLINGS, RecurrentClassifier, RecurrentConfig, reference_name
from chainrule.nn.recurrent import FUSED

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64; some dozens of products are summed in another order
LENGTHS = torch.tensor([6, 1, 9, 4])
IDS = torch.tensor([[5, 3, 3, 9, 2, 7, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0, 0],
                    [8, 8, 2, 1, 6, 5, 4, 3, 9], [1, 2, 1, 3, 0, 0, 0, 0, 0]])  # fmt: skip
FRAMES = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(0)).double()


def shaken(network: nn.Module) -> nn.Module:
    """Weights of which none is 0 or 1 by luck, float64, evaluation mode (no dropout)."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network.double().eval()


class Reference(nn.Module):
    """A classifier as torch's users write it, with packed rows."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        size = config.in_features
        if config.vocab_size:
            self.embedding, size = nn.Embedding(config.vocab_size, config.embedding, padding_idx=0), config.embedding
        options = {"proj_size": config.projection} if config.projection else {}
        self.rnn = FUSED[config.cell](
            size, config.hidden, config.layers, batch_first=True, bidirectional=config.bidirectional, **options
        )
        width = (config.projection or config.hidden) * (2 if config.bidirectional else 1)
        if config.pooling == "attention":
            self.attention = nn.ModuleDict({"key": nn.Linear(width, width), "score": nn.Linear(width, 1, bias=False)})
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(x) if x.dtype == torch.int64 else x
        outputs, end = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        h = end[0] if isinstance(end, tuple) else end
        padded, _ = pad_packed_sequence(outputs, batch_first=True)
        rows = [row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)]
        if self.pooling == "last":
            return self.head(torch.cat((h[-2], h[-1]), 1) if self.rnn.bidirectional else h[-1])
        if self.pooling == "attention":
            key, score = self.attention["key"], self.attention["score"]
            return self.head(torch.stack([torch.softmax(score(torch.tanh(key(row))), 0).T @ row for row in rows])[:, 0])
        return self.head(torch.stack([row.mean(0) if self.pooling == "mean" else row.max(0).values for row in rows]))


def gradients(network: nn.Module, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    network.zero_grad()
    logits = network(*inputs)
    F.cross_entropy(logits, torch.arange(len(logits)) % 3).backward()
    return logits.detach(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def assert_equal(ours: nn.Module, theirs: nn.Module, rename: Any, inputs: tuple[Tensor, ...]) -> None:
    ours.load_state_dict({rename(name): tensor for name, tensor in theirs.state_dict().items()}, strict=True)
    a, b = gradients(ours.double().eval(), *inputs), gradients(theirs, *inputs)
    assert float(b[0].std()) > 0.05, "a comparison of nothing"
    torch.testing.assert_close(a[0], b[0], **EXACT)
    torch.testing.assert_close(a[1], {rename(name): grad for name, grad in b[1].items()}, **EXACT)
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (ours, theirs)]
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), **EXACT)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", list(FUSED))
def test_recurrent_classifiers(cell: str, pooling: str, bidirectional: bool) -> None:
    for form, x in (({"vocab_size": 10}, IDS), ({"in_features": 6, "layers": 2}, FRAMES)):
        config = RecurrentConfig(
            **form, num_classes=3, cell=cell, pooling=pooling, embedding=5, hidden=7, bidirectional=bidirectional,
            projection=4 if cell == "lstm" and "layers" in form else 0,
        )  # fmt: skip
        assert_equal(RecurrentClassifier(config), shaken(Reference(config)), reference_name, (x, LENGTHS))


@pytest.mark.parametrize(("mode", "power"), [("mean", 1.0), ("sum", 0.0), ("sum", 0.75)])
def test_a_bag_of_embeddings(mode: str, power: float) -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.EmbeddingBag(10, 5, mode=mode, padding_idx=0)
            self.head = nn.Linear(5, 3)

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            total = self.embedding(ids)
            return self.head(total if mode == "mean" else total / lengths[:, None].to(total.dtype) ** power)

    config = BagOfEmbeddingsConfig(vocab_size=10, num_classes=3, embedding=5, power=power)
    assert_equal(BagOfEmbeddings(config), shaken(Bag()), str, (IDS, LENGTHS))


def test_pairs_of_a_bag() -> None:
    config = BagOfEmbeddingsConfig(vocab_size=10, num_classes=3, embedding=5, buckets=16)
    network = shaken(BagOfEmbeddings(config))
    table = network.embedding.weight
    for row, (ids, length) in enumerate(zip(IDS.tolist(), LENGTHS.tolist(), strict=True)):
        mixed = [a * FACTORS[0] + b * FACTORS[1] for a, b in pairwise(ids[:length])]
        found = ids[:length] + [10 + (one ^ (one >> 17)) % 16 for one in mixed]
        torch.testing.assert_close(network.features(IDS, LENGTHS)[row], table[found].mean(0), **EXACT)


def test_pairs_spread_over_their_buckets() -> None:
    """Of 4,000 different pairs in 200,000 buckets about 40 meet another one; a poor hash brings thousands together."""
    config = BagOfEmbeddingsConfig(vocab_size=1000, num_classes=2, embedding=1, buckets=200_000)
    network = BagOfEmbeddings(config)
    assert not network.embedding.weight[1000:].any()
    seen: list[Tensor] = []
    network.embedding.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    first, second = torch.arange(4000) // 63 + 4, torch.arange(4000) % 63 + 4
    network(torch.stack((first, second), 1))
    assert len(seen[0][:, 2].unique()) > 3900


class ReferenceCNNLSTM(nn.Module):
    """The convolutions and the LSTM written down in a row, one recording or clip at a time."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for place, (a, b) in enumerate(((channels, 4), (4, 5))):
            pool = nn.MaxPool2d((2 if place == 0 or channels > 1 else 1, 2), ceil_mode=True)
            blocks += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), pool]
        self.blocks = nn.Sequential(*blocks)
        self.rnn = nn.LSTM(steps, 7, batch_first=True, bidirectional=True)
        self.head = nn.Linear(14, 3)

    def forward(self, x: Tensor, *lengths: Tensor) -> Tensor:
        rows = [row[:length] for row, length in zip(x, lengths[0].tolist(), strict=True)] if lengths else list(x)
        return torch.cat([self.one(row) for row in rows])

    def one(self, row: Tensor) -> Tensor:
        if row.ndim == 2:  # T F
            steps = self.blocks(row[None, None]).transpose(1, 2).flatten(2)
        else:  # C T H W
            steps = F.adaptive_avg_pool2d(self.blocks(row.transpose(0, 1)), 2).flatten(1)[None]
        return self.head(self.rnn(steps)[0].mean(1))


def cnn_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part != "blocks":
        return name.replace("rnn.", "recurrent.fused.")
    place, _, tensor = rest.partition(".")
    return f"convolutions.{int(place) // 4}.{'conv' if int(place) % 4 == 0 else 'bn'}.{tensor}"


def test_convolutions_and_an_lstm_on_sound() -> None:
    config = CNNLSTMConfig(in_features=6, num_classes=3, widths=(4, 5), halvings=1, hidden=7)
    assert_equal(CNNLSTM(config), shaken(ReferenceCNNLSTM(1, 10)), cnn_name, (FRAMES, LENGTHS))


def test_convolutions_and_an_lstm_on_clips() -> None:
    config = CNNLSTMConfig(in_channels=3, num_classes=3, widths=(4, 5), hidden=7, grid=2)
    clips = torch.randn(4, 3, 5, 16, 18, generator=torch.Generator().manual_seed(1)).double()
    assert_equal(CNNLSTM(config), shaken(ReferenceCNNLSTM(3, 20)), cnn_name, (clips,))
