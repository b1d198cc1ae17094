"""Short loss curves, one per task: a change of one needs a sentence in the commit that makes it.

``python -m tests.golden.test_losses`` writes the curves of this machine, with its environment, into losses.json.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

STORE = Path(__file__).with_name("losses.json")
SHORT = {"train.epochs": 2, "train.batch_size": 16, "train.threads": 1, "train.precision": "float32"}


OWN: dict[str, dict[str, Any]] = {"segment image": {"model.widths": (4, 8), "data.task": "segment"}}


def sources() -> dict[str, tuple[Any, str]]:
    """A little data for each task and kind, and the network that learns it."""
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 5)).astype(np.float32)
    images = random.integers(0, 255, (60, 12, 12), dtype=np.uint8)
    return {
        "classify table": ((x, (x[:, 0] > 0).astype(int)), "tabm"),
        "regress table": ((x, x @ np.arange(5.0) + 10.5), "tabm"),
        "classify by mlp": ((x, np.digitize(x[:, 0], (-0.5, 0.5))), "mlp"),
        "classify image": ((images, np.arange(60) % 2), "resnet9"),
        "segment image": ((images, (images > 180).astype(np.uint8)), "unet"),
    }


def curve(name: str, folder: Path) -> list[float]:
    """The loss of each step."""
    import chainrule

    data, model = sources()[name]
    losses: list[float] = []
    settings = {**SHORT, **OWN.get(name, {})}
    chainrule.fit(data, model=model, out=folder / "run", set=settings, watch=lambda report: losses.append(report.loss))
    return losses


@pytest.mark.parametrize("name", list(sources()))
def test_the_losses_are_the_stored_ones(name: str, tmp_path: Path) -> None:
    stored = json.loads(STORE.read_text())["curves"][name]
    # float32 kernels of another processor sum in another order; a few steps of Adam let that grow to 1e-3
    assert curve(name, tmp_path) == pytest.approx(stored, rel=2e-3)


def main() -> None:
    """Store the curves of this machine."""
    curves = {}
    for name in sources():
        with tempfile.TemporaryDirectory() as folder:
            curves[name] = [round(loss, 6) for loss in curve(name, Path(folder))]
    environment = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    STORE.write_text(json.dumps({"environment": environment, "curves": curves}, indent=1) + "\n")


if __name__ == "__main__":
    main()
