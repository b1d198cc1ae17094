"""Photos of people: who they are by folders, names, tables and arrays; faces found, cut and left out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.portraits import album, portrait, save

from chainrule.data import faces
from chainrule.data.audit import near_pairs, near_rows
from chainrule.data.config import DataConfig
from chainrule.data.faces.align import EYE_X, EYE_Y, Cut, centre_crop, face_crop, fills, frame_of, framed, usual_eyes
from chainrule.data.faces.detect import Detector, Face
from chainrule.data.faces.records import FaceRecords
from chainrule.data.faces.sources import SCHEMES, is_photo, name_scheme
from chainrule.data.kind import DataKind
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.errors import InputError
from chainrule.recognise import find_kind, recognise

VERIFY = DataConfig(task="verify")
CENTRE = replace(VERIFY, align="centre")


def people_of(records: FaceRecords) -> list[str]:
    assert records.labels is not None
    return [str(label) for label in records.labels]


def read(source: Any, options: DataConfig = CENTRE) -> FaceRecords:
    return faces.read(open_source(source), options)["all"]


def test_the_kind_has_every_name_of_the_contract() -> None:
    kind = find_kind("faces")
    for word in [word for word in vars(DataKind) if not word.startswith("_")] + ["NAME", "AUGMENT"]:
        assert hasattr(kind, word), word


def test_only_a_task_makes_photos_faces(tmp_path: Path) -> None:
    source = open_source(album(tmp_path, 2, 2))
    assert recognise(source).kind.NAME == "image"
    assert recognise(source, task="verify").kind.NAME == "faces"
    assert recognise(source, named="faces").reason == "2 folders with 4 photos"


@pytest.mark.parametrize(
    ("names", "scheme", "people"),
    [
        (
            ["subject01.sad", "subject01.wink", "subject02.sad", "subject02.wink"],
            SCHEMES[0],
            ["subject01", "subject02"],
        ),
        (["s1_1.png", "s1_10.png", "s2_1.png", "s2_2.png"], SCHEMES[0], ["s1", "s2"]),
        (["Ann_Lee_0001.jpg", "Ann_Lee_2.jpg", "Ann_Fox_1.jpg", "Ann_Fox_2.jpg"], SCHEMES[1], ["Ann_Fox", "Ann_Lee"]),
        (["ann1.jpg", "ann2.jpg", "bob1.jpg", "bob2.jpg"], SCHEMES[2], ["ann", "bob"]),
        (["ann_sad.jpg", "ann_gay.jpg", "bob-sad.jpg", "bob-1.jpg"], SCHEMES[3], ["ann", "bob"]),
        (["IMG_1.jpg", "IMG_2.jpg"], "", []),
        (["ann.jpg", "bob.jpg", "cid.jpg"], "", []),
    ],
)
def test_names_tell_who_it_is(names: list[str], scheme: str, people: list[str], tmp_path: Path) -> None:
    assert name_scheme(names).removeprefix("(?i)") == scheme
    for number, name in enumerate(names):
        Image.fromarray(portrait(number)[..., 0]).save(tmp_path / name, "PNG")
    if scheme:
        records = read(tmp_path)
        assert sorted(set(people_of(records))) == people
        assert faces.target_of(records) == name_scheme(names)
        assert any("people are what" in note for note in faces.learn_schema(records, CENTRE).notes)
    else:
        with pytest.raises(InputError, match="nothing says who is on the photos"):
            read(tmp_path)


def test_pictures_without_a_usual_ending_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    for person in (1, 2):
        for photo, condition in enumerate(("glasses", "sad", "gif")):
            Image.fromarray(portrait(person, photo)[..., 0]).save(tmp_path / f"subject0{person}.{condition}", "GIF")
    (tmp_path / "notes.sad").write_text("no picture")
    (tmp_path / "Readme.txt").write_text("GIF87a is how these begin")
    records = read(tmp_path)
    assert sorted(set(people_of(records))) == ["subject01", "subject02"]
    assert len(records) == 6
    assert not is_photo(tmp_path / "notes.sad")
    assert any("2 other files" in finding.text for finding in faces.findings(records))


def test_a_pattern_a_table_and_arrays_tell_who_it_is(tmp_path: Path) -> None:
    for person in "ab":
        for photo in range(2):
            save(tmp_path / "p" / f"x{photo}-{person}.png", portrait(ord(person), photo))
    assert sorted(people_of(read(tmp_path / "p", replace(CENTRE, target=r"-(\w)\.")))) == ["a", "a", "b", "b"]
    (tmp_path / "p" / "who.csv").write_text(
        "file,person\n" + "".join(f"x{i}-{p}.png,{p}\n" for p in "ab" for i in "01")
    )
    assert people_of(read(tmp_path / "p")) == ["a", "a", "b", "b"]
    X = np.stack([portrait(person, photo)[..., 0] for person in (0, 1) for photo in range(3)])
    records = read((X / 255.0, np.array([0, 0, 0, 1, 1, 1])))
    assert people_of(records) == ["0", "0", "0", "1", "1", "1"]
    assert faces.learn_schema(records, CENTRE).white == 1
    np.savez(tmp_path / "olivetti.npz", X=X, y=np.array([0, 0, 0, 1, 1, 1]))
    assert len(read(tmp_path / "olivetti.npz")) == 6


def test_nobody_stands_in_two_parts(tmp_path: Path) -> None:
    records = read(album(tmp_path, 8, 3))
    parts, words = complete({"all": records}, CENTRE)
    held = {name: set(people_of(part)) for name, part in parts.items()}
    assert "by group" in words
    assert not held["train"] & held["valid"] | held["train"] & held["test"] | held["valid"] & held["test"]
    assert min(map(len, held.values())) >= 2  # two people are needed to tell anybody apart
    assert sum(map(len, held.values())) == 8


def test_a_detector_finds_drawn_faces_and_their_eyes() -> None:
    detector = Detector()
    for person in range(6):
        (face,) = detector.faces(portrait(person))
        assert face.eyes is not None
        (x, y), (x_right, y_right) = face.eyes
        assert x < 50 < x_right
        assert abs(y - y_right) < 6
        assert abs(y - 54) < 12  # up to 4 % of 120 above the middle of the face, a little more by the drawing
    assert detector.faces(np.full((60, 60, 3), 90, np.uint8)) == []
    assert detector.faces(np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)) == []
    pair = np.concatenate((portrait(0), portrait(1)), axis=1)
    assert len(detector.faces(pair)) == 2
    scene = np.full((300, 400, 1), 70, np.uint8)
    scene[120:240, 250:350] = portrait(2)
    (face,) = detector.faces(scene)
    assert 240 < face.left + face.side / 2 < 360
    assert 120 < face.top + face.side / 2 < 240


def test_eyes_are_brought_to_their_places() -> None:
    pixels = np.zeros((100, 120, 1), np.uint8)
    left, right = (40.5, 50.5), (70.5, 60.5)
    for x, y in (left, right):
        pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255
    middle = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    side = 30 / 0.39
    face = Face(middle[0] - 0.495 * side, middle[1] - 0.39 * side, side, (left, right))
    cut = face_crop(pixels, face, (64, 64))[..., 0].astype(float)
    places = [np.array(np.unravel_index(part.argmax(), part.shape)) for part in (cut[:, :32], cut[:, 32:])]
    assert abs(places[0][1] + 0.5 - EYE_X * 64) < 3
    assert abs(places[1][1] + 32.5 - (1 - EYE_X) * 64) < 3
    assert abs((places[0][0] + places[1][0]) / 2 + 0.5 - EYE_Y * 64) < 3


def test_cutting_is_the_same_wherever_the_face_stands() -> None:
    small = np.random.default_rng(0).integers(0, 255, (40, 40, 1), dtype=np.uint8)
    first, second = (np.full((120, 160, 1), 70, np.uint8) for _ in range(2))
    first[20:60, 30:70], second[60:100, 100:140] = small, small
    eyes = (42.0, 36.0), (57.0, 36.0)
    face = Face(30, 20, 40, eyes)
    moved = Face(100, 60, 40, tuple((x + 70, y + 40) for x, y in eyes))
    for cut in (Cut("eyes", (32, 32)), Cut("whole", (32, 28), (0.2, 0.3, 0.2, 0.1))):
        apart = np.abs(cut(first, face).astype(int) - cut(second, moved))
        assert apart.max() <= 1  # a level that lies half-way is rounded either way
    assert not np.array_equal(Cut("centre", (32, 32))(first, face), Cut("centre", (32, 32))(second, moved))


def test_a_photo_that_a_face_fills_is_taken_whole() -> None:
    pixels = portrait(0)
    face = Face(10.0, 25.0, 80.0, None)
    assert fills(face, pixels.shape)
    cut = Cut("whole", (60, 50), frame_of(face, pixels.shape))
    assert np.array_equal(cut(pixels, face), centre_crop(pixels, (60, 50)))
    wide = np.pad(pixels, ((200, 200), (200, 200), (0, 0)), mode="edge")
    there = Face(210.0, 225.0, 80.0, None)
    assert not fills(there, wide.shape)
    assert np.array_equal(framed(wide, there, frame_of(face, pixels.shape)), pixels)
    assert np.array_equal(cut(wide, there), cut(pixels, face))
    (x, y), (x_right, _) = usual_eyes(face)
    assert 10 < x < 50 < x_right < 90
    assert 25 < y < 65


def test_the_middle_is_cut_in_shape() -> None:
    pixels = np.arange(20 * 10, dtype=np.uint8).reshape(20, 10, 1)
    assert np.array_equal(centre_crop(pixels, (10, 10)), pixels[5:15])
    assert centre_crop(pixels, (8, 4)).shape == (8, 4, 1)


def test_how_photos_are_cut_is_found_and_said(tmp_path: Path) -> None:
    close = read(album(tmp_path / "close", 2, 3), VERIFY)
    assert (close.store.align, len(close)) == ("whole", 6)
    schema = faces.learn_schema(close, VERIFY)
    assert schema.align == "whole"
    assert "sees one face in 6 of 6" in schema.notes[0]
    assert schema.size_px == (48, 40)
    for person in range(2):
        for photo in range(3):
            scene = np.full((240, 320, 1), 70, np.uint8)
            scene[60 + photo : 180 + photo, 100:200] = portrait(person, photo)
            save(tmp_path / "far" / str(person) / f"{photo}.png", scene)
    far = read(tmp_path / "far", VERIFY)
    schema = faces.learn_schema(far, VERIFY)
    assert (schema.align, schema.size_px) == ("eyes", (48, 48))
    assert "aligned by their eyes in" in schema.notes[0]
    for person in range(2):
        for photo in range(3):
            noise = np.random.default_rng((person, photo)).integers(0, 255, (60, 60, 1), dtype=np.uint8)
            save(tmp_path / "none" / str(person) / f"{photo}.png", noise)
    none = read(tmp_path / "none", VERIFY)
    assert (none.store.align, len(none)) == ("centre", 6)
    assert "sees one face in only 0 of 6" in none.store.why


def test_schemas_come_back_and_new_photos_are_cut_alike(tmp_path: Path) -> None:
    records = read(album(tmp_path, 3, 2), VERIFY)
    schema = faces.learn_schema(records, VERIFY)
    assert faces.load_schema({**asdict(schema), "frame": list(schema.frame)}) == schema
    learned = faces.encode(records, schema)
    given = faces.read_inputs([str(tmp_path / "person1" / "0.png"), portrait(1, 0)], schema)
    seen = faces.encode(given, schema)
    row = list(records.ids).index("person1/0.png")
    wanted = learned.batch(torch.tensor([row])).inputs[0]
    for place in (0, 1):
        assert seen.batch(torch.tensor([place])).inputs[0].equal(wanted)


def test_near_pairs_are_those_that_near_rows_finds() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 300, dtype=np.uint64)
    hashes[200:] = hashes[:100] ^ (np.uint64(1) << generator.integers(0, 63, 100, dtype=np.uint64))
    found = near_pairs(hashes)
    assert found.tolist() == [[row, row + 200] for row in range(100)]
    assert (near_rows(hashes[:200], hashes[200:]) == np.arange(100)).all()
