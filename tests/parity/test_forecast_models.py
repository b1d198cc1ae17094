"""Networks for series equal the published ones, written plainly: outputs, gradients and a step, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from chainrule.models.dlinear import DLinear, DLinearConfig, moving_average
from chainrule.models.recurrent_forecast import RecurrentForecast, RecurrentForecastConfig
from chainrule.models.tcn import TCN, TCNConfig

EXACT = 1e-10  # float64: a few hundred sums, each off by 1e-16
ROWS, T, H, FEATURES, K, Q = 6, 20, 5, 3, 2, 4


class PlainDLinear(nn.Module):
    """cure-lab/LTSF-Linear, models/DLinear.py, on (B, T, C) as there; C columns that share weights or do not."""

    def __init__(self, columns: int, individual: bool, kernel: int) -> None:
        super().__init__()
        self.columns, self.individual, self.kernel = columns, individual, kernel
        count = columns if individual else 1
        self.seasonal = nn.ModuleList(nn.Linear(T, H * Q) for _ in range(count))
        self.trend = nn.ModuleList(nn.Linear(T, H * Q) for _ in range(count))
        self.known = nn.Linear(K, Q, bias=False)

    def forward(self, x: Tensor, ahead: Tensor) -> Tensor:
        front = x[:, :1].repeat(1, (self.kernel - 1) // 2, 1)
        end = x[:, -1:].repeat(1, (self.kernel - 1) // 2, 1)
        trend = F.avg_pool1d(torch.cat([front, x, end], 1).permute(0, 2, 1), self.kernel, 1).permute(0, 2, 1)
        rest = x - trend
        columns = []
        for c in range(self.columns):
            place = c if self.individual else 0
            columns.append(self.seasonal[place](rest[:, :, c]) + self.trend[place](trend[:, :, c]))
        outputs = torch.stack(columns, 1).reshape(len(x), self.columns, H, Q)
        return outputs + self.known(ahead)


def plain_dlinear_name(name: str) -> list[str]:
    return name.split(".")


@pytest.mark.parametrize("individual", [False, True])
@pytest.mark.parametrize("kernel", [1, 7])
def test_dlinear(individual: bool, kernel: int) -> None:
    torch.manual_seed(1)
    columns = 3
    theirs = PlainDLinear(columns, individual, kernel).double()
    ours = DLinear(DLinearConfig(window=T, horizon=H, columns=columns, known_features=K, num_classes=Q, kernel=kernel,
                                 individual=individual)).double()  # fmt: skip
    state = {"known.weight": theirs.known.weight}
    for part in ("seasonal", "trend"):
        layers = [layer for layer in getattr(theirs, part) if isinstance(layer, nn.Linear)]
        state[f"{part}.weight"] = torch.stack([layer.weight for layer in layers])
        state[f"{part}.bias"] = torch.cat([layer.bias for layer in layers])
    ours.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, strict=True)
    x = torch.randn(2, T, columns, dtype=torch.float64)
    ahead = torch.randn(2, columns, H, K, dtype=torch.float64)
    rows = x.transpose(1, 2).reshape(-1, T, 1)

    def steps(network: nn.Module, run: Callable[[], Tensor]) -> Tensor:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (run() ** 2).sum().backward()
            optimizer.step()
        return run()

    def run_ours() -> Tensor:
        outputs: Tensor = ours(rows, ahead.flatten(0, 1))
        return outputs.unflatten(0, (2, columns))

    torch.testing.assert_close(run_ours(), theirs(x, ahead), rtol=EXACT, atol=EXACT)
    (run_ours() ** 2).sum().backward()
    (theirs(x, ahead) ** 2).sum().backward()
    for part in ("seasonal", "trend"):
        wanted = torch.stack([layer.weight.grad for layer in getattr(theirs, part)])
        torch.testing.assert_close(getattr(ours, part).weight.grad, wanted, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(ours.known.weight.grad, theirs.known.weight.grad, rtol=EXACT, atol=EXACT)  # type: ignore[union-attr]
    after = steps(ours, run_ours)
    torch.testing.assert_close(after, steps(theirs, lambda: theirs(x, ahead)), rtol=1e-8, atol=1e-8)  # grows by steps


def test_the_moving_average_holds_the_ends() -> None:
    x = torch.tensor([[1.0, 2.0, 6.0, 3.0]])
    torch.testing.assert_close(moving_average(x, 3), torch.tensor([[4 / 3, 3.0, 11 / 3, 4.0]]))


class Chomp(nn.Module):
    """locuslab/TCN's Chomp1d."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.size].contiguous()


class PlainBlock(nn.Module):
    """locuslab/TCN's TemporalBlock."""

    def __init__(self, c_in: int, c_out: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        padding = (kernel - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(c_in, c_out, kernel, padding=padding, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(c_out, c_out, kernel, padding=padding, dilation=dilation))
        self.net = nn.Sequential(
            self.conv1, Chomp(padding), nn.ReLU(), nn.Dropout(dropout),
            self.conv2, Chomp(padding), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.shortcut = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.net(x) + self.shortcut(x))


class PlainTCN(nn.Module):
    """Blocks with dilations 1, 2, 4, ..., and a linear layer on the last step."""

    def __init__(self, hidden: int, kernel: int, levels: int, dropout: float) -> None:
        super().__init__()
        widths = [FEATURES] + [hidden] * levels
        self.levels = nn.ModuleList(
            PlainBlock(widths[i], hidden, kernel, 2**i, dropout) for i in range(levels)
        )  # fmt: skip
        self.head = nn.Linear(hidden, H * Q)
        self.known = nn.Linear(K, Q, bias=False)

    def forward(self, seen: Tensor, ahead: Tensor) -> Tensor:
        x = seen.permute(0, 2, 1)
        for level in self.levels:
            x = level(x)
        return self.head(x[:, :, -1]).reshape(len(seen), H, Q) + self.known(ahead)


class PlainRecurrent(nn.Module):
    """A torch recurrent network whose last state is read by a linear layer, or continued step by step."""

    def __init__(self, kind: Any, hidden: int, layers: int, steps: bool, dropout: float) -> None:
        super().__init__()
        self.steps = steps
        self.encoder = kind(FEATURES, hidden, layers, batch_first=True, dropout=dropout)
        if steps:
            self.decoder = kind(1 + K, hidden, layers, batch_first=True, dropout=dropout)
            self.head = nn.Linear(hidden, Q)
        else:
            self.head = nn.Linear(hidden, H * Q)
            self.known = nn.Linear(K, Q, bias=False)

    def forward(self, seen: Tensor, ahead: Tensor) -> Tensor:
        outputs, state = self.encoder(seen)
        if not self.steps:
            return self.head(outputs[:, -1]).reshape(len(seen), H, Q) + self.known(ahead)
        point, found = seen[:, -1, 0], []
        for h in range(H):
            step = torch.cat((point[:, None], ahead[:, h]), 1)
            outputs, state = self.decoder(step[:, None], state)
            found.append(self.head(outputs[:, 0]))
            point = found[-1][:, 0]
        return torch.stack(found, 1)


def compared(ours: nn.Module, theirs: nn.Module, rename: Callable[[str], str]) -> None:
    """Outputs, gradients and two steps with equal weights, in training (equal dropout) and evaluation."""
    ours, theirs = ours.double(), theirs.double()
    weights = {rename(name): tensor.clone() for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict({name: tensor for name, tensor in weights.items() if name in ours.state_dict()}, strict=True)
    generator = torch.Generator().manual_seed(2)
    seen = torch.randn(ROWS, T, FEATURES, dtype=torch.float64, generator=generator)
    ahead = torch.randn(ROWS, H, K, dtype=torch.float64, generator=generator)
    for training in (False, True):
        results = []
        for network in (ours.train(training), theirs.train(training)):
            torch.manual_seed(3)
            network.zero_grad()
            outputs = network(seen, ahead)
            (outputs**2).sum().backward()
            results.append(outputs.detach())
        assert results[0].shape == (ROWS, H, Q)
        torch.testing.assert_close(results[0], results[1], rtol=EXACT, atol=EXACT)
        grads = {rename(name): p.grad for name, p in theirs.named_parameters()}
        own = {name: p.grad for name, p in ours.named_parameters()}
        assert own.keys() == {name for name in grads if name in own}
        for name, grad in own.items():
            torch.testing.assert_close(grad, grads[name], rtol=EXACT, atol=EXACT)
    for network in (ours, theirs):
        torch.optim.SGD(network.parameters(), lr=0.01).step()
    stepped = {rename(name): p for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, stepped[name], rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(("hidden", "levels", "dropout"), [(4, 3, 0.0), (FEATURES, 2, 0.3)])
def test_tcn(hidden: int, levels: int, dropout: float) -> None:
    torch.manual_seed(1)
    theirs = PlainTCN(hidden, 3, levels, dropout)
    config = TCNConfig(window=T, horizon=H, in_features=FEATURES, known_features=K, num_classes=Q, hidden=hidden,
                       levels=levels, dropout=dropout)  # fmt: skip
    compared(TCN(config), theirs, lambda name: name)


def test_the_last_step_of_a_tcn_sees_the_whole_window() -> None:
    config = TCNConfig(window=50, horizon=1, in_features=1, known_features=0, num_classes=1, dropout=0.0)
    network = TCN(config).double().eval()
    seen = torch.randn(1, 50, 1, dtype=torch.float64, requires_grad=True)
    network(seen, torch.zeros(1, 1, 0, dtype=torch.float64)).sum().backward()
    assert seen.grad is not None
    assert 1 + 2 * 2 * (sum(config.dilations)) >= 50
    assert float(seen.grad[0, 5:].abs().min()) > 0 or float((seen.grad[0] != 0).double().mean()) > 0.9


@pytest.mark.parametrize("decoder", ["direct", "steps"])
@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent(cell: str, kind: Any, decoder: str) -> None:
    torch.manual_seed(1)
    theirs = PlainRecurrent(kind, 5, 2, decoder == "steps", 0.0)
    config = RecurrentForecastConfig(horizon=H, in_features=FEATURES, known_features=K, num_classes=Q, cell=cell,
                                     hidden=5, layers=2, decoder=decoder)  # fmt: skip

    def rename(name: str) -> str:
        part, _, rest = name.partition(".")
        return f"{part}.fused.{rest}" if part in ("encoder", "decoder") else name

    compared(RecurrentForecast(config), theirs, rename)
