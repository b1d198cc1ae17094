"""What somebody meets who brings folders and tables of images, sound and video that nobody tried before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import chainrule
from chainrule.cli import run
from chainrule.data.config import DataConfig
from chainrule.data.file_groups import found_groups
from chainrule.data.media import SOUND_FILES, list_files
from chainrule.data.sources import open_source, walk
from chainrule.errors import InputError
from chainrule.prepare import prepare
from chainrule.recognise import recognise

SHORT = ["--set", "train.steps=2", "--model", "mlp"]


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).integers(0, 60, (8, 8, 3))
    Image.fromarray((noise + level % 190).astype(np.uint8)).save(path)


def sound(path: Path, hz: float = 440) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * np.arange(1600) / 8000), 8000)


def pictures(root: Path, classes: int, each: int) -> Path:
    for name in range(classes):
        for place in range(each):
            picture(root / f"c{name}" / f"{place}.png", 40 * name + place)
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pets", 2, 10)


@pytest.fixture
def trained(pets: Path, tmp_path: Path) -> chainrule.TrainedRun:
    assert run(["fit", str(pets), "--out", str(tmp_path / "run"), *SHORT]) == 0
    return chainrule.load(tmp_path / "run")


def test_the_only_class_folder_of_a_test_set_keeps_its_name(
    trained: chainrule.TrainedRun, pets: Path, tmp_path: Path
) -> None:
    shutil.copytree(pets / "c1", tmp_path / "test" / "c1")
    scores = trained.evaluate(tmp_path / "test")
    assert scores["rows"] == 10
    assert len(trained.predict(tmp_path / "test")) == 10
    (tmp_path / "test" / "c1").rename(tmp_path / "test" / "somewhere")
    with pytest.raises(InputError, match="no target"):
        trained.evaluate(tmp_path / "test")


def test_a_single_class_folder_is_refused_by_its_count(tmp_path: Path) -> None:
    pictures(tmp_path / "lone", 1, 6)
    with pytest.raises(InputError, match=r"single folder with 6 image files.*two class folders"):
        prepare(tmp_path / "lone", DataConfig())


def test_many_classes_of_two_images_have_one_in_train(tmp_path: Path) -> None:
    pictures(tmp_path / "many", 60, 2)
    parts = prepare(tmp_path / "many", DataConfig()).parts
    known = [set(np.asarray(records.labels).tolist()) for records in parts.values()]
    assert len(known[0]) == 60
    assert known[1] <= known[0]
    assert known[2] <= known[0]
    assert min(len(records) for records in parts.values()) > 5


def test_linked_class_folders_are_followed_and_loops_end(tmp_path: Path, pets: Path) -> None:
    (tmp_path / "links").mkdir()
    for name in ("c0", "c1"):
        (tmp_path / "links" / name).symlink_to(pets / name)
    assert len(prepare(tmp_path / "links", DataConfig()).parts["train"]) == 14
    (pets / "c0" / "again").symlink_to(pets)
    assert len(list(walk(pets))) == 3


def test_a_table_beside_the_folder_of_its_files(tmp_path: Path) -> None:
    rows = [f"{number}-A.wav,{('cat', 'dog')[number % 2]}" for number in range(12)]
    for number in range(12):
        sound(tmp_path / "esc" / "audio" / f"{number}-A.wav", 300 + 50 * number)
    (tmp_path / "esc" / "meta").mkdir()
    table = tmp_path / "esc" / "meta" / "esc.csv"
    table.write_text("filename,category\n" + "\n".join(rows) + "\n")
    assert recognise(open_source(table)).kind.NAME == "audio"


@pytest.mark.parametrize("name", [str, lambda number: f"train/{number}", lambda number: f"id_{number}"])
def test_a_table_of_names_without_ending(name: Callable[[int], str], tmp_path: Path) -> None:
    for number in range(12):
        picture(tmp_path / "train" / f"{name(number).rsplit('/')[-1]}.png", number)
    table = tmp_path / "labels.csv"
    table.write_text("id,label\n" + "".join(f"{name(number)},{number % 2}\n" for number in range(12)))
    found = prepare(tmp_path, DataConfig())
    assert found.kind.NAME == "image"
    assert {name(number) for number in range(12)} == {key for part in found.parts.values() for key in part.ids}
    assert prepare(table, DataConfig()).kind.NAME == "image"


def test_small_numbers_that_repeat_are_no_names_of_files(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / "plots" / f"{number}.png", number)
    table = tmp_path / "flats.csv"
    table.write_text("rooms,size,sold\n" + "".join(f"{i % 5},{i * 1.5},{i % 2}\n" for i in range(40)))
    assert recognise(open_source(table)).kind.NAME == "table"


def test_a_table_whose_files_are_gone_is_no_mere_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "gone.csv"
    table.write_text("path,size,label\n" + "".join(f"gone/{i}.png,{i * 1.5},{i % 2}\n" for i in range(40)))
    assert run(["look", str(table)]) == 2
    told = capsys.readouterr().err
    assert "names images, such as 'gone/0.png'" in told
    assert "--set data.kind=table" in told
    assert run(["look", str(table), "--set", "data.kind=table"]) == 0
    table.write_text(table.read_text().replace("gone/", "https://example.org/"))
    assert run(["look", str(table)]) == 0


def test_speech_commands_keep_speakers_together_and_noise_out(tmp_path: Path) -> None:
    names = [
        f"{word}/{speaker:08x}_nohash_{take}.wav" for word in ("no", "yes") for speaker in range(6) for take in (0, 1)
    ]
    groups, reason = found_groups(names)
    assert groups is not None
    assert len(set(groups.tolist())) == 6
    assert "speaker" in reason
    for name in (*names[:2], "_background_noise_/pink.wav"):
        sound(tmp_path / name)
    listing = list_files(tmp_path, SOUND_FILES)
    assert listing.files == tuple(names[:2])
    assert "_background_noise_/" in listing.ignored


def test_an_empty_label_is_no_class_of_its_own(pets: Path) -> None:
    rows = [
        f"c{number % 2}/{number // 2}.png,{('', 'cat', 'dog')[min(number, 1) + number % 2]}" for number in range(20)
    ]
    (pets / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    texts = [finding.text for finding in prepare(pets / "labels.csv", DataConfig()).findings]
    assert not any("with a single image" in text for text in texts)
    assert any("1 records of all have no target" in text for text in texts)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody may write to")
def test_a_place_that_cannot_be_written_is_told(
    trained: chainrule.TrainedRun, pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(trained.path), str(pets), "--out", "/proc/answers.csv"]) == 2
    assert "cannot be read or written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["flowers.tgz", "speech.tar.gz", "clips.rar"])
def test_archives_that_are_not_opened_say_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"unpack it and give its folder, or a zip"):
        open_source(tmp_path / name)
