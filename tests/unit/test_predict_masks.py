"""Masks of new images: files that hold the answers, tables that add up, places that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import chainrule
from chainrule import predicting
from chainrule.data.mask.write import overlay
from chainrule.data.schema import MaskTarget
from chainrule.errors import InputError
from chainrule.predicting import Answered, at_size, file_names, overlaid, regions_of
from chainrule.tasks.whole import Answer
from chainrule.trained import TrainedRun

LEVELS = np.array([40, 120, 220], dtype=np.uint8)  # the brightness of each class
PALETTE = (0, 0, 0, 200, 30, 30, 30, 30, 200)
H, W = 24, 32
THREE = MaskTarget(classes=("0", "1", "2"), levels=((0,), (1,), (2,)), pixels=(8, 1, 1), background=0)


class Nearest(nn.Module):
    """Each pixel is of the class whose brightness is nearest."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: Tensor) -> Tensor:
        return -self.scale * (image - torch.tensor(LEVELS / 255).float().view(1, 3, 1, 1)).square()


def scene(number: int, size: tuple[int, int] = (H, W)) -> NDArray[np.uint8]:
    """Classes: a few boxes of both kinds of object."""
    random = np.random.default_rng(number)
    classes = np.zeros(size, dtype=np.uint8)
    for k in (1, 2, 1, 2):
        top, left = random.integers(0, size[0] - 8), random.integers(0, size[1] - 8)
        classes[top : top + random.integers(3, 8), left : left + random.integers(3, 8)] = k
    return classes


def save(path: Path, classes: NDArray[np.uint8]) -> Path:
    """The image of a scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(LEVELS[classes]).save(path, quality=100)
    return path


def fitted(root: Path, size: tuple[int, int] = (H, W), **settings: Any) -> TrainedRun:
    for number in range(12):
        classes = scene(number, size)
        save(root / f"data/images/{number:02d}.png", classes)
        mask = Image.fromarray(classes)
        mask.putpalette(PALETTE)
        (root / "data/masks").mkdir(exist_ok=True)
        mask.save(root / f"data/masks/{number:02d}.png")
    chosen = {"data.mean": 0.0, "data.std": 1.0, "train.channels_last": "off", **settings}
    network = Nearest()
    chainrule.fit(root / "data", model=network, epochs=1, lr=1e-12, out=root / "run", set=chosen)
    return chainrule.load(root / "run", model=network)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return fitted(tmp_path_factory.mktemp("masks"))


def read(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path))


def answered(classes: NDArray[np.uint8], shares: NDArray[np.uint8] | None = None) -> Answered:
    shares = np.full_like(classes, 255) if shares is None else shares
    answer = Answer(torch.from_numpy(classes), torch.from_numpy(shares))
    return Answered("here", "here", LEVELS[classes][..., None], answer, answer)


# what is written


def test_written_masks_are_the_answers_in_the_palette_that_masks_came_in(run: TrainedRun, tmp_path: Path) -> None:
    scenes = {"a": scene(100), "deep/er/b": scene(101)}
    for name, classes in scenes.items():
        save(tmp_path / f"new/{name}.png", classes)
    areas = run.predict(tmp_path / "new", out=tmp_path / "out")
    for name, classes in scenes.items():
        mask = Image.open(tmp_path / f"out/masks/{name}.png")
        assert mask.mode == "P"
        assert tuple(mask.getpalette() or ())[:9] == PALETTE
        assert np.array_equal(np.asarray(mask), classes)
        shown = read(tmp_path / f"out/overlays/{name}.png")
        assert np.array_equal(shown, overlay(LEVELS[classes][..., None], classes, run.session.schema.target))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "areas.csv", "masks", "overlays", "regions.csv"
    ]  # fmt: skip
    assert areas["id"].to_list() == ["a.png", "deep/er/b.png"]
    assert areas.equals(run.predict(tmp_path / "new"))
    assert pl.read_csv(tmp_path / "out/areas.csv").to_dicts() == areas.to_dicts()


def test_masks_are_given_one_by_one(run: TrainedRun, tmp_path: Path) -> None:
    scenes = {"a.png": scene(100), "b.png": scene(101)}
    for name, classes in scenes.items():
        save(tmp_path / name, classes)
    found = run.masks(tmp_path)
    name, classes, shares = next(found)
    assert name == "a.png"
    assert np.array_equal(classes, scenes[name])
    z = LEVELS / 255
    exact = [float(torch.softmax(torch.tensor(-20 * (z[k] - z) ** 2), 0)[k]) for k in range(3)]
    assert shares.dtype == np.uint8
    assert np.abs(shares / 255 - np.array(exact)[classes]).max() < 0.003  # half of a step of 1/255, and a little
    assert [name for name, _, _ in found] == ["b.png"]
    (array,) = run.masks(LEVELS[scene(3)][None])
    assert np.array_equal(array[1], scene(3))


def test_tables_add_up(run: TrainedRun, tmp_path: Path) -> None:
    for number in range(100, 104):
        save(tmp_path / f"new/{number}.png", scene(number))
    save(tmp_path / "new/empty.png", np.zeros((H, W), np.uint8))
    areas = run.predict(tmp_path / "new", out=tmp_path / "out")
    regions = pl.read_csv(tmp_path / "out/regions.csv", schema_overrides={"class": pl.String})
    assert regions.columns == [
        "image", "class", "region", "pixels", "share", "top", "left", "bottom", "right", "centre_y", "centre_x",
        "certainty",
    ]  # fmt: skip
    for row in areas.to_dicts():
        own = regions.filter(pl.col("image") == row["id"])
        assert row["regions"] == len(own)
        classes = read(tmp_path / "out/masks" / row["id"])
        for k in (1, 2):
            part = own.filter(pl.col("class") == str(k))
            assert part["pixels"].sum() == (classes == k).sum()
            assert part["share"].sum() == pytest.approx((classes == k).mean(), abs=1e-12)
            assert row[f"share({k})"] == pytest.approx((classes == k).mean(), abs=1e-12)
            assert part["region"].to_list() == list(range(1, len(part) + 1))
    assert len(regions) > 8
    empty = areas.row(areas["id"].to_list().index("empty.png"), named=True)
    assert (empty["prediction"], empty["regions"], empty["share(0)"]) == ("0", 0, 1.0)


def test_the_original_size_is_restored(tmp_path: Path) -> None:
    run = fitted(tmp_path, (48, 64), **{"data.image_size": 32})
    classes = np.kron(scene(5, (12, 16)), np.ones((4, 4), np.uint8))
    path = save(tmp_path / "new.png", classes)
    run.predict(path, out=tmp_path / "out")
    mask = read(tmp_path / "out/masks/new.png")
    assert mask.shape == classes.shape
    given = predicting.read_given(run.session, [path])
    (seen,) = run.session.answers(run.session.encode(given[0].records))
    assert seen.classes.shape == (24, 32)
    assert np.array_equal(mask, seen.classes.numpy().repeat(2, 0).repeat(2, 1))
    assert (mask == classes).mean() > 0.9  # shrinking blurs the edges by a pixel
    assert read(tmp_path / "out/overlays/new.png").shape == (24, 32, 3)
    areas = run.predict(path)
    assert areas["share(1)"][0] == (mask == 1).mean()
    ((_, whole, shares),) = run.masks(path)
    assert whole.shape == shares.shape == classes.shape


# regions


def test_regions_by_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.zeros((10, 12), np.uint8)
    classes[1:3, 1:4] = 1
    classes[3:5, 4:6] = 1  # touches at a corner
    classes[8, 2:11] = 1
    classes[0:2, 10:12] = 2
    shares = np.full((10, 12), 255, np.uint8)
    shares[8, 2:11] = 51
    monkeypatch.setattr(predicting, "BAND", 24)  # bands of two rows, which cut through regions
    rows = regions_of(answered(classes, shares), THREE).to_dicts()
    kept = [
        tuple(row[name] for name in ("class", "region", "pixels", "top", "left", "bottom", "right")) for row in rows
    ]
    assert kept == [("1", 1, 10, 1, 1, 4, 5), ("1", 2, 9, 8, 2, 8, 10), ("2", 1, 4, 0, 10, 1, 11)]
    assert [row["certainty"] for row in rows] == pytest.approx([1, 0.2, 1])
    assert [(row["centre_y"], row["centre_x"]) for row in rows] == [(2.3, 3.0), (8, 6), (0.5, 10.5)]
    assert [row["share"] for row in rows] == pytest.approx([10 / 120, 9 / 120, 4 / 120])


def flooded(there: NDArray[np.bool_]) -> list[set[tuple[int, ...]]]:
    """Connected sets of pixels, corners included, by walking from neighbour to neighbour."""
    left = set(zip(*(axis.tolist() for axis in there.nonzero()), strict=True))
    steps = [tuple(place - 1 for place in step) for step in np.ndindex((3,) * there.ndim)]
    found = []
    while left:
        edge = [left.pop()]
        region = set(edge)
        while edge:
            at = edge.pop()
            near = {tuple(a + b for a, b in zip(at, step, strict=True)) for step in steps} & left
            left -= near
            region |= near
            edge += near
        found.append(region)
    return found


@pytest.mark.parametrize("size", [(13, 17), (5, 6, 7)])
def test_regions_are_those_of_a_walk(size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "BAND", 40)
    random = np.random.default_rng(0)
    shares = random.integers(0, 256, size).astype(np.uint8)
    for density in (0.05, 0.1, 0.3):
        classes = (random.random(size) < density).astype(np.uint8)
        found = regions_of(answered(classes, shares), THREE)
        expected = []
        for region in flooded(classes == 1):
            places = np.array(sorted(region))
            certainty = shares[tuple(places.T)].mean() / 255
            expected.append((len(region), *places.min(0), *places.max(0), *places.mean(0), certainty))
        axes = "zyx"[-len(size) :]
        low, high = ({"z": "front", "y": "top", "x": "left"}, {"z": "back", "y": "bottom", "x": "right"})
        names = ["pixels", *(low[a] for a in axes), *(high[a] for a in axes), *(f"centre_{a}" for a in axes)]
        rows = sorted(found.select(*names, "certainty").rows())
        assert np.array(rows) == pytest.approx(np.array(sorted(expected)), abs=1e-9)  # sums of a few hundred numbers
        assert len(rows) > 1 or density == 0.3


def test_without_a_background_every_class_has_regions() -> None:
    target = MaskTarget(classes=("sky", "road"), levels=((0,), (1,)), pixels=(1, 1))
    classes = np.zeros((6, 6), np.uint8)
    classes[:, 2:4] = 1
    assert regions_of(answered(classes), target)["class"].to_list() == ["sky", "sky", "road"]


# volumes, overlays


def test_a_volume_becomes_pages(tmp_path: Path) -> None:
    classes = np.stack([scene(number) for number in range(4)])
    one = answered(classes)
    predicting._write_pictures(one, THREE, tmp_path)
    with Image.open(tmp_path / "masks/here.tif") as masks, Image.open(tmp_path / "overlays/here.tif") as shown:
        assert masks.n_frames == shown.n_frames == 4  # type: ignore[attr-defined]
        for page in range(4):
            masks.seek(page)
            shown.seek(page)
            assert np.array_equal(np.asarray(masks), classes[page])
            assert np.array_equal(np.asarray(shown), overlay(LEVELS[classes[page]][..., None], classes[page], THREE))
    large = at_size(one.answer, (4, 2 * H, 3 * W))
    assert np.array_equal(large.classes.numpy(), classes.repeat(2, 1).repeat(3, 2))


def test_overlays_are_drawn_in_bands_and_large_ones_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = scene(7, (40, 30))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    whole = overlay(pixels, classes, THREE)
    monkeypatch.setattr(predicting, "BAND", 90)  # three rows
    assert np.array_equal(overlaid(pixels, classes, THREE), whole)
    monkeypatch.setattr(predicting, "OVERLAY_PX", 20)
    assert overlaid(pixels, classes, THREE).shape == (20, 15, 3)


# names


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["a.png", "sub/a.png", "b.v2.tiff"], ["a", "sub/a", "b.v2"]),
        (["a.png", "a.jpg", "A.bmp"], ["a_png", "a_jpg", "A_bmp"]),
        (["a.png", "a.png", "a_2.png"], ["a", "a_2", "a_2_2"]),
        (["brain.tif#000", "brain.tif#001"], ["brain_000", "brain_001"]),
        (["/etc/x.png", "../../y.png", "./z.png"], ["etc/x", "y", "z"]),
        (["image 0", "volume 1"], ["image 0", "volume 1"]),
        (["..", "/"], ["image", "image_2"]),
    ],
)
def test_names_of_files(ids: list[str], names: list[str]) -> None:
    assert file_names(ids) == names


def test_equal_names_in_several_inputs_do_not_collide(run: TrainedRun, tmp_path: Path) -> None:
    scenes = {"old/a/x": scene(100), "new/a/x": scene(101), "new/a/w": scene(102), "z": scene(103), "other": scene(104)}
    for name, classes in scenes.items():
        save(tmp_path / f"{name}.png", classes)
    inputs = [tmp_path / "old/a", tmp_path / "new/a", str(tmp_path / "z.png"), str(tmp_path / "other.png")]
    areas = run.predict(inputs, out=tmp_path / "out")
    wanted = {"old/a/x": "old/a/x", "new/a/x": "new/a/x", "w": "new/a/w", "z": "z", "other": "other"}
    written = {p.relative_to(tmp_path / "out/masks").as_posix() for p in (tmp_path / "out/masks").rglob("*.png")}
    assert written == {f"{name}.png" for name in wanted}
    for name, source in wanted.items():
        assert np.array_equal(read(tmp_path / f"out/masks/{name}.png"), scenes[source])
    assert areas["id"].n_unique() == 5
    assert {"old/a/x.png", "new/a/x.png", "w.png"} <= set(areas["id"])


def test_files_given_one_by_one_keep_the_folders_below_the_one_that_holds_all(run: TrainedRun, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.png", scene(9)) for name in ("a/x", "b/x")]
    run.predict(files, out=tmp_path / "out")
    assert (tmp_path / "out/masks/a/x.png").is_file()
    assert (tmp_path / "out/masks/b/x.png").is_file()
    run.predict(files[:1], out=tmp_path / "one")
    assert (tmp_path / "one/masks/x.png").is_file()


def test_pages_of_a_file_are_masks_of_their_own(run: TrainedRun, tmp_path: Path) -> None:
    pages = [Image.fromarray(LEVELS[scene(number)]) for number in (1, 2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    run.predict(tmp_path / "stack.tif", out=tmp_path / "out")
    for page, number in enumerate((1, 2)):
        assert np.array_equal(read(tmp_path / f"out/masks/stack_00{page}.png"), scene(number))


# places


def test_a_csv_gets_the_areas_only(run: TrainedRun, tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", scene(1))
    areas = run.predict(path, out=tmp_path / "areas.csv")
    assert pl.read_csv(tmp_path / "areas.csv").to_dicts() == areas.to_dicts()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["areas.csv", "x.png"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("notes.txt", "is a file"), ("mask.png", "is the name of a file"), ("full", "full' holds .*: note.md;"),
        ("nowhere/areas.csv", "no place for a file"), ("folder.csv", "no place for a file"),
        ("stale", r"masks/gone\.png"),
    ],
)  # fmt: skip
def test_other_places_are_refused_before_anything_is_written(
    out: str, message: str, run: TrainedRun, tmp_path: Path
) -> None:
    path = save(tmp_path / "x.png", scene(1))
    (tmp_path / "notes.txt").touch()
    for folder in ("full", "folder.csv", "stale/masks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "full/note.md").touch()
    (tmp_path / "stale/masks/gone.png").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        run.predict(path, out=tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_images_may_be_answered_again(run: TrainedRun, tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", scene(1))
    run.predict(path, out=tmp_path / "out")
    save(path, scene(2))
    run.predict(path, out=tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out/masks/x.png"), scene(2))


def test_other_runs_answer_rows(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(60), "sold": ["yes" if n % 2 else "no" for n in range(60)]})
    run = chainrule.fit(frame, target="sold", model="mlp", epochs=1, out=tmp_path / "run", set={"model.hidden": 4})
    answers = run.predict(frame, out=tmp_path / "answers.csv")
    assert pl.read_csv(tmp_path / "answers.csv")["id"].to_list() == answers["id"].to_list()
    with pytest.raises(InputError, match="use predict"):
        run.masks(frame)
    with pytest.raises(InputError, match="no place for a file"):
        run.predict(frame, out=tmp_path)


def test_nothing_to_predict_is_told(run: TrainedRun, tmp_path: Path) -> None:
    for inputs in ([], [tmp_path]):
        with pytest.raises(InputError):
            run.predict(inputs)
