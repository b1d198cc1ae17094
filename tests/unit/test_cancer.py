"""The use case of docs/cancer-detection.md: what is scored, how the threshold is chosen, what is kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import chainrule
from chainrule.evaluate.calibration import choose_threshold
from chainrule.settling import SETTLE


def scans(folder: Path, count: int = 60) -> Path:
    """Noise with a bright ellipse and its mask; every third scan is healthy; three scans of each patient."""
    random = np.random.default_rng(0)
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
    for number in range(count):
        image = Image.fromarray(random.integers(0, 80, (32, 32)).astype(np.uint8))
        mask = Image.new("L", (32, 32))
        if number % 3:
            left, top, size = random.integers(2, 12, 3)
            box = (left, top, left + 8 + size // 2, top + 8 + size // 2)
            ImageDraw.Draw(image).ellipse(box, fill=int(random.integers(150, 220)))
            ImageDraw.Draw(mask).ellipse(box, fill=255)
        name = f"patient{number // 3:02}_{number}.png"
        image.save(folder / "images" / name)
        mask.save(folder / "masks" / name)
    return folder


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> chainrule.TrainedRun:
    folder = tmp_path_factory.mktemp("cancer")
    settings = {"model.widths": (8, 16), "optimizer.learning_rate": 0.01}
    return chainrule.fit(scans(folder / "scans"), epochs=8, set=settings, out=folder / "run")


def test_lesions_are_found_and_healthy_scans_left_alone(lesions: chainrule.TrainedRun) -> None:
    test, bounds = lesions.metrics["test"], lesions.metrics["interval"]
    assert test["dice"] > 0.9
    assert test["found"] == test["clean_kept"] == 1
    assert bounds["found"][0] < 1, "a few scans all found are no certainty"
    assert bounds["clean_kept"][0] < bounds["found"][0], "fewer healthy scans, more doubt"
    assert lesions.metrics["baseline"]["dice"] > 0
    assert lesions.metrics["classes"]["object"]["dice"] == pytest.approx(test["dice"])
    assert lesions.metrics["classes"]["background"]["recall"] > 0.98


def test_scans_of_a_patient_stay_on_one_side(lesions: chainrule.TrainedRun) -> None:
    parts = lesions.prepared().parts
    patients = {name: {record.split("/")[-1][:9] for record in records.ids} for name, records in parts.items()}
    assert not patients["train"] & patients["test"]
    assert not patients["train"] & patients["valid"]
    assert sum(map(len, patients.values())) == 20


def test_the_report_shows_cases_and_classes(lesions: chainrule.TrainedRun) -> None:
    page = (lesions.path / "report.html").read_text()
    for words in ("Worst, middle and best images", "Each class of pixels", "answer, Dice", "clean_kept"):
        assert words in page


@pytest.mark.parametrize("objective", ["balanced_accuracy", "macro_f1"])
def test_the_threshold_comes_from_the_validation_split_alone(objective: str, tmp_path: Path) -> None:
    run = chainrule.fit(
        "breast-cancer", model="mlp", epochs=10, set={"task.threshold": objective, "task.class_weight": "balanced"},
        out=tmp_path / "run",
    )  # fmt: skip
    parts, session = run.prepared().parts, run.session
    valid = session.encode(parts["valid"])
    rows = session.measure(valid)
    expected = choose_threshold(rows["probabilities"], rows["targets"], session.task.positive, objective)  # type: ignore[attr-defined]
    saved = json.loads((run.path / "schema.json").read_text())["target"]["threshold"]
    assert (
        saved
        == pytest.approx(expected)
        == pytest.approx(SETTLE["classify"](session, parts, {"valid": valid})["threshold"])
    )
    assert run.metrics["test"]["sensitivity_at_specificity"] > 0.8
    assert set(run.metrics["interval"]) >= {"roc_auc", "sensitivity_at_specificity"}
