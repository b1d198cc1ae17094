"""Whole runs of networks of windows resume exactly, through ``fit``'s own path.

Patches, their augmentation and their order are functions of (seed, step), and a resumed network has the memory format
that it was trained in.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from chainrule.fitting import Training, resume_training, start_training

SETTINGS = {
    "data.task": "segment", "data.patch": (24, 32), "model.widths": (4, 8), "model.deep_supervision": True,
    "augment.elastic": 3.0, "augment.flip": "both", "train.epochs": 3, "train.batch_size": 6, "train.save_every": 2,
    "train.average": 0.9,
}  # fmt: skip


def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Images larger than a patch along one axis and smaller along the other."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 20, 48), dtype=np.uint8)
    return images, (images > 150).astype(np.uint8)


def stopped(training: Training, after: int) -> None:
    """The first steps of a run, which is then left."""
    with closing(training.run):
        for report in training:
            if report.step == after:
                break


def finished(training: Training, path: Path) -> bytes:
    with closing(training.run):
        for _ in training:
            pass
        training.finish()
    return (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("cut", [1, 4, 5, 11])  # the first step, an epoch's last, the next one's first, near the end
def test_a_stopped_run_ends_with_the_same_bytes(cut: int, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "cut"
    expected = finished(start_training(scenes(), SETTINGS, "unetpp", whole), whole)
    stopped(start_training(scenes(), SETTINGS, "unetpp", broken), cut)
    assert finished(resume_training(broken, scenes(), {}), broken) == expected


@pytest.mark.parametrize("channels_last", ["auto", "on"])
def test_a_classifier_of_images_does_as_well(channels_last: str, tmp_path: Path) -> None:
    images, masks = scenes()
    data, settings = (images, masks[:, 0, 0]), {"train.epochs": 2, "train.batch_size": 6, "train.save_every": 2}
    settings["train.channels_last"] = channels_last
    whole, broken = tmp_path / "whole", tmp_path / "cut"
    expected = finished(start_training(data, settings, "resnet9", whole), whole)
    stopped(start_training(data, settings, "resnet9", broken), 5)
    assert finished(resume_training(broken, data, {}), broken) == expected


@pytest.mark.parametrize("model", ["denoising", "sparse", "vae", "vq_vae"])
def test_autoencoders_do_as_well(model: str, tmp_path: Path) -> None:
    images = scenes()[0]
    settings = {"data.task": "reconstruct", "model.widths": (8,), "train.epochs": 2, "train.batch_size": 6,
                "train.save_every": 2}  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "cut"
    expected = finished(start_training(images, settings, model, whole), whole)
    stopped(start_training(images, settings, model, broken), 5)
    assert finished(resume_training(broken, images, {}), broken) == expected


def test_evaluating_more_often_changes_nothing(tmp_path: Path) -> None:
    weights = []
    for every in (1, 4):
        folder = tmp_path / str(every)
        training = start_training(scenes(), {**SETTINGS, "train.eval_every": every}, "unetpp", folder)
        with closing(training.run):
            for _ in training:
                pass
        weights.append({name: x.numpy().tobytes() for name, x in training.session.module.state_dict().items()})
    assert weights[0] == weights[1]
