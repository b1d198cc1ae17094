"""Rows 10, 14, 15, 16 and 17 of faults.md: odd, broken and misplaced pictures."""

from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import image
from chainrule.data.config import DataConfig
from chainrule.data.image.decode import DARK, Unreadable, decode, decode_files
from chainrule.data.image.records import ImageRecords
from chainrule.data.sources import open_source
from chainrule.errors import InputError

OPTIONS = DataConfig(max_bad_share=0.9)
RED, GREY = (200, 30, 40), 90


def encoded(picture: Image.Image, form: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **settings)
    return buffer.getvalue()


def pixels_of(content: bytes, longer_side_px: int = 256) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    return decode(content, max_pixels=1_000_000, longer_side_px=longer_side_px)


def read_all(folder: Path, options: DataConfig = OPTIONS) -> ImageRecords:
    return image.read(open_source(folder), options)["all"]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for place in range(4):
            Image.new("RGB", (12, 10), (place, 50, 70)).save(tmp_path / "pets" / name / f"{place}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG"])
def test_colour_in_every_format(form: str) -> None:
    settings = {"lossless": True} if form == "WEBP" else {}
    pixels, remarks = pixels_of(encoded(Image.new("RGB", (6, 4), RED), form, **settings))
    tolerance = 3 if form == "JPEG" else 0  # lossy by design
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - RED).max() <= tolerance
    assert remarks == ()


@pytest.mark.parametrize(("mode", "form"), [("L", "PNG"), ("L", "PPM"), ("L", "JPEG"), ("RGB", "PNG"), ("P", "PNG")])
def test_pictures_without_colour_are_grey(mode: str, form: str) -> None:
    pixels, _ = pixels_of(encoded(Image.new("L", (6, 4), GREY).convert(mode), form))
    assert pixels.shape == (4, 6, 1)
    assert (pixels == GREY).all()


def test_two_levels_are_black_and_white() -> None:
    pixels, _ = pixels_of(encoded(Image.new("1", (6, 4), 1), "PNG"))
    assert (pixels == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (6, 4), (*RED, 0))
    clear.paste((*RED, 255), (0, 0, 3, 4))
    clear.paste((*RED, 128), (3, 0, 4, 4))
    if mode == "P":
        palette = Image.new("P", (6, 4), 1)
        palette.putpalette([*RED, 0, 0, 0])
        palette.paste(0, (0, 0, 3, 4))
        content = encoded(palette, "PNG", transparency=1)
    else:
        content = encoded(clear.convert("LA") if mode == "LA" else clear, "TIFF" if mode == "LA" else "PNG")
    pixels, remarks = pixels_of(content)
    assert remarks == ("transparent: laid on white",)
    solid = np.array(Image.new("RGB", (1, 1), RED).convert("L") if mode == "LA" else Image.new("RGB", (1, 1), RED))
    assert (pixels[:, :3] == solid.ravel()[: pixels.shape[2]]).all()
    assert (pixels[:, 4:] == 255).all()
    if mode == "RGBA":
        half = np.array(RED) * 128 / 255 + 255 * 127 / 255
        assert np.abs(pixels[:, 3] - half).max() <= 1  # rounding


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_levels_are_scaled_not_clipped(form: str) -> None:
    levels = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    pixels, remarks = pixels_of(encoded(Image.fromarray(levels), form))
    assert np.array_equal(pixels[..., 0], np.rint(levels / 257).astype(np.uint8))
    assert remarks == ("more than 8 bits: scaled to 8",)


def test_16_bit_files_that_use_few_levels_are_warned_of(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(tmp_path / name / "1.png")
    assert [found.level for found in image.findings(read_all(tmp_path)) if DARK in found.text] == ["warning"]


@pytest.mark.parametrize(("levels", "white"), [((0.0, 0.5, 1.0), 1), ((0.0, 51.0, 255.0), 255)])
def test_decimal_levels_are_scaled(levels: tuple[float, ...], white: float) -> None:
    pixels, _ = pixels_of(encoded(Image.fromarray(np.array([levels], np.float32)), "TIFF"))
    assert pixels.ravel().tolist() == np.rint(np.array(levels) * 255 / white).tolist()


@pytest.mark.parametrize("levels", [(-1.0, 0.5), (0.0, 4000.0), (float("nan"), 1.0)])
def test_decimal_levels_that_nothing_explains_are_unreadable(levels: tuple[float, ...]) -> None:
    with pytest.raises(Unreadable, match=r"levels from|NaN"):
        pixels_of(encoded(Image.fromarray(np.array([levels], np.float32)), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    pixels, remarks = pixels_of(encoded(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "TIFF"))
    assert (pixels == (255, 0, 0)).all()
    assert remarks == ("CMYK converted to RGB",)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_used(form: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    settings = {"lossless": True} if form == "WEBP" else {}
    pixels, remarks = pixels_of(encoded(frames[0], form, save_all=True, append_images=frames[1:], **settings))
    assert (pixels == RED).all()
    assert remarks == ("animated or several pages: first frame used",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (8, 4), (0, 0, 255))
    upright.paste(RED, (0, 0, 2, 2))  # red marks the upper left
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
    turns |= {7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = upright.transpose(Image.Transpose[turns[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, remarks = pixels_of(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(pixels, np.asarray(upright))
    assert remarks == (() if orientation == 1 else ("rotated as the camera says",))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"just some text", "not a picture, it starts with b'just som'"),
        (png_header(2_000, 1_000), "2000 x 1000 pixels, more than data.max_pixels=1,000,000"),
        (encoded(Image.new("RGB", (64, 64), RED), "JPEG")[:-300], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
    ],
)
def test_bad_content_gives_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        pixels_of(content)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_no_damage_escapes_as_another_exception(form: str) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)), form)
    for place in range(60):
        bad = bytearray(whole[: 1 + len(whole) * (place % 10 + 1) // 10])
        for at in rng.integers(0, len(bad), 6):
            bad[at] = rng.integers(256)
        try:
            pixels, _ = pixels_of(bytes(bad))
        except Unreadable:
            continue
        assert pixels.dtype == np.uint8


def test_bad_files_are_skipped_with_reason_and_the_rest_is_read(pets: Path) -> None:
    (pets / "cat" / "empty.jpg").touch()
    (pets / "dog" / "text.png").write_text("hello")
    whole = (pets / "dog" / "1.png").read_bytes()
    (pets / "dog" / "cut.png").write_bytes(whole[:40])
    (pets / "dog" / "really_png.jpg").write_bytes(whole)  # a wrong suffix alone does no harm
    (pets / "dog" / "huge.png").write_bytes(png_header(60_000, 60_000))
    records = read_all(pets)
    assert len(records) == 9
    assert "dog/really_png.jpg" in records.ids
    reasons = dict(records.store.skipped)
    assert sorted(reasons) == ["cat/empty.jpg", "dog/cut.png", "dog/huge.png", "dog/text.png"]
    assert "0 bytes" in reasons["cat/empty.jpg"]
    assert "data.max_pixels=100,000,000" in reasons["dog/huge.png"]
    assert any("4 images cannot be read" in found.text for found in image.findings(records))
    assert records.labels is not None
    assert records.labels.tolist() == [name.split("/")[0] for name in records.ids]


def test_too_many_bad_files_stop_with_the_list(pets: Path) -> None:
    (pets / "cat" / "empty.jpg").touch()
    message = r"1 of 9 images cannot be read, more than data.max_bad_share=0.05[\s\S]*cat/empty.jpg: empty file"
    with pytest.raises(InputError, match=message):
        read_all(pets, DataConfig())


def test_pillows_own_limit_is_put_back(pets: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    for given_up in (False, True):
        decoded = decode_files([pets / "cat" / "0.png"] * 3, max_pixels=10, longer_side_px=64)
        assert next(decoded).pixels is None
        assert given_up or len(list(decoded)) == 2
        decoded.close()
        assert before == Image.MAX_IMAGE_PIXELS


def test_large_files_are_kept_small_and_keep_their_shape() -> None:
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)).resize((1200, 800))
    for form in ("PNG", "JPEG"):
        pixels, _ = pixels_of(encoded(large, form), longer_side_px=120)
        assert pixels.shape == (80, 120, 3)
        small = np.asarray(large.resize((120, 80), Image.Resampling.BOX)).astype(int)
        assert np.abs(pixels - small).mean() < 3


def test_what_is_no_picture_is_ignored_and_reported(pets: Path) -> None:
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "cat/notes.txt",
        ".git/config.png",
        "__MACOSX/cat/._1.png",
        "cat/.hidden.png",
    ):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / name).write_bytes(b"junk")
    records = read_all(pets, DataConfig())
    assert len(records) == 8
    assert records.labels is not None
    assert set(records.labels) == {"cat", "dog"}
    assert set(records.store.ignored) == {
        ".DS_Store", "Thumbs.db", "cat/notes.txt", ".git/", "__MACOSX/", "cat/.hidden.png"
    }  # fmt: skip
    assert any("6 other files or folders ignored" in found.text for found in image.findings(records))


def test_images_outside_the_class_folders_are_reported(pets: Path) -> None:
    Image.new("RGB", (9, 9)).save(pets / "stray.png")
    records = read_all(pets)
    assert len(records) == 8
    assert "stray.png" in records.store.ignored


def test_an_empty_class_folder_is_reported_and_is_no_class(pets: Path) -> None:
    (pets / "cow").mkdir()
    records = read_all(pets)
    assert any("class folder 'cow' holds no images" in found.text for found in image.findings(records))
    schema = image.learn_schema(records, OPTIONS)
    assert schema.target is not None
    assert schema.target.classes == ("cat", "dog")  # type: ignore[union-attr]


def test_a_class_of_one_image_is_warned_of(pets: Path) -> None:
    (pets / "cow").mkdir()
    Image.new("RGB", (9, 9), RED).save(pets / "cow" / "1.png")
    found = [one for one in image.findings(read_all(pets)) if "single image" in one.text]
    assert [(one.level, one.where) for one in found] == [("warning", ("cow",))]


def test_one_class_only_is_refused_with_the_count(tmp_path: Path) -> None:
    for form in ("set/cat/{}.png", "flat/{}.png"):
        for place in range(3):
            path = tmp_path / form.format(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), RED).save(path)
    with pytest.raises(InputError, match=r"the images, the first '0.png', have no labels or class folders"):
        image.learn_schema(read_all(tmp_path / "flat"), OPTIONS)
    with pytest.raises(InputError, match="the images, the first"):
        image.learn_schema(read_all(tmp_path / "set"), OPTIONS)
    with pytest.raises(InputError, match="all 4 images to learn from are of one class, '7'"):
        image.learn_schema(image.read(open_source((np.zeros((4, 8, 8), np.uint8), [7] * 4)), OPTIONS)["all"], OPTIONS)


def test_blank_images_are_counted(pets: Path) -> None:
    assert any("8 images of a single colour" in found.text for found in image.findings(read_all(pets)))


@pytest.mark.parametrize(
    ("X", "reason"),
    [
        (np.full((3, 8, 8), np.nan), "NaN or infinite pixels in 3 images, the first: 0, 1, 2"),
        (np.array([np.zeros((8, 8)), np.full((8, 8), np.inf)]), "in 1 images, the first: 1"),
        (np.full((3, 8, 8), -1.0), r"pixels from -1 to 0; expected 0..1 or 0..255"),
        (np.full((3, 8, 8), 256.0), "expected 0..1 or 0..255 as decimal"),
        (np.full((3, 8, 8), 70_000), "expected 0..255 or 0..65535 as whole"),
        (np.full((3, 8, 8), 1j), "of type complex128"),
    ],
)
def test_levels_that_nothing_explains_are_refused(X: np.ndarray[Any, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        image.read(open_source((X, np.arange(len(X)))), OPTIONS)


def test_labels_that_do_not_fit_are_refused() -> None:
    X = np.zeros((4, 8, 8), np.uint8)
    for labels, reason in (
        (np.arange(3), "X has 4 rows and y has 3"),
        (np.ones((4, 3)), "several classes per image"),
        (np.zeros((4, 2, 2)), r"labels of shape \(4, 2, 2\)"),
    ):
        with pytest.raises(InputError, match=reason):
            image.read(open_source((X, labels)), OPTIONS)


def test_an_npz_of_python_objects_or_a_cut_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([{}, []], dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        image.read(open_source(path), OPTIONS)
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2))
    path.write_bytes(path.read_bytes()[:-40])
    assert image.recognises(open_source(path)) is None


@pytest.mark.parametrize("compressed", [True, False])
def test_a_broken_npz_is_refused_although_it_is_not_loaded(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, 200, 200), dtype=np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, images=images, labels=np.arange(50) % 2)
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read"):
        image.read(open_source(path), DataConfig(memory_mb=1))


def test_a_disk_that_fills_while_images_are_decoded_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for place in range(20):
        (tmp_path / "ab"[place % 2]).mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "ab"[place % 2] / f"{place}.png", compress_level=0)

    def full(descriptor: int, content: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"takes 2,400,000 bytes, more than memory allows, .* set TMPDIR"):
        read_all(tmp_path, DataConfig(memory_mb=1))
    assert Image.MAX_IMAGE_PIXELS is not None
    assert len(read_all(tmp_path, DataConfig(memory_mb=10))) == 20


@pytest.mark.parametrize("zipped", [True, False])
def test_a_cut_idx_is_refused_although_it_is_not_loaded(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * zipped)
    content = bytes([0, 0, 8, 3]) + np.array([30, 200, 200], ">u4").tobytes() + bytes(30 * 200 * 200)
    for wrong in (content[:-1], content + b"x"):
        path.write_bytes(gzip.compress(wrong) if zipped else wrong)
        with pytest.raises(InputError, match=r"broken or truncated|header \(30, 200, 200\) asks for"):
            image.read(open_source(path), DataConfig(memory_mb=1))


def test_idx_files_that_disagree_with_their_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + np.array([3, 8, 8], ">u4").tobytes() + bytes(100))
    with pytest.raises(InputError, match=r"has 116 bytes, its header \(3, 8, 8\) asks for 208"):
        image.read(open_source(path), OPTIONS)


def test_settings_that_images_cannot_follow_are_refused(pets: Path) -> None:
    for options in (replace(OPTIONS, target="x"), replace(OPTIONS, time="x"), replace(OPTIONS, drop=("x",))):
        with pytest.raises(InputError, match="names a column"):
            read_all(pets, options)
    with pytest.raises(InputError, match="pattern over file names"):
        image.read(open_source((np.zeros((4, 8, 8)), np.arange(4))), replace(OPTIONS, group="(p)"))


@pytest.mark.parametrize("size", [-1, 7, 5000])
def test_an_absurd_size_is_refused(pets: Path, size: int) -> None:
    with pytest.raises(InputError, match=f"data.image_size is {size}; expected 8 to 4096"):
        image.learn_schema(read_all(pets), replace(OPTIONS, image_size=size))


def test_a_table_that_names_absent_files_skips_them_with_reason(pets: Path) -> None:
    rows = ["path,label", *(f"cat/{place}.png,c{place % 2}" for place in range(4)), "cat/absent.png,c1"]
    (pets / "labels.csv").write_text("\n".join(rows) + "\n")
    records = image.read(open_source(pets / "labels.csv"), OPTIONS)["all"]
    assert len(records) == 4
    assert records.store.skipped == (("cat/absent.png", "cannot be opened (No such file or directory)"),)
    with pytest.raises(InputError, match="there is no column 'lable'; did you mean 'label'"):
        image.read(open_source(pets / "labels.csv"), replace(OPTIONS, target="lable"))
    (pets / "labels.csv").write_text("\n".join([*rows, rows[1]]) + "\n")
    with pytest.raises(InputError, match=r"names 'cat/0.png' 2 times"):
        image.read(open_source(pets / "labels.csv"), OPTIONS)
