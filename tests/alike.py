"""Pictures of three shapes in folders, and runs that learned to tell which are alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import chainrule
from chainrule.index import Block

SHAPES = ("bars", "rings", "spots")


def draw(path: Path, shape: str, seed: int) -> Path:
    """One grey picture, 16 x 16."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    phase = generator.uniform(0, 3)
    wave = {
        "bars": np.sin(1.2 * x + phase),
        "rings": np.sin(1.3 * np.hypot(x - 8, y - 8) + phase),
        "spots": np.sin(x + phase) * np.sin(y + phase),
    }[shape]
    pixels = np.clip(127 + 110 * wave + generator.normal(0, 8, (16, 16)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def draw_shapes(root: Path, each: int = 20) -> Path:
    """Folders of every shape."""
    for number, shape in enumerate(SHAPES):
        for place in range(each):
            draw(root / shape / f"{place:02d}.png", shape, 1000 * number + place)
    return root


def learned(root: Any, out: Path, task: str = "embed", steps: int = 40) -> chainrule.TrainedRun:
    """A run that learned from the shapes for a second or two."""
    small = {"model.widths": (8, 16, 16, 32)} if task == "embed" else {}
    return chainrule.fit(
        root, task=task, model="resnet9" if task == "embed" else "autoencoder", out=out,
        set={"train.steps": steps, "train.precision": "float32", **small},
    )  # fmt: skip


def clusters(count: int, dims: int, block: int = 2048, groups: int = 200) -> Iterator[Block]:
    """Vectors in groups, as embeddings lie, named ``item 0``, ``item 1``, ..., labelled by their group."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((groups, dims), dtype=np.float32)
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        group = generator.integers(0, groups, len(rows))
        noise = generator.standard_normal((len(rows), dims), dtype=np.float32)
        yield Block(
            vectors=centres[group] + 0.3 * noise,
            names=[f"item {row}" for row in rows],
            labels=[f"group {number}" for number in group],
            marks=rows.astype(np.uint64),
        )
