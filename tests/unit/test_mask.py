"""Images with masks: what is recognised, paired, learned, encoded, cut, drawn and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from chainrule.data import mask
from chainrule.data.config import DataConfig
from chainrule.data.mask.codes import level_name
from chainrule.data.mask.palette import share
from chainrule.data.mask.records import MaskRecords, presence
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.mask.write import outline
from chainrule.data.pairs import find_pairs
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.prepare import prepare
from chainrule.recognise import recognise

OPTIONS = DataConfig()
Pixels = NDArray[np.uint8]


def blob(seed: int, size: tuple[int, int] = (12, 10), levels: tuple[int, ...] = (0, 255)) -> Pixels:
    """A mask (H, W): a rectangle of each level after the first, drawn by the seed."""
    generator = np.random.default_rng(seed)
    found = np.full(size, levels[0], np.uint8)
    for level in levels[1:]:
        y, x = (int(generator.integers(0, max(1, side - 4))) for side in size)
        found[y : y + 4, x : x + 4] = level
    return found


def picture(seed: int, size: tuple[int, int] = (12, 10), channels: int = 1) -> Pixels:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def save(path: Path, pixels: NDArray[Any], **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)
    return path


def save_pages(path: Path, pages: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=rest)
    return path


def pairs(root: Path, count: int = 6, images: str = "images/{}.png", masks: str = "masks/{}.png") -> Path:
    for number in range(count):
        save(root / images.format(number), picture(number))
        save(root / masks.format(number), blob(number))
    return root


def read_all(value: Any, options: DataConfig = OPTIONS) -> MaskRecords:
    records = mask.read(open_source(value), options)
    assert list(records) == ["all"]
    return records["all"]


def levels_of(records: MaskRecords, row: int) -> NDArray[Any]:
    """A mask as its levels, (H, W) or (H, W, 3)."""
    assert records.masks is not None
    table = np.array(records.store.levels)
    return np.squeeze(table[records.masks[row]], axis=-1) if table.shape[1] == 1 else table[records.masks[row]]


# pairing


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("images/{}.jpg", "masks/{}_mask.png"),
        ("images/{}.png", "labels/{}_label.gif"),
        ("Images/img_{}.png", "GroundTruth/mask_{}.png"),
        ("imgs/case {}.png", "Ground Truth/case {}_seg.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("imagesTr/{}.tif", "labelsTr/{}.tif"),
        ("images/a/{}.png", "masks/a/{}_L.png"),
        ("images/a/{}.png", "masks/{}.png"),
        ("images/2{}_training.tif", "1st_manual/2{}_manual1.gif"),
        ("input/x{}.png", "y/x{}.png"),
        ("photos_512/{}.png", "gt_512/{}.png"),
        ("{}.png", "masks/{}.png"),
        ("ct/{}.png", "masks/{}.png"),
        ("{}.png", "{}_mask.png"),
        ("{}_sat.jpg", "{}_mask.png"),
        ("img{}.png", "gt{}.png"),
        ("a {}.png", "a {} mask.png"),
        ("k{}/b ({}).png", "k{}/b ({})_mask.png"),
        ("ID{}/images/{}.png", "ID{}/masks/{}.png"),
        ("ID{}/image.png", "ID{}/mask.png"),
        ("p{}/scan/slice.png", "p{}/seg/other.png"),
    ],
)
def test_usual_layouts_are_paired(tmp_path: Path, images: str, masks: str) -> None:
    root = tmp_path / "set"
    for number in range(4):
        save(root / images.format(number, number), picture(number))
        save(root / masks.format(number, number), blob(number))
    source = open_source(root)
    assert recognise(source).kind.NAME == "mask"
    records = read_all(root)
    assert len(records) == 4
    for row, name in enumerate(records.ids):
        number = next(number for number in range(4) if name == images.format(number, number))
        assert np.array_equal(levels_of(records, row), blob(number))
    assert mask.findings(records) == []


def test_a_folder_for_each_case_with_a_mask_for_each_object(tmp_path: Path) -> None:
    for case in range(3):
        save(tmp_path / f"c{case}" / "images" / f"c{case}.png", picture(case))
        for number in range(3):
            save(tmp_path / f"c{case}" / "masks" / f"{case}{number}.png", blob(10 * case + number))
    records = read_all(tmp_path)
    assert records.ids == tuple(f"c{case}/images/c{case}.png" for case in range(3))
    united = np.maximum.reduce([blob(10 + number) for number in range(3)])
    assert np.array_equal(levels_of(records, 1), united)


def test_several_masks_of_one_image_are_united(tmp_path: Path) -> None:
    pairs(tmp_path, 4, "{}.png", "{}_mask.png")
    save(tmp_path / "2_mask_1.png", blob(77))
    records = read_all(tmp_path)
    assert records.ids == ("0.png", "1.png", "2.png", "3.png")
    assert np.array_equal(levels_of(records, 2), np.maximum(blob(2), blob(77)))


def test_folders_of_parts_inside_the_folders_of_images(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        pairs(tmp_path, count, "images/" + part + "/{}.png", "masks/" + part + "/{}.png")
    records = mask.read(open_source(tmp_path), OPTIONS)
    assert {part: len(held) for part, held in records.items()} == {"train": 5, "valid": 2, "test": 3}
    found = prepare(tmp_path, OPTIONS)
    assert {part: len(held) for part, held in found.parts.items()} == {"train": 5, "valid": 2, "test": 3}


@pytest.mark.parametrize("beside", ["{}annot", "{}_masks", "{}-labels"])
def test_parts_whose_masks_lie_beside_them(tmp_path: Path, beside: str) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        pairs(tmp_path, count, part + "/{}.png", beside.format(part) + "/{}.png")
    found = prepare(tmp_path, OPTIONS)
    assert found.kind.NAME == "mask"
    assert {part: len(held) for part, held in found.parts.items()} == {"train": 5, "valid": 2, "test": 3}
    assert np.array_equal(levels_of(found.parts["test"], 1), blob(1))


def test_lists_of_names_beside_folders_of_parts_are_no_parts(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            save(tmp_path / part / f"{name}.png", picture(1))
            save(tmp_path / f"{part}annot" / f"{name}.png", blob(2))
        (tmp_path / f"{part}.txt").write_text(f"{part}/a.png {part}annot/a.png\n{part}/b.png {part}annot/b.png\n")
    source = open_source(tmp_path)
    assert sorted(source.parts) == ["train", "valid"]
    assert {part: len(mask.read(inner, OPTIONS)["all"]) for part, inner in source.parts.items()} == {
        "train": 2, "valid": 2
    }  # fmt: skip


def test_folders_of_parts_above(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        pairs(tmp_path / part, count)
    found = prepare(tmp_path, replace(OPTIONS, remove_duplicates=False))
    assert {part: len(held) for part, held in found.parts.items()} == {"train": 5, "valid": 1, "test": 2}
    assert found.schema.target.classes == ("background", "object")


def test_a_test_part_without_masks_is_left_out_and_said(tmp_path: Path) -> None:
    pairs(tmp_path / "a" / "train", 12)
    for number in range(3):
        save(tmp_path / "a" / "test" / "images" / f"{number}.png", picture(50 + number))
    found = prepare(tmp_path / "a", OPTIONS)
    assert any("test part is left out" in finding.text for finding in found.findings)
    pairs(tmp_path / "b", 12, "images/train/{}.png", "masks/train/{}.png")
    for number in range(3):
        save(tmp_path / "b" / "images" / "test" / f"{number}.png", picture(50 + number))
    found = prepare(tmp_path / "b", OPTIONS)
    assert len(found.parts["train"]) + len(found.parts["valid"]) + len(found.parts["test"]) == 12
    assert any("test part, 3 images, has no masks" in finding.text for finding in found.findings)


def test_class_folders_without_masks_stay_images(tmp_path: Path) -> None:
    for name in ("cat", "dog", "y", "labrador"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png", picture(number))
    assert find_pairs(tmp_path) is None
    assert recognise(open_source(tmp_path)).kind.NAME == "image"


def test_classify_passes_masks_over_and_segment_wants_them(tmp_path: Path) -> None:
    for name in ("benign", "malignant"):
        pairs(tmp_path / "busi" / name, 4, "{}.png", "{}_mask.png")
    source = open_source(tmp_path / "busi")
    assert recognise(source).kind.NAME == "mask"
    assert recognise(source, task="segment").kind.NAME == "mask"
    chosen = recognise(source, task="classify")
    assert chosen.kind.NAME == "image"
    assert "passes over" in chosen.reason
    labels = chosen.kind.read(source, OPTIONS)["all"].labels
    assert labels is not None
    assert labels.tolist() == ["benign"] * 4 + ["malignant"] * 4
    for path in (tmp_path / "busi").rglob("*_mask.png"):
        path.unlink()
    assert recognise(source).kind.NAME == "image"
    with pytest.raises(InputError, match=r"has no masks; expected images with masks of their size: folders images/"):
        mask.read(source, replace(OPTIONS, task="segment"))


def test_groups_are_found_in_the_names_of_images(tmp_path: Path) -> None:
    for patient in range(7):
        pairs(tmp_path, 2, f"images/patient{patient}_{{}}.png", f"masks/patient{patient}_{{}}.png")
    records = read_all(tmp_path)
    assert records.groups is not None
    assert len(set(records.groups.tolist())) == 7
    chosen = read_all(tmp_path, replace(OPTIONS, group=r"_(\d)"))
    assert chosen.groups is not None
    assert set(chosen.groups.tolist()) == {"0", "1"}


def test_names_count_as_moments_where_a_person_says_so(tmp_path: Path) -> None:
    pairs(tmp_path, 9, "images/t{}.png", "masks/t{}.png")
    options = replace(OPTIONS, time="name")
    records = read_all(tmp_path, options)
    assert records.times is not None
    assert records.times.tolist() == list(range(9))
    parts = prepare(tmp_path, options).parts
    assert parts["train"].ids == tuple(f"images/t{number}.png" for number in range(len(parts["train"])))
    assert parts["test"].ids[-1] == "images/t8.png"


# volumes


def volume(seed: int, depth: int = 9) -> tuple[Pixels, Pixels]:
    return (
        np.stack([picture(100 * seed + page) for page in range(depth)]),
        np.stack([blob(100 * seed + page) for page in range(depth)]),
    )


def test_a_volume_is_cut_into_slices_that_follow_each_other(tmp_path: Path) -> None:
    pages, answers = volume(1)
    save_pages(tmp_path / "train-volume.tif", pages)
    save_pages(tmp_path / "train-labels.tif", answers)
    save_pages(tmp_path / "test-volume.tif", pages)
    found = prepare(tmp_path, OPTIONS)
    train = found.parts["train"]
    assert train.ids[:2] == ("train-volume.tif#000", "train-volume.tif#001")
    ids = [name for part in ("train", "valid", "test") for name in found.parts[part].ids]
    assert ids == [f"train-volume.tif#{page:03d}" for page in range(9)]
    assert np.array_equal(train.images[1][..., 0], pages[1])
    assert np.array_equal(levels_of(train, 1), answers[1])
    assert "by time" in found.divided


def test_slices_of_several_volumes_stay_together(tmp_path: Path) -> None:
    for number in range(4):
        pages, answers = volume(number, 3)
        save_pages(tmp_path / "images" / f"v{number}.tif", pages)
        save_pages(tmp_path / "masks" / f"v{number}.tif", answers)
    found = prepare(tmp_path, OPTIONS)
    assert "by group" in found.divided
    for records in found.parts.values():
        assert len(records) % 3 == 0


def test_a_whole_volume_is_one_record_where_asked_for(tmp_path: Path) -> None:
    for number in range(5):
        pages, answers = volume(number, 4 + number % 2)
        save_pages(tmp_path / "images" / f"v{number}.tif", pages)
        save_pages(tmp_path / "masks" / f"v{number}.tif", answers)
    options = replace(OPTIONS, slices="volume")
    records = read_all(tmp_path, options)
    assert len(records) == 5
    assert records.images[0].shape == (4, 12, 10, 1)
    assert np.array_equal(levels_of(records, 3), volume(3, 5)[1])
    schema = mask.learn_schema(records, options)
    assert schema.patch_px == (5, 12, 10)
    assert mask.usual_settings(schema, "clip", 5) == {"model.dims": 3}
    assert mask.sizes(schema, "clip") == {"in_channels": 1, "image_size": (5, 12, 10)}
    with pytest.raises(InputError, match=r"cannot be given volumes.*model.dims=3"):
        mask.sizes(schema, "image")
    batch = mask.encode(records, schema).batch(torch.tensor([0, 1]))
    assert batch.inputs[0].shape == (2, 1, 5, 12, 10)
    assert batch.targets is not None
    assert (batch.targets[0, 4] == IGNORE).all()
    assert (batch.targets[1] != IGNORE).all()
    front = mask.front(schema, "clip")(batch.inputs[0])[0]
    expected = (volume(1, 5)[0] / 255 - schema.mean[0]) / schema.std[0]
    assert np.abs(front[1, 0].numpy() - expected).max() < 1e-5  # float32
    given = mask.read_inputs([volume(0, 4)[0]], schema)
    assert np.array_equal(given.images[0], records.images[0])
    assert mask.picture(batch, 1, schema).shape == (12, 10, 3)
    assert mask.show(records, 1).image is not None


# tables and arrays


@pytest.mark.parametrize("header", ["image,mask", "mask,picture", "a,b", ""])
def test_a_table_of_images_and_masks(tmp_path: Path, header: str) -> None:
    pairs(tmp_path, 5, "photos/{}.png", "truth/m{}.png")
    columns = (
        ("truth/m{0}.png", "photos/{0}.png") if header.startswith("mask") else ("photos/{0}.png", "truth/m{0}.png")
    )
    rows = [",".join(column.format(number) for column in columns) for number in range(5)]
    (tmp_path / "list.csv").write_text("\n".join(filter(None, (header, *rows))) + "\n")
    source = open_source(tmp_path / "list.csv")
    assert recognise(source).kind.NAME == "mask"
    records = mask.read(source, OPTIONS)["all"]
    assert records.ids == tuple(f"photos/{number}.png" for number in range(5))
    assert np.array_equal(levels_of(records, 3), blob(3))


def test_a_table_has_parts_groups_and_moments(tmp_path: Path) -> None:
    pairs(tmp_path, 6, "a/{}.png", "b/{}.png")
    rows = [f"a/{n}.png,b/{n}.png,{('train', 'val')[n % 2]},p{n // 2},{10 - n}" for n in range(6)]
    (tmp_path / "list.csv").write_text("image,mask,split,patient,day\n" + "\n".join(rows) + "\n")
    records = mask.read(open_source(tmp_path / "list.csv"), replace(OPTIONS, group="patient", time="day"))
    assert {part: len(held) for part, held in records.items()} == {"train": 3, "valid": 3}
    train = records["train"]
    assert (train.groups is not None, train.times is not None) == (True, True)
    assert train.groups.tolist() == ["p0", "p1", "p2"]  # type: ignore[union-attr]
    assert train.times.tolist() == [10, 8, 6]  # type: ignore[union-attr]


def arrays(count: int = 6, channels: int = 1) -> tuple[Pixels, Pixels]:
    shape = (count, 12, 10) if channels == 1 else (count, 12, 10, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return images, np.stack([blob(number, levels=(0, 1)) for number in range(count)])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda masks: masks, (0, 1)),
        (lambda masks: masks.astype(bool), (0, 1)),
        (lambda masks: masks[..., None] * 7, (0, 7)),
        (lambda masks: masks[:, None].astype(np.int64) * 300, (0, 300)),
        (lambda masks: masks.astype(np.float32), (0, 1)),
    ],
)
def test_arrays_in_memory(change: Callable[[Any], Any], expected: tuple[int, int]) -> None:
    images, masks = arrays(channels=3)
    source = open_source((images, change(masks)))
    assert recognise(source).kind.NAME == "mask"
    records = mask.read(source, OPTIONS)["all"]
    assert records.ids[:2] == ("image 0", "image 1")
    assert np.array_equal(records.images[2], images[2])
    assert np.array_equal(levels_of(records, 2), masks[2].astype(np.int64) * expected[1])


def test_npz_with_parts(tmp_path: Path) -> None:
    images, masks = arrays(8)
    np.savez(tmp_path / "a.npz", x_train=images[:5] / 255, y_train=masks[:5], x_test=images[5:] / 255, y_test=masks[5:])
    records = mask.read(open_source(tmp_path / "a.npz"), OPTIONS)
    assert {part: len(held) for part, held in records.items()} == {"train": 5, "test": 3}
    assert np.array_equal(records["test"].images[1][..., 0], images[6])
    assert records["train"].store.white == 1
    assert np.array_equal(levels_of(records["test"], 1), masks[6])
    schema = mask.learn_schema(records["train"], OPTIONS)
    assert np.array_equal(mask.read_inputs([images[6] / 255], schema).images[0][..., 0], images[6])


def test_arrays_are_brought_to_a_longer_side(tmp_path: Path) -> None:
    images, masks = arrays()
    options = replace(OPTIONS, image_size=24)
    records = read_all((images, masks), options)
    assert records.images[0].shape == (24, 20, 1)
    assert np.array_equal(levels_of(records, 1), masks[1].repeat(2, axis=0).repeat(2, axis=1))
    assert records.original_px.tolist() == [[12, 10]] * 6
    schema = mask.learn_schema(records, options)
    np.savez(tmp_path / "a.npz", x=images)
    for given_ in (images, tmp_path / "a.npz"):
        inputs = mask.read_inputs([given_], schema)
        assert np.array_equal(inputs.images[3], records.images[3])
        assert inputs.original_px.tolist() == [[12, 10]] * 6


def test_arrays_of_images_and_labels_stay_images() -> None:
    images, masks = arrays()
    assert recognise(open_source((images, masks[:, 0, 0]))).kind.NAME == "image"
    assert recognise(open_source((images, masks[:, :6]))).kind.NAME == "image"


# classes


def schema_of(root: Path, options: DataConfig = OPTIONS) -> mask.MaskSchema:
    return mask.learn_schema(read_all(root, options), options)


def target_of(root: Path, options: DataConfig = OPTIONS) -> MaskTarget:
    target = schema_of(root, options).target
    assert target is not None
    return target


def masked(root: Path, *masks: NDArray[Any], palette: tuple[int, ...] = (), **settings: Any) -> Path:
    """A folder of these masks with an image for each."""
    for number, answer in enumerate(masks):
        save(root / "images" / f"{number}.png", picture(number, answer.shape[:2]))
        path = root / "masks" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(answer)
        if palette:
            image.putpalette(palette)
        image.save(path, **settings)
    return root


@pytest.mark.parametrize("levels", [(0, 255), (0, 1), (0, 128), (3, 9)])
def test_two_levels_are_background_and_object(tmp_path: Path, levels: tuple[int, int]) -> None:
    target = target_of(masked(tmp_path, *(blob(n, levels=levels) for n in range(3))))
    assert target.classes == ("background", "object")
    assert target.levels == ((levels[0],), (levels[1],))
    assert (target.background, target.foreground, target.ignore) == (0, (1,), ())
    held = np.stack([blob(n, levels=levels) for n in range(3)])
    assert target.pixels == tuple(int((held == level).sum()) for level in levels)


def test_small_levels_are_indices_and_255_beside_them_is_unknown(tmp_path: Path) -> None:
    masks = [blob(n, levels=(0, 1, 2, 5, 255)) for n in range(4)]
    root = masked(tmp_path, *masks)
    schema = schema_of(root)
    assert schema.target is not None
    assert schema.target.classes == ("0", "1", "2", "5")
    assert schema.target.ignore == ((255,),)
    assert schema.target.background == 0
    assert schema.notes[0].startswith("mask levels: 0 (")
    assert schema.notes[0].endswith("; 255 = not known, ignored; background: 0, in more than half of the pixels")
    batch = mask.encode(read_all(root), schema).batch(torch.arange(4))
    expected = np.stack(masks)
    expected[expected == 5] = 3
    assert batch.targets is not None
    assert np.array_equal(batch.targets.numpy(), expected)


def test_three_grey_levels_are_three_classes(tmp_path: Path) -> None:
    target = target_of(masked(tmp_path, *(blob(n, levels=(0, 128, 255)) for n in range(3))))
    assert target.classes == ("0", "128", "255")
    assert target.ignore == ()


def test_indices_without_a_common_zero_have_no_background(tmp_path: Path) -> None:
    masks = [np.where(blob(n, levels=(0, 1)) == 0, 2, 0).astype(np.uint8) for n in range(3)]
    masks[0][0, 0] = 1
    schema = schema_of(masked(tmp_path, *masks))
    assert schema.target is not None
    assert (schema.target.background, schema.target.foreground) == (-1, (0, 1, 2))
    assert "no background, so every class counts: no 0 in half of the pixels (data.background)" in schema.notes[0]


def test_a_person_names_background_and_ignored_levels(tmp_path: Path) -> None:
    root = masked(tmp_path, *(blob(n, levels=(0, 1, 2, 255)) for n in range(3)))
    target = target_of(root, replace(OPTIONS, background="none"))
    assert target.background == -1
    target = target_of(root, replace(OPTIONS, background="2", ignore=("1",)))
    assert target.classes == ("0", "2", "255")
    assert (target.background, target.ignore) == (1, ((1,),))
    with pytest.raises(InputError, match=r"data.background names '7'.*known: 0, 1, 2, 255"):
        target_of(root, replace(OPTIONS, background="7"))
    with pytest.raises(InputError, match=r"data.background names '1', which data.ignore leaves out"):
        target_of(root, replace(OPTIONS, background="1", ignore=("1",)))


def test_colours_are_classes(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 0]], np.uint8)
    masks = [colours[blob(n, levels=(0, 1, 2))] for n in range(3)]
    empty = np.zeros((12, 10), np.uint8)  # the same black in grey
    root = masked(tmp_path, *masks, empty)
    (root / "classes.txt").write_text("0 0 0 ground\n255 0 0 polyp\n0 128 0 tool\n")
    target = target_of(root)
    assert target.levels == ((0, 0, 0), (0, 128, 0), (255, 0, 0))
    assert target.classes == ("ground", "tool", "polyp")
    assert target.background == 0
    held = np.stack([blob(n, levels=(0, 1, 2)) for n in range(3)])
    assert target.pixels == (int((held == 0).sum()) + 120, int((held == 2).sum()), int((held == 1).sum()))
    records = read_all(root)
    targets = mask.encode(records, schema_of(root)).batch(torch.arange(4)).targets
    assert targets is not None
    assert np.array_equal(targets[1].numpy(), np.array([0, 2, 1])[blob(1, levels=(0, 1, 2))])
    assert (targets[3] == 0).all()


def test_palettes_are_indices_and_kept(tmp_path: Path) -> None:
    palette = (0, 0, 0, 128, 0, 0, 0, 128, 0)
    root = masked(tmp_path, *(blob(n, levels=(0, 1, 2)) for n in range(3)), palette=palette)
    target = target_of(root)
    assert target.classes == ("0", "1", "2")
    assert target.palette[:9] == palette


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "ground\npolyp\ntool\n"),
        ("labels.txt", "0 ground\n1: polyp\n2\ttool\n"),
        ("class_dict.csv", "index,name\n0,ground\n1,polyp\n2,tool\n"),
        ("label_colors.txt", "# comment\n0,ground\n1,polyp\n2,tool\n"),
    ],
)
def test_a_file_beside_the_data_names_classes(tmp_path: Path, file: str, text: str) -> None:
    root = masked(tmp_path, *(blob(n, levels=(0, 1, 2)) for n in range(3)))
    (root / file).write_text(text)
    assert target_of(root).classes == ("ground", "polyp", "tool")


def test_names_that_mean_unknown_are_ignored(tmp_path: Path) -> None:
    root = masked(tmp_path, *(blob(n, levels=(0, 1, 2)) for n in range(3)))
    (root / "classes.txt").write_text("background\npolyp\nvoid\n")
    target = target_of(root)
    assert target.classes == ("background", "polyp")
    assert target.ignore == ((2,),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("skin\nlesion\n", ("skin", "lesion")),
        ("lesion\n", ("background", "lesion")),
        ("a\nb\nc\nd\n", ("background", "object")),
        ("255 lesion\n", ("0", "lesion")),
        ("0 skin\n255 lesion\n7 other\n", ("skin", "lesion")),
    ],
)
def test_lists_of_names_fit_two_levels(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    root = pairs(tmp_path)
    (root / "classes.txt").write_text(text)
    assert target_of(root).classes == expected


def test_names_above_the_data_are_those_of_parts_only(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("skin\nlesion\n")
    assert target_of(pairs(tmp_path / "other")).classes == ("background", "object")
    for part in ("train", "test"):
        pairs(tmp_path / "set" / part)
    (tmp_path / "set" / "classes.txt").write_text("skin\nlesion\n")
    assert prepare(tmp_path / "set", OPTIONS).schema.target.classes == ("skin", "lesion")


def test_a_threshold_makes_one_object(tmp_path: Path) -> None:
    soft = [np.random.default_rng(n).integers(0, 256, (12, 10), dtype=np.uint8) for n in range(3)]
    root = masked(tmp_path, *soft)
    options = replace(OPTIONS, threshold=128)
    schema = schema_of(root, options)
    assert schema.target is not None
    assert schema.target.levels == ((0,), (255,))
    assert any("levels from 128 on" in note for note in schema.notes)
    targets = mask.encode(read_all(root, options), schema).batch(torch.arange(3)).targets
    assert targets is not None
    assert np.array_equal(targets.numpy(), np.stack(soft) >= 128)


def test_what_is_in_a_mask_is_the_label_of_the_split() -> None:
    counts = np.array([[9, 0, 0], [5, 4, 0], [5, 4, 0], [4, 4, 1], [0, 9, 0]])
    levels = ((0,), (1,), (255,))
    assert presence(counts, levels).tolist() == ["0", "1", "1", "255", "1"]
    assert level_name((255, 0, 16)) == "#ff0010"
    assert [share(count, 10_000) for count in (0, 1, 25, 9_999)] == ["0.0%", "0.01%", "0.2%", "100.0%"]


# size


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        (((40, 50), (40, 50)), (), (40, 50)),
        (((512, 512), (512, 512)), (), (512, 512)),
        (((900, 900), (900, 900)), (), (256, 256)),
        (((40, 50), (41, 33)), (), (48, 64)),
        (((320, 90), (100, 320)), (), (320, 320)),
        (((321, 90), (100, 320)), (), (256, 256)),
        (((1, 7), (3, 1)), (), (16, 16)),
        (((40, 50), (41, 33)), (64,), (64, 64)),
        (((40, 50), (41, 33)), (64, 32), (64, 32)),
        (((40, 200, 300),), (), (16, 128, 128)),
        (((10, 100, 300),), (), (10, 100, 128)),
    ],
)
def test_what_training_samples_are_cut_or_filled_up_to(
    sizes: tuple[tuple[int, ...], ...], asked: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert mask.find_patch(np.array(sizes), asked)[0] == expected


def test_a_patch_of_another_dimension_is_refused() -> None:
    with pytest.raises(InputError, match=r"data.patch=\(8, 8, 8\) has 3 sides"):
        mask.find_patch(np.array([[40, 50]]), (8, 8, 8))


def test_a_longer_side_is_asked_for(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", picture(number, (20, 40), 3))
        save(tmp_path / "masks" / f"{number}.png", blob(number, (20, 40)))
    options = replace(OPTIONS, image_size=24)
    records = read_all(tmp_path, options)
    assert records.images[0].shape == (12, 24, 3)
    assert records.original_px.tolist() == [[20, 40]] * 3
    assert set(np.unique(levels_of(records, 0))) <= {0, 255}
    assert levels_of(records, 0).shape == (12, 24)
    schema = mask.learn_schema(records, options)
    inputs = mask.read_inputs([tmp_path / "images"], schema)
    assert np.array_equal(inputs.images[1], records.images[1])
    assert inputs.original_px.tolist() == [[20, 40]] * 3


# samples


def samples_of(
    sizes: list[tuple[int, ...]], patch: tuple[int, ...], channels: int = 1, levels: tuple[int, ...] = (0, 1)
) -> tuple[MaskSamples, list[Pixels], list[Pixels]]:
    images = [picture(n, size, 3) for n, size in enumerate(sizes)]
    masks = [blob(n, size, levels) for n, size in enumerate(sizes)]
    samples = MaskSamples(
        images, masks, [str(n) for n in range(len(sizes))], shapes=np.array([image.shape for image in images]),
        table=np.arange(256, dtype=np.uint8), patch_px=patch, channels=channels, foreground=levels[1:],
    )  # fmt: skip
    return samples, images, masks


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_whole_images_lie_side_by_side(tmp_path: Path) -> None:
    samples, images, masks = samples_of([(12, 10), (7, 13), (1, 5)], (8, 8), 3)
    assert samples.lengths is not None
    assert samples.lengths.tolist() == [360, 273, 15]
    batch = samples.batch(torch.tensor([1, 0, 2]))
    assert batch.inputs[0].shape == (3, 3, 12, 13)
    assert (batch.targets is not None, batch.mask is not None) == (True, True)
    for row, place in enumerate((1, 0, 2)):
        H, W = masks[place].shape
        assert np.array_equal(batch.inputs[0][row, :, :H, :W].permute(1, 2, 0).numpy(), images[place])
        assert np.array_equal(batch.targets[row, :H, :W].numpy(), masks[place])  # type: ignore[index]
        real = np.zeros((12, 13), np.bool_)
        real[:H, :W] = True
        assert np.array_equal(batch.mask[row].numpy(), real)  # type: ignore[index]
        assert (batch.targets[row].numpy()[~real] == IGNORE).all()  # type: ignore[index]
    edge = batch.inputs[0][0, :, 7:, :]  # below the image its last row again
    assert (edge == batch.inputs[0][0, :, 6:7, :]).all()


def test_patches_are_where_the_image_has_them() -> None:
    size, patch = (30, 41), (8, 16)
    coordinates = np.stack(np.meshgrid(np.arange(30), np.arange(41), indexing="ij"), axis=2).astype(np.uint8)
    image = np.concatenate([coordinates, np.zeros((*size, 1), np.uint8)], axis=2)
    answers = (coordinates.sum(axis=2) % 7).astype(np.uint8)
    samples = MaskSamples(
        [image] * 6, [answers] * 6, list("abcdef"), shapes=np.array([image.shape] * 6), channels=3,
        table=np.arange(256, dtype=np.uint8), patch_px=patch, foreground=(3,),
    )  # fmt: skip
    starts = set()
    for seed in range(120):
        batch = samples.batch(torch.arange(6), seeded(seed))
        assert batch.inputs[0].shape == (6, 3, *patch)
        assert batch.targets is not None
        y, x = batch.inputs[0][:, 0].long(), batch.inputs[0][:, 1].long()
        assert torch.equal(batch.targets.long(), (y + x) % 7)
        assert (y.diff(dim=1) == 1).all()
        assert (x.diff(dim=2) == 1).all()
        assert (batch.targets[::3] == 3).flatten(1).any(1).all()  # every third row is cut about an object
        starts |= {(int(y[row, 0, 0]), int(x[row, 0, 0])) for row in (1, 2, 4, 5)}
    assert {start for start, _ in starts} == set(range(30 - 8 + 1))  # every place is reached, the last too
    assert {start for _, start in starts} == set(range(41 - 16 + 1))


def test_draws_come_from_the_generator_alone() -> None:
    samples, _, _ = samples_of([(40, 40)] * 8, (8, 8))
    first, again, other = (samples.batch(torch.arange(8), seeded(seed)).inputs[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    used = seeded(3)
    samples.batch(torch.arange(8), used)
    after = seeded(3)
    torch.rand((8, 4), generator=after)
    assert torch.equal(used.get_state(), after.get_state())  # a fixed number for each row, whatever is in it


def test_a_small_object_in_a_large_image_is_found_by_every_third_row() -> None:
    sizes = [(200, 200)] * 30
    samples, _, _ = samples_of(sizes, (16, 16))
    batch = samples.batch(torch.arange(30), seeded(0))
    assert batch.targets is not None
    hit = (batch.targets == 1).flatten(1).any(1)
    assert hit[::3].all()
    assert not hit.all()


def test_a_single_pixel_lies_anywhere_in_its_patches() -> None:
    answers = np.zeros((40, 50), np.uint8)
    answers[20, 30] = 1
    samples = MaskSamples(
        [np.zeros((40, 50, 1), np.uint8)] * 300, [answers] * 300, [""] * 300, shapes=np.array([(40, 50, 1)] * 300),
        table=np.arange(256, dtype=np.uint8), patch_px=(3, 4), channels=1, foreground=(1,),
    )  # fmt: skip
    targets = samples.batch(torch.arange(300), seeded(0)).targets
    assert targets is not None
    found = targets[::3].nonzero()
    assert found[:, 0].tolist() == list(range(100))  # once in each
    assert {tuple(place) for place in found[:, 1:].tolist()} == {(y, x) for y in range(3) for x in range(4)}


def test_each_class_is_drawn_alike_however_small() -> None:
    answers = np.zeros((64, 64), np.uint8)
    answers[:, :20] = 1
    answers[60, 60] = 2
    samples = MaskSamples(
        [np.zeros((64, 64, 1), np.uint8)] * 600, [answers] * 600, [""] * 600, shapes=np.array([(64, 64, 1)] * 600),
        table=np.arange(256, dtype=np.uint8), patch_px=(4, 4), channels=1, foreground=(1, 2),
    )  # fmt: skip
    targets = samples.batch(torch.arange(600), seeded(0)).targets
    assert targets is not None
    rare = (targets[::3] == 2).flatten(1).any(1).float().mean()
    assert abs(float(rare) - 0.5) < 0.12  # 200 draws: the standard error is 0.035


def test_small_images_are_mirrored_up_to_the_patch_without_answers() -> None:
    samples, images, masks = samples_of([(5, 3)], (8, 8), 3)
    batch = samples.batch(torch.tensor([0]), seeded(0))
    pixels = batch.inputs[0][0].permute(1, 2, 0).numpy()
    expected = np.pad(images[0], ((0, 3), (0, 5), (0, 0)), mode="symmetric")
    assert np.array_equal(pixels, expected)
    assert batch.targets is not None
    assert batch.mask is not None
    assert np.array_equal(batch.targets[0, :5, :3].numpy(), masks[0])
    assert int(batch.mask.sum()) == 15
    assert ((batch.targets == IGNORE) == ~batch.mask).all()


def test_colour_is_seen_in_grey_where_the_schema_says_so() -> None:
    samples, images, _ = samples_of([(12, 10)], (12, 10), 1)
    grey = np.asarray(Image.fromarray(images[0]).convert("L"))
    assert np.array_equal(samples.batch(torch.tensor([0])).inputs[0][0, 0].numpy(), grey)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_batches_have_the_answers_of_their_pixels(data: st.DataObject) -> None:
    """Every pixel holds its own answer: the image is its mask's code times 80."""
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=5))
    patch = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    masks = [data.draw(hnp.arrays(np.uint8, size, elements=st.integers(0, 2))) for size in sizes]
    samples = MaskSamples(
        [80 * answers[..., None] for answers in masks], masks, [""] * len(masks), table=np.array([0, 1, 2], np.uint8),
        shapes=np.array([(*size, 1) for size in sizes]), patch_px=patch, channels=1, foreground=(1, 2),
    )  # fmt: skip
    rows = torch.arange(len(sizes))
    for batch in (samples.batch(rows), samples.batch(rows, seeded(data.draw(st.integers(0, 99))))):
        assert batch.targets is not None
        assert batch.mask is not None
        known = batch.targets != IGNORE
        assert torch.equal(known, batch.mask)
        assert torch.equal(batch.inputs[0][:, 0][known], 80 * batch.targets[known])
        assert batch.mask.flatten(1).any(1).all()


# schema, front and what is drawn


def test_the_schema_survives_json(tmp_path: Path) -> None:
    schema = schema_of(pairs(tmp_path))
    assert mask.load_schema(json.loads(json.dumps(asdict(schema)))) == schema
    with pytest.raises(InputError, match="unknown key 'patches'"):
        mask.load_schema({**asdict(schema), "patches": 1})


def test_the_front_gives_standard_units(tmp_path: Path) -> None:
    root = pairs(tmp_path)
    records, schema = read_all(root), schema_of(root)
    pixels = mask.encode(records, schema).batch(torch.arange(6)).inputs[0]
    seen = mask.front(schema, "image")(pixels)[0]
    assert abs(float(seen.mean())) < 1e-5  # float32 sums over 720 pixels
    assert abs(float(seen.std(correction=0)) - 1) < 1e-5
    with pytest.raises(InputError, match="cannot be given single images"):
        mask.front(schema, "clip")


def test_predictions_need_no_masks(tmp_path: Path) -> None:
    root = pairs(tmp_path)
    schema = schema_of(root)
    for given_ in (root, root / "images", root / "images" / "3.png"):
        records = mask.read_inputs([given_], schema)
        assert records.masks is None
        assert records.labels is None
        batch = mask.encode(records, schema).batch(torch.tensor([0]))
        assert batch.targets is None
        assert batch.mask is not None
    both = mask.read_inputs([root / "images" / "3.png", picture(1)], schema)
    assert len(both) == 2
    assert np.array_equal(both.images[1][..., 0], picture(1))
    with pytest.raises(InputError, match="no images to predict"):
        mask.read_inputs([], schema)


def test_content_decides_hashes_and_fingerprints(tmp_path: Path) -> None:
    first = read_all(pairs(tmp_path / "a"))
    same = read_all(pairs(tmp_path / "b"))
    assert first.fingerprint() == same.fingerprint()
    assert np.array_equal(first.hashes(), same.hashes())
    assert len(set(first.hashes().tolist())) == 6
    save(tmp_path / "b" / "masks" / "2.png", blob(99))
    changed = read_all(tmp_path / "b")
    assert first.fingerprint() != changed.fingerprint()
    assert np.array_equal(first.hashes(), changed.hashes())
    images, masks = arrays()
    one, two = (read_all((images, answers)) for answers in (masks, 1 - masks))
    assert one.fingerprint() != two.fingerprint()


def test_outlines_are_drawn_in_the_colours_of_classes(tmp_path: Path) -> None:
    answers = np.zeros((9, 9), np.uint8)
    answers[2:7, 2:7] = 1
    target = MaskTarget(classes=("background", "object"), levels=((0,), (255,)), pixels=(1, 1), background=0)
    colour = np.array(mask.class_colours(target)[1])
    pixels = np.full((9, 9, 1), 100, np.uint8)
    drawn = mask.overlay(pixels, answers, target)
    assert drawn.shape == (9, 9, 3)
    assert (drawn[2, 2:7] == colour).all()
    assert (drawn[0, 0] == 100).all()
    assert np.array_equal(drawn[4, 4], np.rint(0.7 * 100 + 0.3 * colour))
    truth = np.zeros((9, 9), np.uint8)
    truth[4:, 4:] = 1
    assert (mask.overlay(pixels, answers, target, truth)[4, 4:] == 255).all()
    assert outline(answers).sum() == 16 + 20  # the square's rim, and its neighbours outside
    shown = mask.show(read_all(pairs(tmp_path)), 0)
    assert shown.image is not None
    assert "255 13.3%" in shown.values["mask"]


def test_drawing_leaves_the_unknown_alone() -> None:
    target = MaskTarget(classes=("0", "1"), levels=((0,), (1,)), pixels=(1, 1))
    assert len(set(mask.class_colours(target))) == 2
    drawn = mask.overlay(np.full((4, 4, 1), 50, np.uint8), np.full((4, 4), IGNORE, np.uint8), target)
    assert (drawn == 50).all()


# writing


PALETTE = tuple(np.random.default_rng(0).integers(0, 256, 768).tolist())
TARGETS = {
    "two levels": MaskTarget(classes=("a", "b"), levels=((0,), (255,)), pixels=(1, 1), background=0),
    "indices": MaskTarget(classes=("a", "b", "c"), levels=((0,), (1,), (7,)), pixels=(1, 1, 1), ignore=((255,),)),
    "palette": MaskTarget(classes=("a", "b", "c"), levels=((0,), (3,), (9,)), pixels=(1, 1, 1), palette=PALETTE),
    "16 bits": MaskTarget(classes=("a", "b", "c"), levels=((0,), (300,), (9000,)), pixels=(1, 1, 1)),
    "colours": MaskTarget(classes=("a", "b"), levels=((0, 0, 0), (255, 7, 0)), pixels=(1, 1), ignore=((9, 9, 9),)),
}


@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7)])
def test_what_is_written_is_read_as_the_same_classes(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    target = TARGETS[name]
    classes = np.random.default_rng(1).integers(0, len(target.classes), shape).astype(np.uint8)
    if target.ignore:
        classes[..., 0, 0] = IGNORE
    ending = "png" if len(shape) == 2 else "tif"
    (tmp_path / "masks").mkdir()
    mask.write_mask(tmp_path / "masks" / f"a.{ending}", classes, target)
    save_pages(tmp_path / "images" / f"a.{ending}", np.zeros(shape, np.uint8).reshape(-1, *shape[-2:]))
    with Image.open(tmp_path / "masks" / f"a.{ending}") as image:
        modes = {"palette": "P", "16 bits": "I;16", "colours": "RGB"}
        assert image.mode == modes.get(name, "L")
    records = read_all(tmp_path)
    schema = mask.MaskSchema(target=target, patch_px=(6, 7), channels=1, mean=(0.0,), std=(1.0,))
    targets = mask.encode(records, schema).batch(torch.arange(len(records))).targets
    assert targets is not None
    assert np.array_equal(targets.numpy().reshape(shape), classes)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)))
def test_any_mask_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, classes: Pixels) -> None:
    root = tmp_path_factory.mktemp("written")
    levels = ((0,), (2,), (50,), (100,), (255,))
    target = MaskTarget(classes=tuple("abcde"), levels=levels, pixels=(1,) * 5)
    (root / "masks").mkdir()
    mask.write_mask(root / "masks" / "a.png", classes, target)
    save(root / "images" / "a.png", np.zeros(classes.shape, np.uint8))
    records = read_all(root)
    schema = mask.MaskSchema(target=target, patch_px=classes.shape, channels=1, mean=(0.0,), std=(1.0,))
    targets = mask.encode(records, schema).batch(torch.tensor([0])).targets
    assert targets is not None
    assert np.array_equal(targets[0].numpy(), classes)


def test_memory_that_is_short_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    for number in range(3):
        save(root / "images" / f"{number}.png", picture(number, (700, 600), 3))
        save(root / "masks" / f"{number}.png", blob(number, (700, 600)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kept, spilled = read_all(root), read_all(root, replace(OPTIONS, memory_mb=1))
    schema = mask.learn_schema(kept, OPTIONS)
    first, second = (mask.encode(records, schema).batch(torch.arange(3), seeded(0)) for records in (kept, spilled))
    assert torch.equal(first.inputs[0], second.inputs[0])
    assert (first.targets is not None, second.targets is not None) == (True, True)
    assert torch.equal(first.targets, second.targets)  # type: ignore[arg-type]
