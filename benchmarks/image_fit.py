"""Training ResNet-18 on 32x32 colour images through ``fit``'s own path beside raw torch, images a second.

Ours: recognised, encoded, probed (precision, memory format, threads), then the real loop with front, augmentation,
guard and report. Raw torch: float32 tensors in memory that are normalised already, no augmentation, fused AdamW. Both
take turns of a few steps in one process, so that a slow moment of the machine touches both.
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
from torch import Tensor

from chainrule.fitting import start_training
from chainrule.models.resnet import ResNet, ResNetConfig
from chainrule.train.arithmetic import available_threads

BATCH, ROWS, TURNS, STEPS = 64, 2048, 7, 8


def raw_torch(x: Tensor, y: Tensor) -> Iterator[None]:
    """The loop that everybody writes, on the default memory format."""
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(in_channels=3, num_classes=10, image_size=(32, 32))).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            yield


def timed(steps: Iterator[object], count: int, batch: int = BATCH) -> float:
    """Images a second of the next steps."""
    started = time.perf_counter()
    for _ in range(count):
        next(steps)
    return count * batch / (time.perf_counter() - started)


def main() -> None:
    """Print both rates and their ratio."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, ROWS)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"train.batch_size": BATCH, "train.epochs": 100, "train.eval_every": 10**9}
        training = start_training((images, labels), settings, "resnet18", Path(folder) / "run")
        config = training.recipe.train
        torch.set_num_threads(config.threads or available_threads())
        ours = iter(training)
        plain = raw_torch(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, torch.from_numpy(labels))
        rates: dict[str, list[float]] = {"ours": [], "raw torch": []}
        timed(ours, 3), timed(plain, 3)
        for _ in range(TURNS):
            rates["ours"].append(timed(ours, STEPS))
            rates["raw torch"].append(timed(plain, STEPS))
        training.run.close()
    print(f"fit chose: {config.precision}, channels last {config.channels_last}, {config.threads} threads")
    for name, values in rates.items():
        print(f"{name:10} {statistics.median(values):6.0f} images/s (turns {min(values):.0f} to {max(values):.0f})")
    ratios = [a / b for a, b in zip(rates["ours"], rates["raw torch"], strict=True)]
    print(f"ratio      {statistics.median(ratios):.2f} (turns {min(ratios):.2f} to {max(ratios):.2f}); goal 2.2")


if __name__ == "__main__":
    main()
