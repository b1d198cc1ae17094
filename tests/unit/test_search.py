"""Look-alikes of a run: what is found, what is left out, a feed by turns, an index that follows the weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal
from tests.alike import SHAPES, draw, draw_shapes, learned
from tests.sentences import reviews

import chainrule
from chainrule.errors import InputError
from chainrule.index import VectorIndex
from chainrule.indexing import marks_of
from chainrule.searching import in_turn


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def embedded(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> chainrule.TrainedRun:
    return learned(shapes, tmp_path_factory.mktemp("runs") / "embedded")


@pytest.fixture(scope="module")
def coded(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> chainrule.TrainedRun:
    return learned(shapes, tmp_path_factory.mktemp("runs") / "coded", "reconstruct", 60)


def test_look_alikes_of_a_new_picture(embedded: chainrule.TrainedRun, tmp_path: Path) -> None:
    assert (embedded.path / "index/manifest.json").is_file()  # a run that learned places ends with its index
    for number, shape in enumerate(SHAPES):
        found = embedded.search(draw(tmp_path / "new.png", shape, 90 + number), k=7)
        assert found.columns == ["id", "likeness", "label"]
        assert found["label"].to_list() == [shape] * 7
        assert found["likeness"].is_sorted(descending=True)
        assert found["likeness"].is_between(0.5, 1).all()
    assert not embedded.notes


def test_codes_of_an_autoencoder_are_compared_by_distance(coded: chainrule.TrainedRun, shapes: Path) -> None:
    found = coded.search(shapes / "rings/03.png", k=5)
    index = coded.index()
    samples = coded.session.encode(coded.opened.inputs([shapes / "rings/03.png", *(shapes / i for i in found["id"])]))
    codes = coded.session.embed(samples)
    far = np.linalg.norm(codes[1:] - codes[0], axis=1)
    np.testing.assert_allclose(found["likeness"], 1 / (1 + far), atol=2e-6)
    every = np.linalg.norm(index.vectors - codes[0], axis=1)
    assert far[-1] == pytest.approx(np.sort(every)[5], rel=1e-4)  # the picture itself comes first of all
    assert index.manifest.metric == "euclidean"


def test_the_picture_itself_is_left_out_however_it_is_called(
    embedded: chainrule.TrainedRun, shapes: Path, tmp_path: Path
) -> None:
    by_path = embedded.search(shapes / "spots/05.png", k=59)
    assert not embedded.notes
    assert "spots/05.png" not in by_path["id"].to_list()
    by_name = embedded.search("spots/05.png", k=59)
    assert_frame_equal(by_name, by_path, abs_tol=1e-5)
    with Image.open(shapes / "spots/05.png") as picture:
        picture.save(tmp_path / "copy.bmp")  # other bytes, the same pixels
    copied = embedded.search(tmp_path / "copy.bmp", k=59)
    assert_frame_equal(copied, by_path)
    assert embedded.notes == [f"{tmp_path / 'copy.bmp'} is in the index as spots/05.png, and left out"]
    assert len(embedded.search("spots/05.png", k=100)) == 59
    assert embedded.notes == ["100 were asked for; 59 are all there are"]


def test_pixels_in_memory_can_be_asked_for(embedded: chainrule.TrainedRun, shapes: Path) -> None:
    pixels = np.asarray(Image.open(shapes / "bars/00.png"))[None]
    assert_frame_equal(embedded.search(pixels, k=5), embedded.search(shapes / "bars/00.png", k=5))


def test_a_feed_shows_the_likes_of_each_in_turn(embedded: chainrule.TrainedRun, shapes: Path) -> None:
    liked = [shapes / "rings/03.png", "bars/01.png", shapes / "rings/04.png"]
    found = embedded.feed(liked, k=12)
    assert found["liked"].to_list() == [str(one) for one in liked] * 4
    assert found["label"].to_list() == ["rings", "bars", "rings"] * 4
    assert found["id"].is_unique().all()
    assert not {"rings/03.png", "bars/01.png", "rings/04.png"} & set(found["id"])
    alone = embedded.search("bars/01.png", k=4)
    assert found.filter(pl.col("liked") == "bars/01.png")["id"].to_list() == alone["id"].to_list()
    every = embedded.feed(liked, k=100)
    assert len(every) == every["id"].n_unique() == 57


def test_a_feed_shows_no_copies(embedded: chainrule.TrainedRun, shapes: Path, tmp_path: Path) -> None:
    run = chainrule.load(shutil.copytree(embedded.path, tmp_path / "run"))
    (tmp_path / "many").mkdir()
    for number in range(25):  # the nearest are all the same picture
        shutil.copy(shapes / "rings/07.png", tmp_path / f"many/{number}.png")
    run.index([shapes, tmp_path / "many"])
    pixels = np.array(Image.open(shapes / "rings/07.png"))
    pixels[0, 0] ^= 1
    assert len({Path(name).parent for name in run.search(pixels[None], k=26)["id"]}) == 2
    found = run.feed([pixels[None]], k=5)
    names = [Path(name) for name in found["id"]]
    copies = [name for name in names if name == Path("rings/07.png") or not name.parent.name]
    assert (len(names), len(copies)) == (5, 1)


def test_marks_do_not_depend_on_the_rows_beside(tmp_path: Path) -> None:
    texts, labels = reviews(40)
    frame = pl.DataFrame({"text": texts, "label": labels})
    run = chainrule.fit(
        frame, task="embed", out=tmp_path / "run",
        set={"data.kind": "text", "train.steps": 1, "train.batch_size": 8, "data.target": "label"},
    )  # fmt: skip
    lines = ["a film", "a lovely film with a plot", "the dull end of this song", "a lovely film with a"]
    together = run.session.encode(run.opened.inputs(lines))
    alone = [marks_of(run.session.encode(run.opened.inputs([line])))[0] for line in lines]
    assert marks_of(together).tolist() == alone
    assert len(set(alone)) == 4
    assert run.search(texts[5], k=39).height == 39
    assert "left out" in run.notes[0]


def test_a_row_of_a_table_is_known_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {name: generator.normal(size=50) for name in "abc"}
    frame = pl.DataFrame({**columns, "sort": generator.choice(["x", "y", "z"], 50)})
    frame.write_csv(tmp_path / "rows.csv")
    frame[[7]].write_csv(tmp_path / "one.csv")
    run = chainrule.fit(
        tmp_path / "rows.csv", task="reconstruct", model="autoencoder", out=tmp_path / "run", set={"train.steps": 5}
    )
    found = run.search(tmp_path / "one.csv", k=50)
    assert len(found) == 49
    assert found["likeness"].max() < 1


def test_turns_end_when_nothing_is_left() -> None:
    one, other = (np.array([3, 0, 1]), np.zeros(3)), (np.array([3, 1, 2]), np.zeros(3))
    marks = np.array([9, 8, 8, 7], dtype=np.uint64)
    assert list(in_turn([one, other], marks, np.array([0]))) == [(0, 0), (1, 1)]


def test_other_weights_make_another_index(shapes: Path, tmp_path: Path) -> None:
    run = learned(shapes, tmp_path / "run", "reconstruct", 4)
    assert len(run.search("rings/00.png")) == 10
    assert run.notes == [f"the index was made: there was none; 60 items in {run.path / 'index'}"]
    run.search("rings/00.png")
    assert not run.notes
    before = run.index().manifest
    other = chainrule.resume(run.path, epochs=20)
    assert other.search("rings/00.png", k=60)["likeness"].is_between(0, 1).all()
    assert other.notes[0].startswith("the index was made: the weights changed; 60 items")
    assert other.index().manifest.weights != before.weights
    other.index(shapes / "rings")
    assert other.search(shapes / "bars/00.png", k=50).height == 20
    again = chainrule.resume(run.path, epochs=40)
    with pytest.raises(InputError, match=rf"made by other weights .*: chainrule index {run.path} {shapes / 'rings'}"):
        again.search(shapes / "bars/00.png")


def test_a_finished_run_keeps_an_index_of_another_collection(shapes: Path, tmp_path: Path) -> None:
    run = learned(shapes, tmp_path / "run", steps=4)
    run.index(shapes / "rings")
    chainrule.resume(run.path, epochs=4)
    assert VectorIndex.open(run.path / "index").manifest.sources == [str(shapes / "rings")]
    assert len(run.index()) == 60
    chainrule.resume(run.path, epochs=5)
    assert VectorIndex.open(run.path / "index").manifest.sources == []


def test_folds_have_no_index(shapes: Path, tmp_path: Path) -> None:
    run = chainrule.fit(
        shapes, task="embed", model="resnet9", out=tmp_path / "run", folds=2,
        set={"train.steps": 2, "model.widths": (4, 4, 4, 4)},
    )  # fmt: skip
    assert (run.path / "index").is_dir()
    assert not list((run.path / "folds").glob("*/index"))


def test_an_index_over_other_collections(embedded: chainrule.TrainedRun, tmp_path: Path) -> None:
    run = chainrule.load(shutil.copytree(embedded.path, tmp_path / "run"))
    draw_shapes(tmp_path / "labelled", each=3)
    loose = [draw(tmp_path / f"loose/{number}.png", "bars", 500 + number) for number in range(2)]
    index = run.index([tmp_path / "labelled", *loose])
    assert len(index) == 11
    found = run.search(draw(tmp_path / "new.png", "bars", 99), k=5)
    assert set(found["id"]) == {"bars/00.png", "bars/01.png", "bars/02.png", *map(str, loose)}
    assert found["label"].null_count() == 2


def test_equal_names_in_two_collections_are_told_apart(embedded: chainrule.TrainedRun, tmp_path: Path) -> None:
    run = chainrule.load(shutil.copytree(embedded.path, tmp_path / "run"))
    for place, folder in enumerate(("one", "two")):
        draw_shapes(tmp_path / folder, each=2)
        draw(tmp_path / folder / "rings/00.png", "rings", place)
    run.index([tmp_path / "one", tmp_path / "two"])
    found = run.search("one/rings/00.png", k=3)
    assert "two/rings/00.png" in found["id"].to_list()
    assert all(name.startswith(("one/", "two/")) for name in found["id"])


def test_data_in_memory(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    run = learned((pixels, labels), tmp_path / "run", steps=2)
    loaded = chainrule.load(run.path)
    assert len(loaded.search(pixels[:1], k=3)) == 3
    assert len(loaded.index((pixels[:20], labels[:20]))) == 20
    assert len(loaded.search(pixels[30:31], k=30)) == 20
    assert loaded.search("image 3", k=1).height == 1
    with pytest.raises(InputError, match="data in memory"):
        loaded.search("image 3", out=tmp_path / "page.html")
    with pytest.raises(InputError, match="in memory"):
        loaded.index()


def test_a_page_shows_the_pictures(embedded: chainrule.TrainedRun, shapes: Path, tmp_path: Path) -> None:
    embedded.search(shapes / "rings/03.png", k=4, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "script" not in page.lower().replace("descript", "")
    embedded.feed(["rings/03.png", shapes / "bars/02.png"], k=3, out=tmp_path / "feed.html")
    assert (tmp_path / "feed.html").read_text().count("data:image/png;base64,") == 5
    found = embedded.search("rings/03.png", k=4, out=tmp_path / "table.csv")
    assert_frame_equal(pl.read_csv(tmp_path / "table.csv"), found)


def test_a_page_of_arrays_shows_the_right_ones(tmp_path: Path) -> None:
    levels = np.linspace(0, 250, 30).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None], (30, 8, 8)).copy()
    np.savez(tmp_path / "grey.npz", x=pixels, y=np.arange(30) % 2)
    run = chainrule.fit(
        tmp_path / "grey.npz", task="reconstruct", model="autoencoder", out=tmp_path / "run", set={"train.steps": 30}
    )
    found = run.search("image 12", k=2, out=tmp_path / "page.html")
    shown = [run.prepared().parts[part] for part in ("train", "valid", "test")]
    from chainrule.evaluate.charts import png

    page = (tmp_path / "page.html").read_text()
    for name in ("image 12", *found["id"]):
        records = next(part for part in shown if name in part.ids)
        assert png(run.session.kind.show(records, list(records.ids).index(name)).image) in page
