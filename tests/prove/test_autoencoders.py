"""Autoencoders on real data through ``fit`` itself; ``make prove`` prints the rows of docs/results.md.

Needs CHAINRULE_DATA. Each test asserts the goal that the project set itself.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.prove.record import record

import chainrule
from chainrule.drawing import built_again
from chainrule.trained import TrainedRun

JUDGES: dict[str, dict[str, object]] = {  # resnet9 looks at texture, which such codes leave out: told, not asserted
    "mlp": {"model.hidden": 512, "train.epochs": 10, "augment.flip": "no", "augment.shift": 0},
    "resnet9": {"train.epochs": 3},
}
pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def rebuilt(run: TrainedRun, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images as an autoencoder builds them again."""
    session = run.session
    records = session.kind.read_inputs([images], session.schema)
    _, built = built_again(session, session.encode(records))
    return (255 * built[:, 0]).round().astype(np.uint8)


def test_fashion_mnist_in_sixteen_numbers(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "fashion_mnist"
    run = chainrule.fit(source, task="reconstruct", model="vae", time_limit="10m", out=tmp_path / "vae")
    test, (low, high) = run.metrics["test"], run.metrics["interval"]["nats"]
    seconds = run.metrics["seconds"]["train"]
    record(
        "Fashion-MNIST, a VAE of 16 latents, negative elbo",
        f"{test['nats']:.2f} nats an image (95 % between {low:.2f} and {high:.2f}), {test['reconstruction_nats']:.2f} "
        f"of them for pixels, {test['kl_nats']:.2f} for codes; {seconds:.0f} s of training",
    )
    assert run.session.module.network.network.code_size == 16
    assert test["nats"] <= 245

    with gzip.open(source / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(source / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    again, kept = rebuilt(run, images), {}
    for name, settings in JUDGES.items():
        judge = chainrule.fit(source, model=name, set=settings, out=tmp_path / name)
        original, kept[name] = (
            float((judge.predict(seen)["prediction"].cast(int).to_numpy() == labels).mean()) for seen in (images, again)
        )
        record(
            f"Fashion-MNIST, {name} trained on originals, accuracy on images built from 16 numbers",
            f"{kept[name]:.4f}; on the images themselves {original:.4f}",
        )
        assert original >= 0.88
    assert kept["mlp"] >= 0.80
