"""Search and feed with what cannot be searched: other kinds of data, nothing, damaged or stale indexes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.alike import draw, draw_shapes, learned

import chainrule
from chainrule.errors import InputError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", each=12)


@pytest.fixture(scope="module")
def first(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(shapes, tmp_path_factory.mktemp("runs") / "run", steps=4).path


@pytest.fixture
def run(first: Path, tmp_path: Path) -> chainrule.TrainedRun:
    """A copy, to be spoilt."""
    return chainrule.load(shutil.copytree(first, tmp_path / "run"))


def test_inputs_of_another_kind(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    (tmp_path / "a.txt").write_text("a gorgeous film")
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    for name in ("a.wav", "a.txt", "a.png", "empty"):
        with pytest.raises(InputError, match=name):
            run.search(tmp_path / name)
    with pytest.raises(InputError, match=r"'a gorgeous film' is neither .* nor is .* an item of the index, as 'bars/"):
        run.search("a gorgeous film")
    with pytest.raises(InputError, match=r"no\.png.* item of the index"):
        run.feed([tmp_path / "no.png"])


def test_several_inputs_where_one_is_expected(run: chainrule.TrainedRun, shapes: Path) -> None:
    with pytest.raises(InputError, match="holds 36 inputs, expected one"):
        run.search(shapes)


def test_absurd_numbers_and_files(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    for k in (0, -3):
        with pytest.raises(InputError, match=f"-k is a number of items from 1, got {k}"):
            run.search("bars/00.png", k=k)
    with pytest.raises(InputError, match="nothing is liked yet"):
        run.feed([])
    with pytest.raises(InputError, match=r"neither a page of pictures, NAME\.html, nor a table"):
        run.search("bars/00.png", out=tmp_path / "found.pdf")
    with pytest.raises(InputError, match="no place for a file"):
        run.search("bars/00.png", out=tmp_path / "no/page.html")


def test_a_run_without_embeddings(shapes: Path, tmp_path: Path) -> None:
    run = chainrule.fit(shapes, model="mlp", out=tmp_path / "run", set={"train.steps": 2})
    for ask in (lambda: run.search("bars/00.png"), lambda: run.feed(["bars/00.png"]), run.index):
        with pytest.raises(InputError, match="learned to classify, which gives no embeddings"):
            ask()
    assert not (run.path / "index").exists()


def test_nothing_to_index(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        run.index(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere"):
        run.index("nowhere")
    assert len(run.search("bars/00.png", k=3)) == 3  # the old one is whole


def test_data_that_moved_away(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "shapes")
    run = learned(tmp_path / "shapes", tmp_path / "run", steps=4)
    asked = shutil.copy(tmp_path / "shapes/bars/00.png", tmp_path / "asked.png")
    (tmp_path / "shapes").rename(tmp_path / "elsewhere")
    moved = chainrule.load(shutil.move(run.path, tmp_path / "moved"))
    assert len(moved.search(asked, k=5)) == len(moved.search("bars/00.png", k=5)) == 5
    with pytest.raises(InputError, match="shapes"):
        moved.search(asked, k=5, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_data_that_changed_since(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    collection = {"x": np.random.default_rng(0).integers(0, 255, (9, 16, 16), dtype=np.uint8)}
    np.savez(tmp_path / "more.npz", **collection, y=np.arange(9) % 3)
    run.index(tmp_path / "more.npz")
    run.search("image 1", k=2, out=tmp_path / "page.html")
    np.savez(tmp_path / "more.npz", x=collection["x"][:8], y=np.arange(8) % 3)
    with pytest.raises(InputError, match=rf"changed since then; .*: chainrule index {run.path} .*more\.npz"):
        run.search("image 1", k=2, out=tmp_path / "page.html")


def test_a_damaged_index(run: chainrule.TrainedRun, shapes: Path) -> None:
    folder = run.path / "index"
    inside = next(path for path in folder.iterdir() if path.is_dir())
    (inside / "vectors.npy").write_bytes((inside / "vectors.npy").read_bytes()[:-4])
    with pytest.raises(InputError, match=rf"damaged: vectors\.npy .* Build it again with: chainrule index {run.path}"):
        run.search(shapes / "bars/00.png")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        run.search(shapes / "bars/00.png")
    run.index()
    assert len(run.search(shapes / "bars/00.png")) == 10
    (folder / "manifest.json").write_text("{")
    assert len(chainrule.resume(run.path, epochs=3).search(shapes / "bars/00.png")) == 10


def test_a_network_that_gives_no_numbers(run: chainrule.TrainedRun, shapes: Path) -> None:
    for parameter in run.session.module.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"00\.png' has numbers that are not finite"):
        run.search(shapes / "bars/00.png")
    with pytest.raises(InputError, match="numbers that are not finite"):
        run.index()


def test_labels_that_training_did_not_know(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    for place in range(3):
        draw(tmp_path / f"more/squares/{place}.png", "bars", place)
        draw(tmp_path / f"more/rings/{place}.png", "rings", place)
    run.index(tmp_path / "more")
    assert set(run.search("squares/0.png", k=5)["label"]) == {"squares", "rings"}
