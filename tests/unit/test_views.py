"""Answers averaged over several views of a sample, and the pictures of what augmentation does."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import chainrule
from chainrule.api import TrainedRun
from chainrule.cli import run as command
from chainrule.data.samples import Batch
from chainrule.errors import InputError
from chainrule.evaluate.sheet import GAP_PX, sheet
from chainrule.evaluate.views import View
from chainrule.reporting import augmented_rows
from chainrule.scoring import measure_views
from chainrule.session import Session
from chainrule.tasks.classify import Classify

SMALL = {"model.hidden": 8, "train.device": "cpu"}


def images(rows: int = 90, channels: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Left or right half brighter, in noise: what mirroring turns round."""
    draws = np.random.default_rng(0)
    right = draws.integers(0, 2, rows)
    X = draws.integers(0, 140, (rows, 8, 8, channels)).astype(np.uint8)
    X[right == 0, :, :4] += 60
    X[right == 1, :, 4:] += 60
    return X, np.array(["left", "right"])[right]


def fitted(out: Path, data: Any = None, **settings: Any) -> TrainedRun:
    changes: Mapping[str, Any] = {name.replace("_", ".", 1): value for name, value in settings.items()}
    return chainrule.fit(images() if data is None else data, model="mlp", epochs=2, out=out, set={**SMALL, **changes})


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return fitted(tmp_path_factory.mktemp("run") / "mirrored", augment_flip="yes")


def probabilities(session: Session, pixels: torch.Tensor) -> torch.Tensor:
    assert isinstance(session.task, Classify)
    session.module.eval()
    with torch.no_grad():
        return session.task.probabilities(session.module, Batch((pixels,), None, torch.arange(len(pixels))))


def test_the_second_view_is_the_mirror_image(mirrored: TrainedRun) -> None:
    session, (X, y) = mirrored.session, images()
    records = session.kind.read_inputs([X], session.schema)
    pixels = torch.from_numpy(X).permute(0, 3, 1, 2)
    expected = (probabilities(session, pixels) + probabilities(session, pixels.flip(-1))) / 2
    found = measure_views(session, session.encode(records), 2)["probabilities"]
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-6)
    plain = mirrored.evaluate((X, y))
    assert plain["metrics"]["accuracy"] != mirrored.evaluate((X, y), views=2)["metrics"]["accuracy"]
    assert plain == mirrored.evaluate((X, y), views=1)


def test_views_are_drawn_by_seed_and_averaged(mirrored: TrainedRun) -> None:
    session, (X, y) = mirrored.session, images()
    samples = session.encode(session.kind.read_inputs([X], session.schema))
    views = [View(samples, session.kind, session.recipe.augment, i, 0, session.arithmetic) for i in (1, 2, 3)]
    seen = [session.measure(view)["probabilities"] for view in [samples, *views]]
    assert not np.array_equal(seen[2], seen[3])
    np.testing.assert_allclose(measure_views(session, samples, 4)["probabilities"], np.mean(seen, 0), rtol=1e-6)
    scores = mirrored.evaluate((X, y), views=4)
    assert scores == mirrored.evaluate((X, y), views=4)
    assert scores["views"] == 4
    low, high = scores["interval"]["nats"]
    assert low <= scores["metrics"]["nats"] <= high


def test_views_are_not_blended_and_made_in_float32(tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", augment_mixup=1.0, augment_rotate=20, augment_shift=0)
    session = run.session
    samples = session.encode(session.kind.read_inputs([images()[0]], session.schema))
    view = View(samples, session.kind, session.recipe.augment, 2, 0, session.arithmetic)
    batch = view.batch(torch.arange(9))
    assert batch.mixed is None
    assert len(view) == 90
    assert view.ids is samples.ids
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(view.batch(torch.arange(9)).inputs[0], batch.inputs[0])


def test_numbers_are_averaged(tmp_path: Path) -> None:
    X, _ = images()
    y = X.mean((1, 2, 3)) + 0.5
    run = fitted(tmp_path / "run", (X, y), augment_flip="yes", augment_shift=0)
    session = run.session
    samples = session.encode(session.kind.read_inputs([X], session.schema))
    view = View(samples, session.kind, session.recipe.augment, 1, 0, session.arithmetic)
    mean = (session.measure(samples)["predictions"] + session.measure(view)["predictions"]) / 2
    np.testing.assert_allclose(measure_views(session, samples, 2)["predictions"], mean)


def test_what_has_no_views_is_refused(mirrored: TrainedRun, tmp_path: Path) -> None:
    data = images()
    for views in (0, -3):
        with pytest.raises(InputError, match="1 or more"):
            mirrored.evaluate(data, views=views)
    gate = chainrule.fit("xor", epochs=1, out=tmp_path / "xor")
    with pytest.raises(InputError, match="gates data has no other view"):
        gate.evaluate(views=2)
    draws = np.random.default_rng(0).normal(size=(60, 3))
    table = chainrule.fit((draws, draws[:, 0] > 0), model="mlp", epochs=1, out=tmp_path / "table")
    with pytest.raises(InputError, match="table data has no other view"):
        table.evaluate((draws, draws[:, 0] > 0), views=2)
    still = fitted(tmp_path / "still", augment_flip="no", augment_shift=0)
    with pytest.raises(InputError, match="trained without augmentation"):
        still.evaluate(data, views=3)
    for run in (gate, table, still):
        assert not (run.path / "samples").exists()
        assert "as the network saw them" not in (run.path / "report.html").read_text()


def test_the_command_says_how_many_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, (pixels, label) in enumerate(zip(*images(60), strict=True)):
        (tmp_path / "halves" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "halves" / label / f"{place}.png")
    out = str(tmp_path / "run")
    words = ["fit", str(tmp_path / "halves"), "--model", "mlp", "--epochs", "1", "--out", out]
    assert command([*words, "--set", "model.hidden=8"]) == 0
    assert f"augmented   {out}/samples/augmented.png" in capsys.readouterr().out
    assert command(["evaluate", out, "--views", "3"]) == 0
    assert capsys.readouterr().out.startswith("9 rows, mean of 3 views\n")
    assert command(["evaluate", out, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["views"] == 1
    assert scores["metrics"] == json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert command(["evaluate", out, "--views", "0"]) == 2


# the page of augmented samples


def test_augmented_samples_are_pictured_with_their_shares(tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", augment_mixup=1.0)
    with Image.open(run.path / "samples" / "augmented.png") as picture:
        assert picture.size == (8 * (96 + GAP_PX) + GAP_PX, 6 * (96 + GAP_PX) + GAP_PX)
    session = run.session
    records = session.kind.read(chainrule.data.sources.open_source(images()), session.recipe.data)["all"]
    rows = augmented_rows(session, records)
    assert [len(row) for row in rows] == [8] * 6
    assert rows[0][0].caption in ("left", "right")
    np.testing.assert_array_equal(rows[0][0].image, images()[0][0])
    share, first, other, second = rows[1][3].caption.replace(",", "").split()
    assert {first, second} <= {"left", "right"}
    assert 99 <= int(share[:-1]) + int(other[:-1]) <= 101
    again = augmented_rows(session, records)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(rows[2], again[2], strict=True))
    page = (run.path / "report.html").read_text()
    assert "Augmented samples, as the network saw them" in page
    assert page.count("<figure>") == 48


def test_a_sheet_keeps_pixels_and_fits_sizes() -> None:
    draws = np.random.default_rng(0)
    small = draws.integers(0, 256, (20, 10, 3), dtype=np.uint8)
    whole = Image.open(io.BytesIO(sheet([[small, np.zeros((400, 300, 3), np.uint8)], [small]])))
    pixels = np.asarray(whole)[GAP_PX : GAP_PX + 100, GAP_PX : GAP_PX + 50]
    np.testing.assert_array_equal(pixels, small.repeat(5, 0).repeat(5, 1))
    assert whole.size == (2 * (144 + GAP_PX) + GAP_PX, 2 * (192 + GAP_PX) + GAP_PX)
    strips = Image.open(io.BytesIO(sheet([[np.zeros((100, 800, 3), np.uint8)] * 8] * 3)))
    assert strips.size == (2 * (640 + GAP_PX) + GAP_PX, 12 * (80 + GAP_PX) + GAP_PX)
