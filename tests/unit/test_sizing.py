"""The size of a network follows the time there is; what was chosen stands in the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import sizing
from chainrule.models.catalog import CATALOG

SCALES = CATALOG["unet"].scales


def squares() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    masks = np.zeros((20, 32, 32), np.uint8)
    masks[:, 8:20, 8:20] = 1
    return (random.integers(0, 90, masks.shape) + 120 * masks).astype(np.uint8), masks


def fitted(folder: Path, limit: str, **settings: Any) -> tuple[Mapping[str, Any], list[str]]:
    """The model's settings of a run that stops after a step, and what was said."""
    said: list[str] = []
    run = chainrule.fit(
        squares(), task="segment", epochs=20, time_limit=limit, set={"train.steps": 1, **settings}, out=folder,
        tell=said.append,
    )  # fmt: skip
    return run.session.recipe.settings(), said


@pytest.mark.parametrize(("seconds", "expected"), [(1e-5, 64), (1e-2, 32), (10.0, 16)])
def test_the_largest_size_that_fits_is_built(
    seconds: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "step_seconds", lambda session, samples, device: seconds)
    # 14 rows x 20 epochs; four times the work takes 4^0.85 = 3.2 times as long: a hundredth of a second for two rows is
    # 1.4 s in all for the smallest, 4.5 s at width 32 and 9 s at width 48
    settings, said = fitted(tmp_path / "run", "7.5s")
    assert settings["model.widths"][0] == expected
    assert any(f"model.widths={expected}," in line for line in said)


def test_a_size_that_a_person_names_stays(tmp_path: Path) -> None:
    settings, said = fitted(tmp_path / "run", "10s", **{"model.widths": (4, 8)})
    assert settings["model.widths"] == (4, 8)
    assert not any("images a second" in line for line in said)


def test_sizes_rise_and_their_work_with_them(tmp_path: Path) -> None:
    assert [scale["model.widths"][0] for scale in SCALES] == sorted(scale["model.widths"][0] for scale in SCALES)
    settings, said = fitted(tmp_path / "run", "1h", **{"train.batch_size": 2})
    assert settings["model.widths"] in [scale["model.widths"] for scale in SCALES]
    assert sum("images a second here" in line for line in said) == 1


def test_an_encoder_that_a_person_names_keeps_its_usual_decoder(tmp_path: Path) -> None:
    settings, said = fitted(tmp_path / "run", "10s", **{"model.encoder": "resnet18", "model.encoder_width": 4})
    assert settings["model.encoder"] == "resnet18"
    assert settings["model.widths"] == (16, 32, 64, 128, 256)
    assert not any("images a second" in line for line in said)
