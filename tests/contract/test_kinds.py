"""Every data kind over every sort of source: exactly one claims each."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.clips import scene, write_clip
from tests.texts import names, story

from chainrule.data.kind import DataKind
from chainrule.data.sources import open_source
from chainrule.recognise import KINDS, find_kind, recognise

CSV = "height,weight,label\n" + "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(30))


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)


def csv(folder: Path) -> Any:
    (folder / "t.csv").write_text(CSV)
    return folder / "t.csv"


def csv_gz(folder: Path) -> Any:
    (folder / "t.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    return folder / "t.csv.gz"


def jsonl(folder: Path) -> Any:
    pl.read_csv(CSV.encode()).write_ndjson(folder / "t.jsonl")
    return folder / "t.jsonl"


def parquet(folder: Path) -> Any:
    pl.read_csv(CSV.encode()).write_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def class_folders(folder: Path) -> Any:
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for i in range(3):
            Image.fromarray(pixels(i)).save(folder / name / f"{i}.png")
    return folder


def zipped(folder: Path) -> Any:
    inner = folder / "inner"
    inner.mkdir()
    class_folders(inner)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for path in inner.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    return folder / "photos.zip"


def image_npz(folder: Path) -> Any:
    np.savez(folder / "i.npz", x=np.stack([pixels(i) for i in range(6)]), y=np.arange(6) % 2)
    return folder / "i.npz"


def table_npz(folder: Path) -> Any:
    np.savez(folder / "t.npz", x=np.random.default_rng(0).normal(size=(20, 4)), y=np.arange(20) % 2)
    return folder / "t.npz"


def idx(folder: Path) -> Any:
    images = np.stack([pixels(i)[..., 0] for i in range(6)])
    header = (2051).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    labels = (2049).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes([0, 1, 0, 1, 0, 1])
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder / "train-images-idx3-ubyte.gz"


def sound(path: Path, hz: float) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * np.arange(800) / 8000), 8000)


def sound_folders(folder: Path) -> Any:
    for i in range(6):
        sound(folder / "ab"[i % 2] / f"{i}.wav", 300 + i)
    return folder


def zipped_sounds(folder: Path) -> Any:
    for i in range(6):
        sound(folder / "recordings" / f"{i % 2}_ann_{i}.wav", 300 + i)
    with zipfile.ZipFile(folder / "digits.zip", "w") as archive:
        for path in folder.rglob("*.wav"):
            archive.write(path, path.relative_to(folder))
    return folder / "digits.zip"


def sound_table(folder: Path) -> Any:
    sound_folders(folder)
    (folder / "meta").mkdir()
    rows = "".join(f"{'ab'[i % 2]}/{i}.wav,{i / 2}\n" for i in range(6))
    (folder / "meta" / "ages.csv").write_text("path,age\n" + rows)
    return folder


def video_folders(folder: Path) -> Any:
    for i in range(6):
        write_clip(folder / "ab"[i % 2] / f"{i}.mp4", scene(i, 3))
    return folder


def zipped_videos(folder: Path) -> Any:
    video_folders(folder)
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        for path in folder.rglob("*.mp4"):
            archive.write(path, f"clips/{path.relative_to(folder)}")
    return folder / "clips.zip"


def video_table(folder: Path) -> Any:
    video_folders(folder)
    (folder / "speed.csv").write_text("path,speed\n" + "".join(f"{'ab'[i % 2]}/{i}.mp4,{i / 2}\n" for i in range(6)))
    return folder


def video_frames(folder: Path) -> Any:
    for i in range(8):
        (folder / "ab"[i % 2] / f"video{i}").mkdir(parents=True)
        for number, frame in enumerate(scene(i, 3, (16, 16))):
            Image.fromarray(frame).save(folder / "ab"[i % 2] / f"video{i}" / f"frame_{number}.png")
    return folder


def paired(folder: Path, images: str, masks: str) -> Any:
    """Four images and masks under these names."""
    for number in range(4):
        for name, content in ((images, pixels(number)), (masks, (pixels(number)[..., 0] // 128) * 255)):
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return folder


def zipped_masks(folder: Path) -> Any:
    paired(folder / "cells", "images/{}.png", "masks/{}.png")
    with zipfile.ZipFile(folder / "cells.zip", "w") as archive:
        for path in (folder / "cells").rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    return folder / "cells.zip"


def mask_classes(folder: Path) -> Any:
    for name in ("benign", "malignant"):
        paired(folder / name, "{}.png", "{}_mask.png")
    return folder


def mask_table(folder: Path) -> Any:
    paired(folder, "a/{}.png", "b/{}.png")
    rows = "".join(f"a/{number}.png,b/{number}.png\n" for number in range(4))
    (folder / "list.csv").write_text("image,mask\n" + rows)
    return folder


def mask_volumes(folder: Path) -> Any:
    for name in ("train-volume", "train-labels"):
        slices = [Image.fromarray(pixels(number)[..., 0] // 128) for number in range(4)]
        slices[0].save(folder / f"{name}.tif", save_all=True, append_images=slices[1:])
    return folder


def mask_npz(folder: Path) -> Any:
    images = np.stack([pixels(number) for number in range(6)])
    np.savez(folder / "m.npz", x_train=images, y_train=images[..., 0] // 128)
    return folder / "m.npz"


TEXTS = [(f"the {word} number {i} was there again", word) for i in range(12) for word in ("cat", "dog", "fish")]


def text_csv(folder: Path) -> Any:
    pl.DataFrame(TEXTS, schema=["text", "label"], orient="row").write_csv(folder / "t.csv")
    return folder / "t.csv"


def text_tsv_parts(folder: Path) -> Any:
    for part in ("train", "test"):
        (folder / f"{part}.tsv").write_text("".join(f"{text}\t{len(word) % 2}\n" for text, word in TEXTS))
    return folder


def text_folders(folder: Path) -> Any:
    for number, (text, word) in enumerate(TEXTS):
        (folder / "all" / word).mkdir(parents=True, exist_ok=True)
        (folder / "all" / word / f"{number}.txt").write_text(text)
    return folder


def text_files(folder: Path) -> Any:
    for word in ("cat", "dog"):
        (folder / f"{word}.txt").write_text("".join(f"{text}\n" for text, own in TEXTS if own == word))
    return folder


def text_jsonl(folder: Path) -> Any:
    frame = pl.read_csv(text_csv(folder))
    (folder / "t.csv").unlink()
    frame.write_ndjson(folder / "t.jsonl")
    return folder / "t.jsonl"


def labelled_txt(folder: Path) -> Any:
    (folder / "messages.txt").write_text("".join(f"{word}\t{text}\n" for text, word in TEXTS))
    return folder / "messages.txt"


def running_text(folder: Path) -> Any:
    (folder / "tale.txt").write_text(story())
    return folder / "tale.txt"


def listed_names(folder: Path) -> Any:
    (folder / "names.txt.gz").write_bytes(gzip.compress(names().encode()))
    return folder / "names.txt.gz"


def texts_without_classes(folder: Path) -> Any:
    for number in range(3):
        (folder / f"chapter {number}.txt").write_text(story(40, number))
    return folder


def hours(folder: Path) -> Any:
    rows = [f"2020-01-{1 + i // 24:02} {i % 24:02}:00,{i * 7 % 50}.5,{i}" for i in range(100)]
    (folder / "hours.csv").write_text("\n".join(["time,load,heat", *(row + "e1" for row in rows)]))
    return folder / "hours.csv"


def days_with_codes(folder: Path) -> Any:
    rows = [f"2020-01-{1 + i:02},{i % 4},{i * 7 % 50}.5" for i in range(31)]
    (folder / "days.csv").write_text("\n".join(["day,weather,rides", *rows]))
    return folder / "days.csv"


PAIRS = [(f"ein Satz mit der Zahl {number} .", f"a sentence with number {number} .") for number in range(30)]


def languages(folder: Path) -> Any:
    for part in ("train", "val"):
        for side, language in enumerate(("de", "en")):
            (folder / f"{part}.{language}").write_text("".join(f"{pair[side]}\n" for pair in PAIRS))
    return folder


def zipped_languages(folder: Path) -> Any:
    with zipfile.ZipFile(folder / "pairs.zip", "w") as archive:
        for side, language in enumerate(("de", "en")):
            archive.writestr(f"pairs/train.{language}", "".join(f"{pair[side]}\n" for pair in PAIRS))
    return folder / "pairs.zip"


def pairs_table(folder: Path) -> Any:
    (folder / "t.tsv").write_text("de\ten\n" + "".join(f"{one}\t{other}\n" for one, other in PAIRS))
    return folder / "t.tsv"


SOURCES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truth table": (lambda folder: "xor", "gates"),
    "csv": (csv, "table"),
    "csv.gz": (csv_gz, "table"),
    "jsonl": (jsonl, "table"),
    "parquet": (parquet, "table"),
    "data frame": (lambda folder: pl.read_csv(CSV.encode()), "table"),
    "rows and targets": (lambda folder: (np.zeros((9, 3)), np.arange(9) % 2), "table"),
    "npz of rows": (table_npz, "table"),
    "known table": (lambda folder: "iris", "table"),
    "class folders": (class_folders, "image"),
    "zip of class folders": (zipped, "image"),
    "npz of images": (image_npz, "image"),
    "idx": (idx, "image"),
    "images and targets": (lambda folder: (np.zeros((9, 8, 8), np.uint8), np.arange(9) % 2), "image"),
    "class folders of sound": (sound_folders, "audio"),
    "zip of sound named after its class": (zipped_sounds, "audio"),
    "table beside a folder of sound": (sound_table, "audio"),
    "class folders of videos": (video_folders, "video"),
    "zip of videos": (zipped_videos, "video"),
    "table beside folders of videos": (video_table, "video"),
    "videos and targets": (lambda folder: (np.zeros((6, 4, 8, 8, 3), np.uint8), np.arange(6) % 2), "video"),
    "frames of videos as pictures": (video_frames, "image"),
    "folders of images and masks": (lambda folder: paired(folder, "images/{}.png", "masks/{}.png"), "mask"),
    "zip of images and masks": (zipped_masks, "mask"),
    "masks beside their images": (lambda folder: paired(folder, "{}.png", "{}_mask.png"), "mask"),
    "class folders with masks": (mask_classes, "mask"),
    "folder of images and masks for each case": (
        lambda folder: paired(folder, "{0}/images/a.png", "{0}/masks/b.png"),
        "mask",
    ),
    "table beside folders of images and masks": (mask_table, "mask"),
    "volume and labels": (mask_volumes, "mask"),
    "npz of images and masks": (mask_npz, "mask"),
    "images and masks": (lambda folder: (np.zeros((9, 8, 8), np.uint8), np.zeros((9, 8, 8), np.uint8)), "mask"),
    "csv of texts": (text_csv, "text"),
    "tsv of texts, divided": (text_tsv_parts, "text"),
    "jsonl of texts": (text_jsonl, "text"),
    "class folders of texts": (text_folders, "text"),
    "a file of texts for each class": (text_files, "text"),
    "lines of a label and a text": (labelled_txt, "text"),
    "frame of texts": (lambda folder: pl.DataFrame(TEXTS, schema=["text", "label"], orient="row"), "text"),
    "texts and labels": (lambda folder: ([text for text, _ in TEXTS], [word for _, word in TEXTS]), "text"),
    "csv of a series": (hours, "series"),
    "frame of a series": (lambda folder: pl.read_csv(hours(folder), try_parse_dates=True), "series"),
    "csv of days with codes": (days_with_codes, "table"),
    "folder of languages": (languages, "parallel"),
    "zip of languages": (zipped_languages, "parallel"),
    "pairs of sentences": (lambda folder: PAIRS, "parallel"),
    "table of two columns of sentences": (pairs_table, "parallel"),
    "known images": (lambda folder: "digits", "image"),
    "running text": (running_text, "corpus"),
    "names, one a line": (listed_names, "corpus"),
    "folder of texts": (texts_without_classes, "corpus"),
    "text in Python": (lambda folder: story(), "corpus"),
    "texts in Python": (lambda folder: [story(9, seed) for seed in range(4)], "corpus"),
}


@pytest.mark.parametrize("name", list(SOURCES))
def test_exactly_one_kind_claims_a_source(name: str, tmp_path: Path) -> None:
    make, expected = SOURCES[name]
    source = open_source(make(tmp_path))
    claims = {kind: find_kind(kind).recognises(source) for kind in KINDS}
    assert [kind for kind, reason in claims.items() if reason] == [expected], claims
    found = recognise(source)
    assert expected == found.kind.NAME
    assert found.reason.strip()


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_every_name_of_the_contract(name: str) -> None:
    kind = find_kind(name)
    wanted = [word for word in vars(DataKind) if not word.startswith("_")] + ["NAME", "AUGMENT"]
    assert name == kind.NAME
    for word in wanted:
        assert hasattr(kind, word), word
