"""Images: what is recognised, read, learned, encoded and changed."""

from __future__ import annotations

import gzip
import hashlib
import json
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from chainrule.data import image
from chainrule.data.config import DataConfig
from chainrule.data.file_groups import found_groups
from chainrule.data.image.arrays import array_pairs
from chainrule.data.image.augment import AugmentConfig
from chainrule.data.image.idx import partner, read_idx
from chainrule.data.image.records import ImageRecords, perceptual_hash
from chainrule.data.samples import Batch, TensorSamples
from chainrule.data.schema import ClassTarget, NumberTarget
from chainrule.data.sources import open_source
from chainrule.data.store import RowSamples
from chainrule.errors import InputError
from chainrule.fitting import start_training

OPTIONS = DataConfig()


def picture(seed: int, size: tuple[int, int] = (16, 12), channels: int = 3) -> NDArray[np.uint8]:
    """Smooth random pixels (H, W, C), so that resizing and compression keep what matters."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [Image.fromarray(coarse[..., c]).resize(size[::-1], Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of three colour images."""
    for place in range(6):
        save(tmp_path / "pets" / ("cat", "dog")[place % 2] / f"{place}.png", picture(place))
    return tmp_path / "pets"


def read_all(value: Any, options: DataConfig = OPTIONS) -> ImageRecords:
    records = image.read(open_source(value), options)
    assert list(records) == ["all"]
    return records["all"]


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


# recognising and reading


def test_class_folders_are_read_with_their_names(pets: Path) -> None:
    assert image.recognises(open_source(pets)) == "2 class folders with 6 images"
    records = read_all(pets)
    assert records.ids == ("cat/0.png", "cat/2.png", "cat/4.png", "dog/1.png", "dog/3.png", "dog/5.png")
    assert records.labels is not None
    assert records.labels.tolist() == ["cat"] * 3 + ["dog"] * 3
    assert np.array_equal(records.images[3], picture(1))


def test_parts_are_read_one_by_one(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        save(tmp_path / name, picture(len(name)))
    source = open_source(tmp_path)
    assert image.recognises(source.parts["train"]) == "2 class folders with 2 images"
    assert len(image.read(source.parts["test"], OPTIONS)["all"]) == 1


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), ["train", "test"]),
        (("train_images", "train_labels", "val_images", "val_labels"), ["train", "valid"]),
        (("trainX", "trainY", "testX", "testY"), ["train", "test"]),
        (("images", "labels"), ["all"]),
        (("X", "y"), ["all"]),
        (("arr_0", "arr_1"), ["all"]),
    ],
)
def test_npz_arrays_are_paired_by_name(tmp_path: Path, names: tuple[str, ...], splits: list[str]) -> None:
    images = np.stack([picture(i, (10, 8), 1)[..., 0] for i in range(6)])
    labels = np.array([[0], [1], [0], [1], [0], [1]], np.uint8)
    np.savez(tmp_path / "a.npz", **{name: (images, labels)[i % 2] for i, name in enumerate(names)})
    source = open_source(tmp_path / "a.npz")
    assert "npz with images" in str(image.recognises(source))
    records = image.read(source, OPTIONS)
    assert list(records) == splits
    for part in records.values():
        assert part.labels is not None
        assert part.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert np.array_equal(part.images[2], images[2][..., None])


@pytest.mark.parametrize("shape", [(50, 12), (50,), (50, 3, 4), (50, 24, 2), (50, 8, 8, 5)])
def test_other_arrays_are_not_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros(shape), y=np.zeros(50))
    assert image.recognises(open_source(tmp_path / "a.npz")) is None
    assert image.recognises(open_source((np.zeros(shape), np.zeros(50)))) is None


def test_labels_are_told_from_images_by_name_and_shape() -> None:
    assert array_pairs({"y": (5,), "x": (5, 8, 8)}) == {"all": ("x", "y")}
    assert array_pairs({"x_train": (5, 8, 8, 3), "x_test": (5, 8, 8, 3), "y_train": (5,)}) == {
        "train": ("x_train", "y_train"),
        "test": ("x_test", ""),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_paired_by_name(tmp_path: Path, zipped: bool) -> None:
    images = np.stack([picture(i, (9, 7), 1)[..., 0] for i in range(8)])
    labels = np.arange(8, dtype=np.uint8) % 2
    for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
        for split in ("train", "t10k"):
            name = f"{split}-{stem}-ubyte" + (".gz" if zipped else "")
            content = idx_bytes(array if split == "train" else array[:2])
            (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    file = tmp_path / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))
    labels_file = partner(file)
    assert labels_file is not None
    assert np.array_equal(read_idx(labels_file), labels)
    for value in (file, tmp_path):
        records = image.read(open_source(value), OPTIONS)
        assert {split: len(part) for split, part in records.items()} == {"train": 8, "test": 2}
        assert records["train"].labels is not None
        assert records["train"].labels.tolist() == labels.tolist()
        assert np.array_equal(records["train"].images[5][..., 0], images[5])


def test_a_table_of_paths_gives_classes_numbers_groups_and_splits(tmp_path: Path) -> None:
    rows = ["file,kind,age,patient,split"]
    for place in range(6):
        save(tmp_path / "photos" / f"{place}.png", picture(place))
        split = "train" if place < 4 else "test"
        rows.append(f"{place}.png,{'ab'[place % 2]},{place}.5,p{place // 2},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    source = open_source(tmp_path / "labels.csv")
    assert "column 'file' holds paths" in str(image.recognises(source))
    assert image.recognises(open_source(tmp_path)) == image.recognises(source)
    parts = image.read(source, replace(OPTIONS, target="kind", group="patient"))
    assert {split: part.ids for split, part in parts.items()} == {
        "train": ("0.png", "1.png", "2.png", "3.png"),
        "test": ("4.png", "5.png"),
    }
    assert parts["train"].labels is not None
    assert parts["train"].groups is not None
    assert parts["train"].labels.tolist() == ["a", "b", "a", "b"]
    assert parts["train"].groups.tolist() == ["p0", "p0", "p1", "p1"]
    ages = image.read(source, replace(OPTIONS, target="age", task="regress"))["train"]
    schema = image.learn_schema(ages, replace(OPTIONS, task="regress"))
    assert isinstance(schema.target, NumberTarget)
    assert schema.target.name == "age"
    targets = image.encode(ages, schema).targets
    assert targets is not None
    assert targets.tolist() == [0.5, 1.5, 2.5, 3.5]
    with pytest.raises(InputError, match="which column is the answer"):
        image.read(source, OPTIONS)


def test_a_table_without_paths_is_not_images(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name,value\nphoto.png,1\nother.jpg,2\n")
    assert image.recognises(open_source(tmp_path / "rows.csv")) is None


def test_folders_of_masks_and_of_other_media_are_not_class_folders(tmp_path: Path) -> None:
    for name in ("images/1.png", "masks/1.png"):
        save(tmp_path / "pairs" / name, picture(1))
    assert image.recognises(open_source(tmp_path / "pairs")) is None
    for name in ("yes/1.wav", "no/1.wav", "no/2.wav"):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")
    save(tmp_path / "sounds" / "yes" / "cover.png", picture(1))
    assert image.recognises(open_source(tmp_path / "sounds")) is None


def test_a_mask_beside_its_image_is_not_another_image(tmp_path: Path) -> None:
    for name in ("benign/a.png", "benign/a_mask.png", "benign/a_mask_1.png", "malignant/b.png", "malignant/c_mask.png"):
        save(tmp_path / name, picture(1))
    assert read_all(tmp_path).ids == ("benign/a.png", "malignant/b.png", "malignant/c_mask.png")


def test_arrays_in_memory_with_words_as_labels() -> None:
    images = np.stack([picture(i, (8, 8)) for i in range(4)])
    for X in (images, images.transpose(0, 3, 1, 2), torch.from_numpy(images)):
        records = read_all((X, ["a", "b", "a", "b"]))
        assert np.array_equal(records.images[1], images[1])
    assert read_all({"images": images, "labels": np.array(list("abab"))}).ids[3] == "image 3"
    assert image.read(open_source(images), OPTIONS)["all"].labels is None


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1 / 255, np.float64), (1 / 255, np.float32), (1, np.float32), (1, np.int64), (257, np.uint16)]
)
def test_levels_of_other_types_become_8_bit(scale: float, dtype: type) -> None:
    images = np.stack([picture(i, (8, 8)) for i in range(4)])
    images[0, 0, 0, 0] = 255
    records = read_all(((images * np.float64(scale)).astype(dtype), [0, 1, 0, 1]))
    assert np.array_equal(np.stack(records.images), images)


def test_one_hot_labels_become_class_numbers() -> None:
    images = np.stack([picture(i, (8, 8)) for i in range(4)])
    labels = read_all((images, np.eye(4)[[2, 0, 3, 1]])).labels
    assert labels is not None
    assert labels.tolist() == [2, 0, 3, 1]


# groups


def test_a_pattern_over_file_names_makes_groups(tmp_path: Path) -> None:
    for place in range(4):
        save(tmp_path / "ab"[place % 2] / f"p{place // 2}_{place}.png", picture(place))
    groups = read_all(tmp_path, replace(OPTIONS, group=r"/(p\d+)_")).groups
    assert groups is not None
    assert groups.tolist() == ["p0", "p1", "p0", "p1"]
    with pytest.raises(InputError, match=r"not found in 4 of 4 file names, the first 'a/p0_0.png'"):
        read_all(tmp_path, replace(OPTIONS, group="(patient)"))
    with pytest.raises(InputError, match="not a regular expression"):
        read_all(tmp_path, replace(OPTIONS, group="("))


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("{c}/patient{g}/{i}.png", True),
        ("{c}/patient_{g}_{i}.png", True),
        ("{c}/person{g}_virus_{i}.jpeg", True),
        ("{c}/img_{g}_{i}.png", False),
        ("{c}/{i}.png", False),
        ("person{g}/{i}.pgm", False),  # the class itself
    ],
)
def test_groups_are_found_in_names_with_care(form: str, found: bool) -> None:
    names = [form.format(c="ab"[g % 2], g=g, i=10 * g + i) for g in range(8) for i in range(3)]
    groups, reason = found_groups(names)
    assert (groups is not None) == found == bool(reason)
    if groups is not None:
        assert len(set(groups)) == 8


# schema and tensors


def test_the_schema_is_learned_stored_and_read_back(pets: Path) -> None:
    records = read_all(pets)
    schema = image.learn_schema(records, OPTIONS)
    assert schema.target == ClassTarget(
        name="class", classes=("cat", "dog"), counts=(3, 3), positive=schema.target.positive if schema.target else ""
    )
    assert (schema.size_px, schema.channels) == ((16, 12), 3)
    pixels = np.stack(records.images) / 255
    assert schema.mean == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-12)
    assert schema.std == pytest.approx(pixels.std((0, 1, 2)), rel=1e-9)  # E[x^2] - E[x]^2 loses a few digits
    stored = json.loads(json.dumps(asdict(schema)))
    assert image.load_schema(stored) == schema
    with pytest.raises(InputError, match=r"unknown key 'size_pxx'; did you mean 'size_px'"):
        image.load_schema({**stored, "size_pxx": 1})


@pytest.mark.parametrize(
    ("shapes", "longer_px", "expected"),
    [
        ([(28, 28)] * 3, 0, (28, 28)),
        ([(64, 48)] * 3, 0, (64, 48)),
        ([(112, 92)] * 3, 0, (112, 96)),
        ([(375, 500)] * 3, 0, (96, 128)),
        ([(375, 500), (500, 375), (300, 300)], 0, (128, 128)),
        ([(40, 50), (50, 40), (48, 48)], 0, (48, 48)),
        ([(28, 28)] * 3, 32, (32, 32)),
        ([(375, 500)] * 3, 224, (168, 224)),
        ([(500, 375)] * 3, 100, (100, 72)),
    ],
)
def test_the_size_suits_the_images(shapes: list[tuple[int, int]], longer_px: int, expected: tuple[int, int]) -> None:
    size_px, reason = image.find_size(shapes, longer_px)
    assert size_px == expected
    assert f"{expected[0]} x {expected[1]}" in reason


def test_images_are_encoded_at_one_size_with_classes_by_name(pets: Path) -> None:
    schema = image.learn_schema(read_all(pets), OPTIONS)
    samples = image.encode(read_all(pets), schema)
    assert (samples.inputs[0].dtype, samples.inputs[0].shape) == (torch.uint8, (6, 3, 16, 12))
    assert np.array_equal(samples.inputs[0][3].permute(1, 2, 0), picture(1))
    assert samples.targets is not None
    assert samples.targets.tolist() == [0, 0, 0, 1, 1, 1]
    larger = replace(schema, size_px=(32, 24), channels=1)
    assert image.encode(read_all(pets), larger).inputs[0].shape == (6, 1, 32, 24)


def test_arrays_and_files_of_the_same_pixels_encode_alike(pets: Path) -> None:
    records = read_all(pets)
    schema = replace(image.learn_schema(records, OPTIONS), size_px=(8, 8))
    arrays = read_all((np.stack(records.images), records.labels))
    for selected in (records, records.select(np.array([4, 0]))):
        same = arrays.select(selected.rows)
        assert torch.equal(image.encode(selected, schema).inputs[0], image.encode(same, schema).inputs[0])


def test_a_missing_class_is_fine_and_an_unknown_one_is_named(pets: Path) -> None:
    schema = image.learn_schema(read_all(pets), OPTIONS)
    X = np.stack([picture(1), picture(2)])
    only_dogs = image.encode(read_all((X, ["dog", "dog"])), schema)
    assert only_dogs.targets is not None
    assert only_dogs.targets.tolist() == [1, 1]
    with pytest.raises(InputError, match="unknown class 'cow' in 'class'; known classes: 'cat', 'dog'"):
        image.encode(read_all((X, ["dog", "cow"])), schema)


def test_many_class_numbers_are_classes_not_a_quantity() -> None:
    X = np.zeros((300, 8, 8), np.uint8)
    schema = image.learn_schema(read_all((X, np.arange(300) % 30)), OPTIONS)
    assert isinstance(schema.target, ClassTarget)
    assert len(schema.target.classes) == 30
    schema = image.learn_schema(read_all((X, np.arange(300) % 30)), replace(OPTIONS, task="regress"))
    assert isinstance(schema.target, NumberTarget)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_front_standardises_in_one_step(channels: int) -> None:
    X = np.stack([picture(i, (8, 6), channels) for i in range(5)])
    records = read_all((X, [0, 1, 0, 1, 0]))
    schema = image.learn_schema(records, OPTIONS)
    batch = image.encode(records, schema).batch(torch.arange(5))
    (out,) = image.front(schema, "image")(*batch.inputs)
    assert out.mean((0, 2, 3)).tolist() == pytest.approx([0] * channels, abs=1e-5)  # float32
    assert out.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * channels, abs=1e-5)
    (flat,) = image.front(schema, "vector")(*batch.inputs)
    assert torch.equal(flat, out.flatten(1))
    assert image.sizes(schema, "image") == {
        "in_channels": channels, "image_size": (8, 6), "shape": (channels, 8, 6),
    }  # fmt: skip
    assert image.sizes(schema, "vector") == {"in_features": flat.shape[1], "shape": (flat.shape[1],)}
    for call in (image.front, image.sizes):
        with pytest.raises(InputError, match="takes 'columns'"):
            call(schema, "columns")


# records


def test_selection_shares_pixels_and_the_fingerprint_sees_order_labels_and_content(pets: Path) -> None:
    records = read_all(pets)
    half = records.select(np.array([5, 0, 2])).select(np.array([0, 2]))
    assert half.ids == ("dog/5.png", "cat/4.png")
    assert half.images[0] is records.images[5]
    prints = {records.fingerprint(), half.fingerprint(), records.select(np.arange(5, -1, -1)).fingerprint()}
    assert len(prints) == 3
    assert read_all(pets).fingerprint() in prints
    save(pets / "cat" / "0.png", picture(99))
    assert read_all(pets).fingerprint() not in prints


def test_equal_pixels_have_equal_hashes_whatever_the_file_format(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", picture(1))
    save(tmp_path / "b" / "1.bmp", picture(1))
    save(tmp_path / "b" / "2.png", picture(2))
    hashes = read_all(tmp_path).hashes()
    assert hashes[0] == hashes[1] != hashes[2]
    arrays = read_all((np.stack([picture(2), picture(1)]), [0, 1])).hashes()
    assert arrays.tolist() == [hashes[2], hashes[0]]


def test_near_hashes_are_near_for_the_same_picture_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals = []
    for _ in range(6):
        noise = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        originals.append(Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC))
    hashes = [perceptual_hash(np.asarray(one)) for one in originals]
    for one, expected in zip(originals, hashes, strict=True):
        one.save(tmp_path / "a.jpg", quality=60)
        for changed in (Image.open(tmp_path / "a.jpg"), one.resize((64, 64)), one.point(lambda level: level * 0.8)):
            assert (perceptual_hash(np.asarray(changed)) ^ expected).bit_count() <= 4
    others = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(others) > 12
    assert perceptual_hash(np.full((40, 40, 1), 77, np.uint8)) == 0
    assert read_all((np.zeros((4, 28, 28), np.uint8), [0, 1, 0, 1])).near_hashes() is None


# larger than memory


def large_folder(folder: Path) -> Path:
    """Pictures of several sizes and forms, three megabytes of pixels; one file is broken, two are equal."""
    for place in range(30):
        size = (200, 150 + 10 * (place % 3))
        save(folder / "set" / "abc"[place % 3] / f"{place}.png", picture(place % 29, size, (3, 1)[place % 5 == 4]))
    (folder / "set" / "a" / "broken.png").write_bytes(b"no picture")
    return folder / "set"


def noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def large_array(form: str, folder: Path) -> Any:
    """Three megabytes of images or more in one of the forms that arrays come in."""
    labels = np.arange(40) % 2
    if form == "npz":
        np.savez(folder / "a.npz", images=noise((40, 160, 160, 3)), labels=labels)
    elif form == "compressed npz":
        np.savez_compressed(folder / "a.npz", images=noise((40, 3, 160, 160)), labels=labels)
    elif form == "npz in Fortran's order":
        np.savez(folder / "a.npz", images=np.asfortranarray(noise((40, 160, 160, 3))), labels=labels)
    elif form == "npz of decimals":
        np.savez(folder / "a.npz", images=noise((40, 240, 240)) / np.float32(255), labels=labels)
    elif form == "npz without colour":
        np.savez(folder / "a.npz", images=noise((40, 240, 240, 1)).repeat(3, axis=3), labels=labels)
    elif form == "npz with transparency":
        np.savez(folder / "a.npz", images=noise((40, 160, 160, 4)), labels=labels)
    elif form in ("idx", "idx.gz"):
        for stem, array in (("images-idx3", noise((40, 300, 300))), ("labels-idx1", labels.astype(np.uint8))):
            packed = gzip.compress(idx_bytes(array), 1) if form == "idx.gz" else idx_bytes(array)
            (folder / f"train-{stem}-ubyte{form[3:]}").write_bytes(packed)
        return folder
    elif form == "mapped":
        np.save(folder / "a.npy", noise((40, 160, 160, 3)))
        return (np.load(folder / "a.npy", mmap_mode="r"), labels)
    else:
        return (noise((40, 160, 160, 3)), labels)
    return folder / "a.npz"


FORMS = (
    "npz", "compressed npz", "npz in Fortran's order", "npz of decimals", "npz without colour", "npz with transparency",
    "idx", "idx.gz", "mapped", "in memory",
)  # fmt: skip


def assert_same(kept: ImageRecords, spilled: ImageRecords, schema: image.ImageSchema) -> None:
    rows = np.random.default_rng(0).permutation(len(kept))[:25]
    for a, b in ((kept, spilled), (kept.select(rows), spilled.select(rows))):
        assert a.ids == b.ids
        assert a.fingerprint() == b.fingerprint()
        assert np.array_equal(a.hashes(), b.hashes())
        assert a.near_hashes() is not None
        assert np.array_equal(a.near_hashes(), b.near_hashes())  # type: ignore[arg-type]
        assert np.array_equal(a.shapes, b.shapes)
        assert all(np.array_equal(x, y) for x, y in zip(a.images, b.images, strict=True))
        assert image.learn_schema(a, OPTIONS) == image.learn_schema(b, OPTIONS)
        first, second = image.encode(a, schema), image.encode(b, schema)
        assert (type(first), type(second)) == (TensorSamples, RowSamples)
        places = torch.randint(0, len(a), (9,))
        one, other = first.batch(places), second.batch(places)
        assert torch.equal(one.inputs[0], other.inputs[0])
        assert one.inputs[0].is_contiguous()
        assert other.inputs[0].is_contiguous()
        assert torch.equal(one.targets, other.targets)  # type: ignore[arg-type]
    assert np.array_equal(kept.store.blank, spilled.store.blank)
    assert image.findings(kept) == image.findings(spilled)
    assert spilled.store.memory.kept <= 1 << 20


def test_a_folder_that_does_not_fit_into_memory_is_the_same(tmp_path: Path) -> None:
    folder = large_folder(tmp_path)
    kept, spilled = (read_all(folder, replace(OPTIONS, memory_mb=mb)) for mb in (0, 1))
    assert kept.store.skipped == spilled.store.skipped != ()
    schema = image.learn_schema(kept, OPTIONS)
    assert_same(kept, spilled, replace(schema, size_px=(136, 128)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("resized", [False, True])
def test_arrays_that_do_not_fit_into_memory_are_the_same(tmp_path: Path, form: str, resized: bool) -> None:
    source = open_source(large_array(form, tmp_path))
    kept, spilled = (next(iter(image.read(source, replace(OPTIONS, memory_mb=mb)).values())) for mb in (0, 1))
    schema = image.learn_schema(kept, OPTIONS)
    H, W, _ = kept.shapes[0].tolist()
    assert_same(kept, spilled, replace(schema, size_px=(216, 208) if resized else (H, W)))


def test_arrays_in_memory_are_not_copied_where_they_fill_it() -> None:
    X = noise((200, 8, 160, 3))
    records = read_all((X, np.arange(200) % 2), replace(OPTIONS, memory_mb=1))
    assert records.images[7].base is not None
    assert np.shares_memory(records.images[7], X)
    assert records.store.memory.kept == 0


def test_a_run_is_bit_equal_wherever_its_images_are(tmp_path: Path) -> None:
    folder = large_folder(tmp_path)
    weights = []
    for megabytes in (0, 1):
        settings = {"data.memory_mb": megabytes, "data.image_size": 128, "model.hidden": (8,), "train.steps": 3}
        training = start_training(folder, settings, "mlp", tmp_path / str(megabytes))
        assert isinstance(training.samples["train"], RowSamples) == (megabytes == 1)
        with closing(training.run):
            assert [report.step for report in training] == [1, 2, 3]
        weights.append(training.session.module.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


# prediction


def test_inputs_for_prediction_come_from_files_folders_and_arrays(pets: Path) -> None:
    records = read_all(pets)
    schema = image.learn_schema(records, OPTIONS)
    expected = image.encode(records, schema).inputs[0]
    files = [str(pets / name) for name in records.ids]
    for inputs in (files, [pets], [np.stack(records.images)], records.images, [torch.from_numpy(records.images[0])]):
        samples = image.encode(image.read_inputs(inputs, schema), schema)
        assert torch.equal(samples.inputs[0], expected[: len(samples)])
        assert samples.targets is None
    assert image.read_inputs(files[:1], schema).ids == (files[0],)
    with pytest.raises(InputError, match="no images to predict"):
        image.read_inputs([], schema)
    (pets / "cat" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 1 images cannot be read[\s\S]*bad.png: not a picture"):
        image.read_inputs([pets / "cat" / "bad.png"], schema)


def test_what_is_odd_about_single_files_is_told(pets: Path) -> None:
    schema = image.learn_schema(read_all(pets), OPTIONS)
    names = [str(pets / f"clear{number}.png") for number in range(2)]
    for name in names:
        Image.new("RGBA", (24, 24), (255, 0, 0, 128)).save(name)
    told = image.findings(image.read_inputs(names, schema))
    assert [(one.text, one.where) for one in told if "white" in one.text] == [
        ("2 images: transparent: laid on white", tuple(names))
    ]


def test_arrays_for_prediction_are_scaled_as_in_training() -> None:
    X = np.stack([picture(i, (8, 8)) for i in range(4)])
    schema = image.learn_schema(read_all((X / 255, [0, 1, 0, 1])), OPTIONS)
    dark = np.full((1, 8, 8, 3), 0.001)
    assert image.read_inputs([X / 255], schema).images[2].tolist() == X[2].tolist()
    assert image.read_inputs([dark], schema).images[0].max() == 0
    with pytest.raises(InputError, match=r"levels 0..255, the network learned from 0..1"):
        image.read_inputs([X.astype(np.float32)], schema)
    schema = image.learn_schema(read_all((X.astype(np.float32), [0, 1, 0, 1])), OPTIONS)
    assert image.read_inputs([np.ones((1, 8, 8, 3))], schema).images[0].max() == 1
    with pytest.raises(InputError, match=r"learned from 0..255"):
        image.read_inputs([X / 255], schema)


def test_a_record_is_shown_in_colour_with_its_label(pets: Path) -> None:
    shown = image.show(read_all(pets), 3)
    assert shown.values == {"image": "dog/1.png", "class": "dog"}
    assert shown.image is not None
    assert (shown.image.shape, shown.image.dtype) == ((16, 12, 3), np.uint8)


# augmentation


def batch_of(B: int = 8, C: int = 3, H: int = 16, W: int = 12) -> Batch:
    return Batch((torch.randint(0, 256, (B, C, H, W), dtype=torch.uint8),), torch.arange(B), torch.arange(B))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_changes_nothing() -> None:
    batch = batch_of()
    same = image.augment(batch, generator(), AugmentConfig(flip="no", shift=0))
    assert torch.equal(same.inputs[0], batch.inputs[0])


def test_flips_mirror_about_half_and_only_colour_by_default() -> None:
    batch = batch_of(400)
    flipped = image.augment(batch, generator(), AugmentConfig(shift=0)).inputs[0]
    mirrored = (flipped == batch.inputs[0].flip(3)).flatten(1).all(1)
    kept = (flipped == batch.inputs[0]).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 140 < int(mirrored.sum()) < 260  # 6 standard deviations of a fair coin
    grey = batch_of(50, C=1)
    assert torch.equal(image.augment(grey, generator(), AugmentConfig(shift=0)).inputs[0], grey.inputs[0])


def test_a_shift_is_a_crop_of_the_image_padded_by_its_mirror() -> None:
    batch = batch_of(200)
    moved = image.augment(batch, generator(), AugmentConfig(flip="no", shift=0.25)).inputs[0]
    padded = torch.nn.functional.pad(batch.inputs[0].float(), (3, 3, 4, 4), mode="reflect").to(torch.uint8)
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        places = [(y, x) for y in range(9) for x in range(7) if torch.equal(before[:, y : y + 16, x : x + 12], after)]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 50  # of 63


def test_erasing_covers_one_square_by_the_mean() -> None:
    batch = batch_of(50, H=20, W=20)
    erased = image.augment(batch, generator(), AugmentConfig(flip="no", shift=0, erase=0.5)).inputs[0]
    changed = (erased != batch.inputs[0]).any(1)
    for before, after, where in zip(batch.inputs[0], erased, changed, strict=True):
        rows, columns = where.any(1).nonzero()[:, 0], where.any(0).nonzero()[:, 0]
        assert 1 <= len(rows) <= 10
        assert 1 <= len(columns) <= 10
        inside = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.equal(inside, before.float().mean((1, 2)).round().to(torch.uint8)[:, None, None].expand_as(inside))


def test_light_changes_stay_in_range_and_average_out() -> None:
    batch = batch_of(300)
    lit = image.augment(batch, generator(), AugmentConfig(flip="no", shift=0, brightness=0.2, contrast=0.3)).inputs[0]
    change = (lit.float() - batch.inputs[0].float()).mean((1, 2, 3))
    assert 20 < float(change.abs().max()) <= 52  # 0.2 x 255 and rounding
    assert abs(float(change.mean())) < 8


def test_augmentation_depends_on_the_generator_only_and_is_drawn_for_the_whole_batch() -> None:
    batch = batch_of()
    config = AugmentConfig(erase=0.3, brightness=0.1, contrast=0.1)
    torch.manual_seed(1)
    first = image.augment(batch, generator(7), config)
    torch.manual_seed(2)
    second = image.augment(batch, generator(7), config)
    other = image.augment(batch, generator(8), config)
    assert torch.equal(first.inputs[0], second.inputs[0])
    assert not torch.equal(first.inputs[0], other.inputs[0])
    parts = torch.cat([part.inputs[0] for part in first.split(3)])
    assert torch.equal(parts, first.inputs[0])
    assert first.inputs[0].dtype == torch.uint8


def test_one_change_does_not_move_the_draws_of_another() -> None:
    batch = batch_of()
    plain = image.augment(batch, generator(), AugmentConfig(shift=0.2)).inputs[0]
    lit = image.augment(batch, generator(), AugmentConfig(shift=0.2, erase=1e-6)).inputs[0]
    assert torch.equal(plain, lit)


@pytest.mark.parametrize("setting", [{"flip": "maybe"}, {"shift": 0.6}, {"erase": -0.1}, {"contrast": 2}])
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be"):
        AugmentConfig(**setting)


# real data


@pytest.mark.parametrize(
    ("name", "rows", "classes", "shape"),
    [
        ("mnist", {"train": 60_000, "test": 10_000}, 10, (1, 28, 28)),
        ("cifar10_subset", {"train": 10_000, "test": 2_000}, 10, (3, 32, 32)),
        ("breastmnist", {"train": 546, "valid": 78, "test": 156}, 2, (1, 28, 28)),
        ("pneumoniamnist_imbalanced", {"train": 3_882, "valid": 524, "test": 624}, 2, (1, 28, 28)),
        ("orl_faces", {"all": 400}, 40, (1, 112, 96)),
        ("busi_ultrasound", {"train": 625, "test": 155}, 3, (1, 128, 128)),
    ],
)
def test_real_sets(shared_data: Path, name: str, rows: dict[str, int], classes: int, shape: tuple[int, ...]) -> None:
    source = open_source(shared_data / name)
    if source.parts:
        records = {word: image.read(part, OPTIONS)["all"] for word, part in source.parts.items()}
    else:
        records = image.read(source, OPTIONS)
    assert {word: len(part) for word, part in records.items()} == rows
    train = next(iter(records.values()))
    schema = image.learn_schema(train, OPTIONS)
    assert isinstance(schema.target, ClassTarget)
    assert len(schema.target.classes) == classes
    few = image.encode(train.select(np.arange(0, len(train), max(1, len(train) // 500))), schema)
    assert few.inputs[0].shape[1:] == shape
    (out,) = image.front(schema, "image")(few.inputs[0])
    assert abs(float(out.mean())) < 0.1
    assert abs(float(out.std()) - 1) < 0.1


def test_mnist_starts_with_the_labels_everybody_knows(shared_data: Path) -> None:
    file = shared_data / "mnist" / "train-images-idx3-ubyte.gz"
    labels = image.read(open_source(file), OPTIONS)["train"].labels
    assert labels is not None
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest().startswith("ba891046")


def test_a_table_may_give_a_class_as_number_and_as_word(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["filename,fold,target,category"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{i % 5},{i % 3},{('dog', 'cat', 'cow')[i % 3]}")
    (tmp_path / "meta.csv").write_text("\n".join(rows))
    records = image.read(open_source(tmp_path / "meta.csv"), DataConfig())["all"]
    assert records.labels is not None
    assert set(records.labels.tolist()) == {"dog", "cat", "cow"}
