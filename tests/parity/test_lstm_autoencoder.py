"""The LSTM autoencoder equals torch.nn layers, row by row on reversed rows: outputs and gradients, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.lstm_autoencoder import (
    BEGIN,
    PAD,
    SURE,
    LSTMAutoencoder,
    LSTMAutoencoderConfig,
    reversed_within,
)

EXACT = 1e-10  # float64: a few hundred sums, each off by 1e-16
NEAR = 1e-5  # float32
WINDOWS = LSTMAutoencoderConfig(shape=(9, 3), code=4, hidden=6)
TOKENS = LSTMAutoencoderConfig(vocab_size=11, steps=7, code=4, hidden=6, embedding=5)


class Plain(nn.Module):
    """Each row by itself at its own length: read forwards, written from its last step to its first."""

    def __init__(self, config: LSTMAutoencoderConfig) -> None:
        super().__init__()
        features = config.embedding if config.vocab_size else 2 * config.shape[1]
        self.embedding = nn.Embedding(config.vocab_size, config.embedding) if config.vocab_size else None
        self.encoder = nn.LSTM(features, config.hidden, config.layers, batch_first=True)
        self.code = nn.Linear(config.hidden, config.code)
        self.start = nn.Linear(config.code, 2 * config.layers * config.hidden)
        self.decoder = nn.LSTM(config.code, config.hidden, config.layers, batch_first=True)
        self.head = nn.Linear(config.hidden, config.vocab_size or config.shape[1])

    def row(self, read: Tensor) -> Tensor:
        """(T, outputs) of one row (T, features)."""
        _, (h, _) = self.encoder(read[None])
        code = self.code(h[-1])
        h, c = (part.view(self.decoder.num_layers, 1, -1) for part in self.start(code)[0].chunk(2))
        written, _ = self.decoder(torch.stack([code] * len(read), 1), (h.tanh(), c))
        return self.head(written)[0].flip(0)

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        if self.embedding is None:
            return [self.row(row) for row in torch.cat(inputs, -1)]
        return [self.row(self.embedding(row[:end])) for row, end in zip(*inputs, strict=True)]


def named(name: str) -> str:
    return name.replace("encoder.", "encoder.fused.").replace("decoder.", "decoder.fused.")


def inputs(config: LSTMAutoencoderConfig, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if config.vocab_size:
        lengths = torch.tensor([7, 1, 4, 6])
        ids = torch.randint(3, 11, (4, 7), generator=generator)
        return ids * (torch.arange(7) < lengths[:, None]), lengths
    values = torch.randn(4, *config.shape, generator=generator, dtype=dtype)
    return values, (torch.rand(4, *config.shape, generator=generator) < 0.8).to(dtype)


def pair(config: LSTMAutoencoderConfig, dtype: torch.dtype = torch.float64) -> tuple[Plain, LSTMAutoencoder]:
    torch.manual_seed(0)
    theirs, ours = Plain(config).to(dtype), LSTMAutoencoder(config).to(dtype)
    ours.load_state_dict({named(name): tensor for name, tensor in theirs.state_dict().items()}, strict=True)
    return theirs, ours


@pytest.mark.parametrize("config", [WINDOWS, TOKENS], ids=["windows", "tokens"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, EXACT), (torch.float32, NEAR)])
def test_equals_torch(
    config: LSTMAutoencoderConfig, layers: int, training: bool, dtype: torch.dtype, near: float
) -> None:
    config = replace(config, layers=layers)
    theirs, ours = pair(config, dtype)
    batch = inputs(config, dtype)
    expected, found = theirs.train(training)(*batch), ours.train(training)(*batch)
    for row, outputs in enumerate(expected):
        torch.testing.assert_close(found[row, : len(outputs)], outputs, rtol=near, atol=near)
    sum((outputs**2).sum() for outputs in expected).backward()  # type: ignore[union-attr]
    sum((found[row, : len(outputs)] ** 2).sum() for row, outputs in enumerate(expected)).backward()  # type: ignore[union-attr]
    gradients = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        grad = gradients[named(name)].grad
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(grad, parameter.grad, rtol=100 * near, atol=100 * near)


@pytest.mark.parametrize("config", [WINDOWS, TOKENS], ids=["windows", "tokens"])
def test_the_code_is_all_that_the_decoder_knows(config: LSTMAutoencoderConfig) -> None:
    network = pair(config)[1].eval()
    batch = inputs(config)
    code = network.encode(*batch)
    built, paid = network.coded(batch)
    assert code.shape == (4, network.code_size)
    assert paid.shape == (4, 0)
    if config.shape:
        torch.testing.assert_close(network.decode(code), built, rtol=EXACT, atol=EXACT)
    other = (batch[0].flip(1), *batch[1:]) if config.shape else (torch.full_like(batch[0], 5), batch[1])
    assert not torch.allclose(network.encode(*other)[0], code[0])


def test_padding_changes_nothing() -> None:
    network = pair(TOKENS)[1].eval()
    ids, lengths = inputs(TOKENS)
    longer = torch.cat((ids, torch.full((4, 3), PAD)), 1)
    torch.testing.assert_close(network.encode(longer, lengths), network.encode(ids, lengths), rtol=EXACT, atol=EXACT)
    few = ids[2:3, : int(lengths[2])]
    alone = network(few, lengths[2:3])
    torch.testing.assert_close(network(ids, lengths)[2:3, : int(lengths[2])], alone, rtol=EXACT, atol=EXACT)


def test_a_row_of_tokens_written_from_its_code_ends_at_its_begin() -> None:
    network = pair(TOKENS)[1].eval()
    backwards = torch.zeros(3, 7, 11, dtype=torch.float64)
    said = torch.tensor([[5, 6, BEGIN, 9, 9, 9, 9], [BEGIN, 4, 4, 4, 4, 4, 4], [5, 6, 7, 8, 9, 4, 3]])
    backwards.scatter_(2, said[..., None], 9.0)
    network._written = lambda code, steps: backwards  # type: ignore[method-assign]
    outputs = network.decode(torch.zeros(3, 4, dtype=torch.float64))
    assert outputs.argmax(-1).tolist() == [
        [BEGIN, 6, 5, *[PAD] * 4],
        [BEGIN, *[PAD] * 6],
        [3, 4, 9, 8, 7, 6, 5],
    ]
    assert float(outputs[0, 3, PAD]) == SURE


def test_reversing_twice_changes_nothing() -> None:
    x, lengths = torch.randn(4, 7, 2), torch.tensor([7, 1, 4, 6])
    assert torch.equal(reversed_within(reversed_within(x, lengths), lengths), x)
    assert torch.equal(reversed_within(x, lengths)[2, :4], x[2, :4].flip(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"shape": (9,)}, {"shape": (9, 3), "vocab_size": 11, "steps": 7}, {"vocab_size": 11}, {"shape": (9, 0)},
        {"shape": (9, 3), "code": -1}, {"shape": (9, 3), "dropout": 1.0},
    ],
)  # fmt: skip
def test_sizes_that_make_no_network_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="model"):
        LSTMAutoencoderConfig(**wrong)  # type: ignore[arg-type]
    assert WINDOWS.code_size == 4


def test_a_usual_code_is_shorter_than_what_it_stands_for() -> None:
    sizes = [LSTMAutoencoderConfig(shape=shape).code_size for shape in ((48, 1), (24, 20), (2, 1))]
    assert sizes == [12, 32, 1]
    assert LSTMAutoencoderConfig(vocab_size=11, steps=7).code_size == 32


def test_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = LSTMAutoencoder(replace(WINDOWS, code=16, hidden=32))
    values = torch.randn(4, 9, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(400):
        loss = (network(values, torch.ones_like(values)) - values).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
