"""Training a U-Net on 256x256 images through ``fit``'s own path beside raw torch on the same network, images a second.

Ours: recognised, encoded, probed (precision, memory format, threads, compilation), then the real loop with front,
augmentation, guard and report. Raw torch: float32 tensors that are normalised already, no augmentation, the same loss
written with torch alone, fused AdamW. Both take turns in one process, so that a slow moment touches both.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.image_fit import timed
from chainrule.fitting import start_training
from chainrule.models.catalog import CATALOG
from chainrule.train.arithmetic import available_threads

BATCH, SIDE, ROWS, TURNS, STEPS = 8, 256, 64, 5, 2
KINDS = {
    "plain, widths from 32": {"model.widths": (32, 64, 128, 256, 512)},
    "resnet18 encoder": {"model.encoder": "resnet18"},
}


def raw_torch(x: Tensor, y: Tensor, settings: dict[str, object]) -> Iterator[None]:
    """The loop that everybody writes, on the default memory format."""
    torch.manual_seed(0)
    entry, sizes = CATALOG["unet"], {name.removeprefix("model."): value for name, value in settings.items()}
    network = entry.build(entry.config(in_channels=3, num_classes=2, **sizes)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            logits, targets = network(x[rows]), y[rows]
            share, wanted = logits.softmax(1)[:, 1], (targets == 1).float()
            sums = (share + wanted).sum((1, 2))
            dice = (2 * (share * wanted).sum((1, 2)) + 1) / (sums + 1)
            optimizer.zero_grad()
            (F.cross_entropy(logits, targets) + 1 - dice.mean()).backward()
            optimizer.step()
            yield


def main() -> None:
    """Print both rates and their ratio for each network."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    masks = (images[..., 0] > 200).astype(np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
    for name, settings in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            more = {"train.batch_size": BATCH, "train.epochs": 300, "train.eval_every": 10**9}
            training = start_training((images, masks), {**settings, **more, "data.task": "segment"}, None, Path(folder))
            config = training.recipe.train
            torch.set_num_threads(config.threads or available_threads())
            ours, plain = iter(training), raw_torch(x, torch.from_numpy(masks).long(), dict(settings))
            rates: dict[str, list[float]] = {"ours": [], "raw torch": []}
            timed(ours, 2, BATCH), timed(plain, 1, BATCH)
            for _ in range(TURNS):
                rates["ours"].append(timed(ours, STEPS, BATCH))
                rates["raw torch"].append(timed(plain, STEPS, BATCH))
            training.run.close()
        print(f"{name}: fit chose {config.precision}, channels last {config.channels_last}, compile {config.compile}")
        for side, values in rates.items():
            print(
                f"  {side:10} {statistics.median(values):6.2f} images/s (turns {min(values):.2f} to {max(values):.2f})"
            )
        ratios = [a / b for a, b in zip(rates["ours"], rates["raw torch"], strict=True)]
        print(
            f"  ratio      {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); goal 2.5",
            flush=True,
        )


if __name__ == "__main__":
    main()
