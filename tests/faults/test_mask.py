"""Odd, broken and misplaced masks: what is refused with the way out, and what is left out and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from chainrule.data import mask
from chainrule.data.config import DataConfig
from chainrule.data.image.decode import ROTATED
from chainrule.data.mask.codes import ALPHA
from chainrule.data.mask.decode import TURNED, UPRIGHT
from chainrule.data.mask.records import MaskRecords
from chainrule.data.schema import MaskTarget
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.prepare import prepare

OPTIONS = DataConfig(max_bad_share=0.4)
SIZE = (12, 10)
TURN_RIGHT, UPSIDE_DOWN = 6, 3  # of a camera, as EXIF numbers them


def save(path: Path, pixels: NDArray[Any], **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)
    return path


def noise(seed: int, size: tuple[int, ...] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def corner(level: int = 255, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    found = np.zeros(size, np.uint8)
    found[: size[0] // 2, : size[1] // 3 + 1] = level
    return found


def masked(root: Path, *masks: NDArray[Any], ending: str = "png", **settings: Any) -> Path:
    """A folder of these masks with an image for each."""
    for number, answer in enumerate(masks):
        save(root / "images" / f"{number}.png", noise(number, answer.shape[:2]))
        save(root / "masks" / f"{number}.{ending}", answer, **settings)
    return root


def read(root: Any, options: DataConfig = OPTIONS) -> MaskRecords:
    return mask.read(open_source(root), options)["all"]


def learn(root: Path, options: DataConfig = OPTIONS) -> MaskTarget:
    target = mask.learn_schema(read(root, options), options).target
    assert target is not None
    return target


def texts(records: MaskRecords, level: str = "") -> list[str]:
    return [finding.text for finding in mask.findings(records) if level in ("", finding.level)]


# levels that are no classes


def disc(size: int = 60) -> NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size] - size / 2
    return (255 * (y**2 + x**2 < (size / 3) ** 2)).astype(np.uint8)


def test_jpeg_noise_is_refused_by_name_and_a_threshold_mends_it(tmp_path: Path) -> None:
    root = masked(tmp_path, *[disc()] * 3, ending="jpg", quality=60)
    with pytest.raises(InputError, match=r"levels.*0\.jpg blur the edges.*data\.threshold \(such as 128\)"):
        learn(root)
    options = replace(OPTIONS, threshold=128)
    assert learn(root, options).levels == ((0,), (255,))
    schema = mask.learn_schema(read(root, options), options)
    targets = mask.encode(read(root, options), schema).batch(torch.tensor([0])).targets
    assert targets is not None
    assert (targets[0].numpy() != (disc() == 255)).mean() < 0.01  # JPEG moves the edge by a pixel here and there


def test_coloured_jpeg_noise_is_refused(tmp_path: Path) -> None:
    coloured = np.stack([disc(), noise(1, (60, 60)) // 200 * 60, 0 * disc()], axis=2)
    root = masked(tmp_path, coloured, coloured, ending="jpg", quality=50)
    with pytest.raises(InputError, match=r"too many levels to be classes: 0\.jpg \(\d+ different colours\)"):
        learn(root)


def smooth(size: int = 60, steps: int = 255) -> NDArray[np.uint8]:
    """A disc whose edge is a ramp of levels."""
    y, x = np.mgrid[:size, :size] - size / 2
    ramp = np.clip((size / 3 - np.hypot(y, x)) / 3 + 0.5, 0, 1)
    return np.rint(np.rint(ramp * steps) * (255 / steps)).astype(np.uint8)


@pytest.mark.parametrize(("steps", "reason"), [(255, "numbered without a gap|hold"), (20, "hold 0.0")])
def test_smoothed_edges_are_refused(tmp_path: Path, steps: int, reason: str) -> None:
    root = masked(tmp_path, smooth(200, steps), smooth(200, steps))
    with pytest.raises(InputError, match=rf"masks have \d+ levels.*most in images/0\.png \d+.*({reason})"):
        learn(root)


def test_interpolated_colours_are_refused(tmp_path: Path) -> None:
    edge = smooth(200, 60).astype(float)[..., None] / 255
    coloured = np.rint(edge * [200, 30, 10] + (1 - edge) * [0, 0, 90]).astype(np.uint8)
    root = masked(tmp_path, coloured, coloured)
    with pytest.raises(InputError, match=r"masks have \d+ colours.*save them as PNG without smoothing"):
        learn(root)


def test_grey_levels_in_earnest_are_classes(tmp_path: Path) -> None:
    levels = (np.arange(120).reshape(SIZE) % 12 * 20).astype(np.uint8)
    assert len(learn(masked(tmp_path, levels, levels)).classes) == 12


def test_many_classes_without_a_gap_are_classes(tmp_path: Path) -> None:
    levels = np.arange(120, dtype=np.uint8).reshape(SIZE)
    assert len(learn(masked(tmp_path, levels, levels)).classes) == 120


def test_more_than_255_classes_are_refused(tmp_path: Path) -> None:
    levels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    root = masked(tmp_path, levels, levels)
    with pytest.raises(
        InputError, match=r"2 masks have too many levels to be classes: 0\.png \(400 different levels\)"
    ):
        learn(root)
    first, second = levels // 2, 250 + levels // 2
    root = masked(tmp_path / "each", first, second)
    with pytest.raises(InputError, match="more than 256 levels together"):
        learn(root)
    every = np.arange(1, 257, dtype=np.uint16).reshape(16, 16)
    with pytest.raises(InputError, match="256 levels; at most 255 classes"):
        learn(masked(tmp_path / "all", every, every))


def test_numbers_of_objects_are_refused(tmp_path: Path) -> None:
    masks = []
    for count in (3, 9, 5, 12, 7, 1, 0):
        answer = np.zeros((16, 16), np.uint16)
        answer.ravel()[: 4 * count] = np.repeat(np.arange(1, count + 1), 4)
        masks.append(answer)
    root = masked(tmp_path, *masks)
    with pytest.raises(InputError, match=r"number the objects.*n from 1 to 12.*data\.threshold=1"):
        learn(root)
    assert learn(root, replace(OPTIONS, threshold=1)).classes == ("background", "object")


@pytest.mark.parametrize(("level", "words"), [(0, "0 in 360"), (255, "255 in 360")])
def test_masks_of_one_level_are_refused_with_the_count(tmp_path: Path, level: int, words: str) -> None:
    root = masked(tmp_path, *[np.full(SIZE, level, np.uint8)] * 3)
    with pytest.raises(InputError, match=rf"all 3 masks to learn from have a single level \({words} of 360 pixels\)"):
        learn(root)


def test_wide_levels_are_classes(tmp_path: Path) -> None:
    answers = corner().astype(np.uint16) * 200
    target = learn(masked(tmp_path, answers, answers))
    assert target.levels == ((0,), (51000,))


@pytest.mark.parametrize(
    ("values", "reason"),
    [(np.full(SIZE, 0.5, np.float32), "numbers with fractions"), (np.full(SIZE, -3, np.int32), "negative level -3")],
)
def test_decimal_and_negative_masks_are_bad_files(tmp_path: Path, values: NDArray[Any], reason: str) -> None:
    root = masked(tmp_path, corner(), corner())
    save(root / "images" / "2.png", noise(2))
    save(root / "masks" / "2.tif", values)
    records = read(root)
    assert len(records) == 2
    assert any("images/2.png: its mask 2.tif: " in text and reason in text for text in texts(records, "warning"))


def test_masks_on_a_transparent_ground(tmp_path: Path) -> None:
    clear = np.zeros((*SIZE, 4), np.uint8)
    clear[:6, :4] = (200, 0, 0, 255)
    clear[8:] = (9, 9, 9, 0)  # a colour that nobody sees
    black = np.zeros((*SIZE, 4), np.uint8)
    black[:6, :4, 3] = 255
    records = read(masked(tmp_path / "colour", clear, clear))
    assert set(records.store.levels) == {(0,), (200, 0, 0)}
    assert ALPHA in records.store.remarks
    assert learn(masked(tmp_path / "black", black, black)).levels == ((0,), (255,))


def test_palettes_that_disagree_are_refused(tmp_path: Path) -> None:
    root = masked(tmp_path, corner(1), corner(1))
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0))):
        image = Image.fromarray(corner(1))
        image.putpalette((0, 0, 0, *colour))
        image.save(root / "masks" / f"{number}.png")
    with pytest.raises(InputError, match=r"index 1 .* is #ff0000 in one mask and #00ff00 in another"):
        read(root)
    save(root / "masks" / "1.png", np.repeat(corner()[..., None], 3, axis=2) * np.array([1, 0, 0], np.uint8))
    with pytest.raises(InputError, match="some masks are indices into a palette and others are colours"):
        read(root)


# pairs that do not fit


def test_what_has_no_partner_is_left_out_and_named(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 8)
    (root / "masks" / "3.png").unlink()
    (root / "images" / "5.png").unlink()
    records = read(root)
    assert len(records) == 6
    warned = texts(records, "warning")
    assert len(warned) == 1
    assert "2 images or masks have no partner" in warned[0]
    assert "images/3.png has no mask" in warned[0]
    assert "masks/5.png has no image" in warned[0]
    with pytest.raises(InputError, match=r"2 of 8 images and masks have no partner.*an empty mask.*\n.*images/3.png"):
        read(root, replace(OPTIONS, max_bad_share=0.05))


def test_a_mask_of_another_size_is_a_bad_file_with_both_sizes(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 6)
    save(root / "masks" / "2.png", corner(255, (10, 12)))
    records = read(root)
    assert len(records) == 5
    words = "images/2.png: its mask 2.png has 10 x 12 pixels, the image 12 x 10 (height x width)"
    assert any(words in text for text in texts(records, "warning"))
    with pytest.raises(InputError, match="1 of 6 images cannot be read"):
        read(root, replace(OPTIONS, max_bad_share=0.1))


def turned(path: Path, pixels: NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    save(path, pixels, exif=exif)


def test_a_mask_drawn_before_the_camera_turned_its_image_is_turned_alike(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    turned(root / "images" / "1.png", noise(1), TURN_RIGHT)
    records = read(root)
    row = records.ids.index("images/1.png")
    assert np.array_equal(records.images[row][..., 0], np.rot90(noise(1), -1))
    assert records.masks is not None
    codes = records.masks[row]
    assert np.array_equal(np.array(records.store.levels)[codes][..., 0], np.rot90(corner(), -1))
    assert records.store.remarks == {TURNED: ("images/1.png",)}


@pytest.mark.parametrize(("size", "orientation"), [(SIZE, UPSIDE_DOWN), ((10, 10), TURN_RIGHT)])
def test_a_mask_whose_size_does_not_tell_is_taken_upright_and_said(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    root = masked(tmp_path, *[corner(255, size)] * 4)
    turned(root / "images" / "1.png", noise(1, size), orientation)
    records = read(root)
    assert records.masks is not None
    assert np.array_equal(np.array(records.store.levels)[records.masks[1]][..., 0], corner(255, size))
    assert records.store.remarks == {UPRIGHT: ("images/1.png",)}


def test_image_and_mask_that_are_turned_alike_fit(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    turned(root / "images" / "1.png", noise(1), TURN_RIGHT)
    turned(root / "masks" / "1.png", corner(), TURN_RIGHT)
    records = read(root)
    assert records.masks is not None
    assert np.array_equal(np.array(records.store.levels)[records.masks[1]][..., 0], np.rot90(corner(), -1))
    assert records.store.remarks == {ROTATED: ("images/1.png",)}


@pytest.mark.parametrize("side", ["images", "masks"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: b"", "empty file (0 bytes)"),
        (lambda content: content[: len(content) // 2], "broken or truncated"),
        (lambda content: b"what is this", "not a picture"),
    ],
)
def test_broken_files_are_left_out(tmp_path: Path, side: str, spoil: Callable[[bytes], bytes], reason: str) -> None:
    root = masked(tmp_path, *[corner()] * 5)
    path = root / side / "2.png"
    path.write_bytes(spoil(path.read_bytes()))
    records = read(root)
    assert records.ids == tuple(f"images/{number}.png" for number in (0, 1, 3, 4))
    ((name, said),) = records.store.skipped
    assert name == "images/2.png"
    assert reason in said
    assert ("its mask 2.png" in said) == (side == "masks")


def test_huge_pictures_are_refused(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    save(root / "images" / "1.png", noise(0, (40, 40)))
    save(root / "masks" / "1.png", corner(255, (40, 40)))
    records = read(root, replace(OPTIONS, max_pixels=1000))
    assert "40 x 40 pixels, more than data.max_pixels=1,000" in records.store.skipped[0][1]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 5)
    (root / "masks" / "2.png").unlink()
    (root / "masks" / "2.png").symlink_to(root / "nothing.png")
    assert read(root).store.skipped == (
        ("images/2.png", "its mask 2.png cannot be opened (No such file or directory)"),
    )


def test_several_masks_of_many_levels_cannot_be_united(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.png", noise(number))
        save(tmp_path / f"{number}_mask.png", corner(1))
    save(tmp_path / "3_mask_1.png", corner(2))
    records = read(tmp_path)
    assert "its 2 masks have 3 levels together (0, 1, 2)" in records.store.skipped[0][1]


def test_several_folders_of_masks_have_to_be_chosen_from(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    for number in range(4):
        save(root / "1st_manual" / f"{number}.png", corner(7))
    with pytest.raises(
        InputError, match=r"several folders of masks.*1st_manual, masks; say which.*--target 1st_manual"
    ):
        read(root)
    assert set(read(root, replace(OPTIONS, target="1st_manual")).store.levels) == {(0,), (7,)}
    assert set(read(root, replace(OPTIONS, target="masks")).store.levels) == {(0,), (255,)}
    with pytest.raises(InputError, match="several folders"):
        read(root, replace(OPTIONS, target="other"))


def test_masks_by_class_in_folders_are_not_mixed(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", noise(number))
        for name in ("liver", "kidney"):
            save(tmp_path / "masks" / name / f"{number}.png", corner())
    with pytest.raises(InputError, match=r"several folders of masks for the same images: kidney, liver"):
        read(tmp_path)
    chosen = read(tmp_path, replace(OPTIONS, target="liver"))
    assert len(chosen) == 4


def test_a_target_that_is_no_folder_of_masks(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    with pytest.raises(InputError, match=r"--target 'answers' is no folder of masks.*images/ beside masks/"):
        read(root, replace(OPTIONS, target="answers"))


def test_names_that_have_nothing_in_common(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", noise(1))
        save(tmp_path / "masks" / f"other {name}.png", corner())
    with pytest.raises(InputError, match=r"no image in .* has a mask of its name.*images/a.png.*masks/other a.png"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"time": "day"}, r"data.time is 'day'.*data.time=name takes the order"),
        ({"drop": ("a",)}, "data.drop names a column"),
        ({"group": "(x"}, "is not a regular expression"),
        ({"slices": "volume"}, "4 of 4 images cannot be read.*data.slices=volume takes files of several pages"),
        ({"image_size": 2}, "data.image_size is 2"),
    ],
)
def test_settings_that_cannot_be_followed(tmp_path: Path, setting: dict[str, Any], message: str) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    with pytest.raises(InputError, match="(?s)" + message):
        read(root, replace(OPTIONS, **setting))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"slices": "all"}, "data.slices must be each or volume"),
        ({"patch": (0,)}, "data.patch is one to three numbers"),
        ({"threshold": -1}, "data.threshold must be a mask level"),
    ],
)
def test_silly_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**setting)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    (root / "masks" / "Thumbs.db").write_bytes(b"x")
    save(root / "masks" / "._1.png", corner())
    save(root / "preview.png", noise(0))
    records = read(root)
    assert len(records) == 4
    assert records.store.ignored == ("preview.png",)


# volumes


def pages(path: Path, count: int, level: int = 255, sizes: tuple[tuple[int, int], ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(corner(level, size)) for size in sizes or [SIZE] * count)
    first.save(path, save_all=True, append_images=rest)


def test_volumes_of_unequal_numbers_of_pages(tmp_path: Path) -> None:
    for number in range(4):
        pages(tmp_path / "images" / f"{number}.tif", 3, 90)
        pages(tmp_path / "masks" / f"{number}.tif", 2 if number == 1 else 3)
    records = read(tmp_path)
    assert len(records) == 9
    assert records.store.skipped == (("images/1.tif", "its mask 1.tif has 2 pages, the image 3"),)


def test_pages_of_several_sizes_are_no_volume(tmp_path: Path) -> None:
    for number in range(4):
        sizes = ((12, 10), (12, 10 + number % 2))
        pages(tmp_path / "images" / f"{number}.tif", 2, 90, sizes)
        pages(tmp_path / "masks" / f"{number}.tif", 2, 255, sizes)
    records = read(tmp_path, replace(OPTIONS, slices="volume", max_bad_share=0.6))
    assert len(records) == 2
    assert "pages of several sizes" in records.store.skipped[0][1]
    assert len(read(tmp_path)) == 8


# what the audit says


def test_a_class_that_only_the_test_part_has_is_named(tmp_path: Path) -> None:
    masked(tmp_path / "train", *[corner(1)] * 6)
    for number in range(3):
        save(tmp_path / "test" / "images" / f"{number}.png", noise(40 + number))
        save(tmp_path / "test" / "masks" / f"{number}.png", corner(number + 1))
    found = prepare(tmp_path, OPTIONS)
    with pytest.raises(InputError) as caught:
        mask.encode(found.parts["test"], found.schema)
    message = str(caught.value)
    assert "no mask of the train split has: 2, 3, the first in 'images/1.png'" in message
    assert "known are 0 = background, 1 = object" in message
    assert "data.ignore" in message
    mask.encode(found.parts["train"], found.schema)


def test_an_image_with_two_answers_is_a_finding(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    for number, level in ((4, 255), (5, 0)):
        save(root / "images" / f"{number}.png", noise(1))
        save(root / "masks" / f"{number}.png", corner(level))
    records = read(root)
    said = [finding for finding in mask.findings(records) if "different masks" in finding.text]
    assert [finding.where for finding in said] == [("images/1.png", "images/4.png", "images/5.png")]
    assert any(text.startswith("1 of 6 images without any object") for text in texts(records, "note"))


def test_images_of_train_that_stand_in_test_are_removed(tmp_path: Path) -> None:
    masked(tmp_path / "train", *[corner()] * 6)
    masked(tmp_path / "test", *[corner()] * 2)
    save(tmp_path / "test" / "images" / "0.png", noise(77))
    found = prepare(tmp_path, OPTIONS)
    assert len(found.parts["test"]) == 1
    assert any("1 of 2 rows of test also stand in train" in finding.text for finding in found.findings)


def test_images_of_one_colour_are_told(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    save(root / "images" / "2.png", np.full(SIZE, 7, np.uint8))
    assert any(text == "1 of 4 images of a single colour" for text in texts(read(root), "warning"))


def test_odd_and_one_pixel_wide_images_work(tmp_path: Path) -> None:
    sizes = [(1, 9), (9, 1), (1, 1), (13, 7), (5, 31), (1, 2)] * 2
    masked(tmp_path, *[corner(255, size) for size in sizes])
    found = prepare(tmp_path, replace(OPTIONS, remove_duplicates=False))
    for records in found.parts.values():
        samples = mask.encode(records, found.schema)
        for generator in (None, torch.Generator().manual_seed(0)):
            batch = samples.batch(torch.arange(len(records)), generator)
            assert batch.mask is not None
            assert batch.mask.flatten(1).any(1).all()


def test_wide_images_are_scaled_to_eight_bits(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 4)
    save(root / "images" / "2.png", np.full(SIZE, 257 * 200, np.uint16))
    assert (read(root).images[2] == 200).all()


# arrays


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.full((4, 12, 10), 0.3), "levels with fractions or NaN"),
        (np.full((4, 12, 10), np.nan), "levels with fractions or NaN"),
        (np.full((4, 12, 10), -1), "has the level -1"),
    ],
)
def test_arrays_that_are_no_masks(masks: NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read((np.zeros((4, 12, 10), np.uint8), masks))


def test_arrays_have_no_names_to_group_by() -> None:
    images = np.stack([noise(number) for number in range(4)])
    with pytest.raises(InputError, match="pattern over file names"):
        read((images, images // 128), replace(OPTIONS, group="x"))


def test_a_list_of_names_with_one_twice(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner(1)] * 3)
    (root / "class_names.txt").write_text("0 thing\n1 thing\n")
    assert learn(root).classes == ("background", "object")  # no list of names


def test_a_table_without_a_mask_for_each_image(tmp_path: Path) -> None:
    root = masked(tmp_path, *[corner()] * 6)
    rows = [f"images/{number}.png,{'' if number == 2 else f'masks/{number}.png'}" for number in range(6)]
    (root / "list.csv").write_text("image,mask\n" + "\n".join(rows) + "\n")
    records = read(root / "list.csv")
    assert records.store.lone == (("images/2.png", "has no mask"),)
    with pytest.raises(InputError, match="--target 'answer' is no column of masks; there are image, mask"):
        read(root / "list.csv", replace(OPTIONS, target="answer"))
