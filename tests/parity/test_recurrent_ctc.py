"""The recurrent network for speech against torch's layers over packed rows: outputs and all gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chainrule.models.catalog import CATALOG
from chainrule.models.recurrent_ctc import RecurrentCTC, RecurrentCTCConfig, reference_name

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}  # sums in another order
CASES = [("lstm", 2, 2), ("gru", 1, 1), ("rnn", 4, 2), ("lstm", 4, 1)]  # cell, subsample, layers


class Plain(nn.Module):
    """The same from torch's own layers."""

    def __init__(self, cell: str, subsample: int, layers: int) -> None:
        super().__init__()
        strides = {1: [1], 2: [2], 4: [2, 2]}[subsample]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(7 if place == 0 else 6, 6, 5, stride, padding=2) for place, stride in enumerate(strides)
        )
        self.norm = nn.LayerNorm(6)
        build: Any = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.recurrent = build(6, 5, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, frames: Tensor, lengths: list[int]) -> list[Tensor]:
        """Logits of each row, alone."""
        rows = []
        for row, length in zip(frames, lengths, strict=True):
            x = row[None, :length].mT
            for convolution in self.convolutions:
                x = convolution(x).relu()
            packed = pack_padded_sequence(self.norm(x.mT), torch.tensor([x.shape[-1]]), batch_first=True)
            rows.append(self.head(pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0])[0])
        return rows


def pair(cell: str, subsample: int, layers: int, dtype: torch.dtype) -> tuple[RecurrentCTC, Plain]:
    torch.manual_seed(0)
    plain = Plain(cell, subsample, layers).to(dtype)
    config = RecurrentCTCConfig(
        in_features=7, num_classes=4, cell=cell, subsample=subsample, channels=6, hidden=5, layers=layers, dropout=0.0
    )
    ours = RecurrentCTC(config).to(dtype)
    ours.load_state_dict({reference_name(name): tensor for name, tensor in plain.state_dict().items()}, strict=True)
    return ours, plain


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("cell", "subsample", "layers"), CASES)
def test_equals_torchs_layers_row_by_row(cell: str, subsample: int, layers: int, dtype: torch.dtype) -> None:
    ours, plain = pair(cell, subsample, layers, dtype)
    frames = torch.randn(4, 19, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    lengths = [19, 1, 8, 13]
    logits, left = ours(frames, torch.tensor(lengths))
    wanted = plain(frames, lengths)
    assert left.tolist() == [len(row) for row in wanted]
    tolerance = TOLERANCES[dtype]
    for row, expected in enumerate(wanted):
        torch.testing.assert_close(logits[row, : len(expected)], expected, rtol=tolerance, atol=tolerance)
    sum(row.square().sum() for row in wanted).backward()
    sum((logits[row, :length] ** 2).sum() for row, length in enumerate(left.tolist())).backward()
    known = dict(ours.named_parameters())
    for name, parameter in plain.named_parameters():
        gradient = known[reference_name(name)].grad
        torch.testing.assert_close(gradient, parameter.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_what_stands_beyond_a_rows_frames_changes_nothing(cell: str) -> None:
    ours, _ = pair(cell, 2, 2, torch.float64)
    frames = torch.randn(3, 12, 7, dtype=torch.float64)
    lengths = torch.tensor([12, 5, 9])
    changed = frames.clone()
    for row, length in enumerate(lengths.tolist()):
        changed[row, length:] = 99.0
    (first, left), (second, _) = ours(frames, lengths), ours(changed, lengths)
    for row, length in enumerate(left.tolist()):
        assert torch.equal(first[row, :length], second[row, :length])


@pytest.mark.parametrize("name", ["rnn_ctc", "gru_ctc", "lstm_ctc"])
def test_the_catalogs_entries_build_and_every_weight_has_a_gradient(name: str) -> None:
    entry = CATALOG[name]
    config = entry.config(**entry.settings, in_features=8, num_classes=5, channels=12, hidden=10)
    network = entry.build(config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, lengths = network(torch.randn(3, 20, 8), torch.tensor([20, 3, 11]))
    assert logits.shape == (3, 10, 5)
    assert lengths.tolist() == [10, 2, 6]
    logits.float().square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
