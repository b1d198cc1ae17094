"""Training an LSTM of 2 layers of 128 on series of 96 steps through ``fit``'s own path beside raw torch, rows a second.

Ours: a CSV that is recognised, cut into windows, probed, then the real loop with front, guard and report. Raw torch:
windows in memory that are standardised already, ``nn.LSTM`` and a linear layer, Adam, float32. Both take turns of a few
steps in one process, so that a slow moment of the machine touches both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.fitting import start_training
from chainrule.train.arithmetic import available_threads

BATCH, STEPS_BACK, HIDDEN, LAYERS, HORIZON, MOMENTS = 64, 96, 128, 2, 24, 8_000
TURNS, STEPS = 9, 20


class Plain(nn.Module):
    """The network that everybody writes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN, LAYERS, batch_first=True)
        self.head = nn.Linear(HIDDEN, HORIZON)

    def forward(self, x: Tensor) -> Tensor:
        """(B T 1) -> (B horizon)."""
        return self.head(self.lstm(x)[0][:, -1])


def raw_torch(series: Tensor) -> Iterator[None]:
    """The loop that everybody writes, over windows that lie in memory."""
    torch.manual_seed(0)
    windows = series.unfold(0, STEPS_BACK + HORIZON, 1).contiguous()
    x, y = windows[:, :STEPS_BACK, None].contiguous(), windows[:, STEPS_BACK:].contiguous()
    network = Plain()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.mse_loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
            yield


def timed(steps: Iterator[object], count: int) -> float:
    """Rows a second of the next steps."""
    started = time.perf_counter()
    for _ in range(count):
        next(steps)
    return count * BATCH / (time.perf_counter() - started)


def write_series(path: Path) -> Tensor:
    """Hours of a daily rhythm with noise as a CSV; gives the values in standard units."""
    rng = np.random.default_rng(0)
    hours = np.arange(MOMENTS)
    values = np.sin(2 * np.pi * hours / 24) + 0.3 * rng.standard_normal(MOMENTS)
    times = (np.datetime64("2020-01-01T00", "h") + hours).astype("datetime64[m]")
    path.write_text("time,value\n" + "\n".join(f"{t},{v:.5f}" for t, v in zip(times, values, strict=True)))
    return torch.from_numpy((values - values.mean()) / values.std()).float()


def main() -> None:
    """Print both rates and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        series = write_series(Path(folder) / "hours.csv")
        settings = {
            "data.horizon": HORIZON, "data.window": STEPS_BACK, "train.batch_size": BATCH, "train.epochs": 1000,
            "train.eval_every": 10**9, "train.save_every": 10**9, "model.hidden": HIDDEN, "model.layers": LAYERS,
        }  # fmt: skip
        training = start_training(Path(folder) / "hours.csv", settings, "lstm", Path(folder) / "run")
        config = training.recipe.train
        ours, plain = iter(training), raw_torch(series)
        rates: dict[str, list[float]] = {"ours": [], "raw torch": []}
        for _ in range(TURNS):
            for name, steps, threads in (("ours", ours, config.threads), ("raw torch", plain, available_threads())):
                torch.set_num_threads(threads or available_threads())
                timed(steps, 2)
                rates[name].append(timed(steps, STEPS))
        training.run.close()
    print(f"fit chose: {config.precision}, {config.threads} threads")
    for name, values in rates.items():
        print(f"{name:10} {statistics.median(values):6.0f} rows/s (turns {min(values):.0f} to {max(values):.0f})")
    ratios = [a / b for a, b in zip(rates["ours"], rates["raw torch"], strict=True)]
    print(f"ratio      {statistics.median(ratios):.2f} (turns {min(ratios):.2f} to {max(ratios):.2f}); goal 1.0")


if __name__ == "__main__":
    main()
