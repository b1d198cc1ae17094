"""Photographs that do not fit into memory: the first read, and an epoch from the store against the same from memory.

    python -m benchmarks.decoding [IMAGES]

JPEGs of 500 x 375 are generated, read as ``fit`` reads them with a small ``data.memory_mb``, and sent through the
smallest network for pictures: a larger one hides more. Stretches of both epochs alternate, so that a slow moment of the
machine touches both.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 64
STRETCHES = 4  # of each epoch
STEPS = 3  # of a stretch


def write(folder: Path, count: int) -> None:
    """Smooth pictures with some noise, in two class folders; about as hard to decode as photographs."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for place in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
        noise = generator.integers(0, 24, (375, 500, 1), dtype=np.uint8)
        picture = np.asarray(coarse) // 2 + noise
        path = folder / "ab"[place % 2] / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)


def read(folder: Path, megabytes: int) -> tuple[Any, Any, float]:
    """Samples and schema, and the seconds it took to decode and encode."""
    from chainrule.data import image
    from chainrule.data.config import DataConfig
    from chainrule.data.sources import open_source

    started = time.perf_counter()
    options = DataConfig(memory_mb=megabytes)
    records = image.read(open_source(folder), options)["all"]
    schema = image.learn_schema(records, options)
    return image.encode(records, schema), schema, time.perf_counter() - started


def main(images: int = 10_000) -> None:
    """Print seconds of the first read and of both epochs."""
    import torch

    from chainrule.data import image
    from chainrule.data.order import order
    from chainrule.data.samples import TensorSamples
    from chainrule.models.resnet_cifar import ResNetCifar, ResNetCifarConfig

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        samples, schema, seconds = read(Path(folder), 1)
    print(f"{images:,} JPEGs of 500 x 375: first read {seconds:.1f} s, {images / seconds:.0f} images/s")
    everything = samples.batch(torch.arange(images))
    sources = {"store": samples, "memory": TensorSamples(everything.inputs, everything.targets, samples.ids)}
    torch.manual_seed(0)
    network = torch.nn.Sequential(ResNetCifar(ResNetCifarConfig(in_channels=schema.channels, num_classes=2)))
    front = image.front(schema, "image")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    batches = order(images, BATCH, seed=0, epoch=0)
    spent = dict.fromkeys(sources, 0.0)
    reading = dict.fromkeys(sources, 0.0)
    for stretch in range(-1, STRETCHES):  # the first warms up
        for name, source in sources.items():
            for step in range(STEPS):
                started = time.perf_counter()
                batch = source.batch(batches[(stretch * STEPS + step) % len(batches)])
                has_read = time.perf_counter()
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(*front(*batch.inputs)), batch.targets).backward()
                optimizer.step()
                if stretch >= 0:
                    spent[name] += time.perf_counter() - started
                    reading[name] += has_read - started
    for name in sources:
        per_batch = spent[name] / (STRETCHES * STEPS)
        share = reading[name] / spent[name]
        print(f"an epoch from {name}: {per_batch * len(batches):.1f} s, of which reading {share:.1%}")
    print(f"store / memory: {spent['store'] / spent['memory']:.3f} (at most 1.2)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
