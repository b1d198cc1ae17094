"""Videos: what is recognised, read, kept, learned, encoded and changed."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.clips import CODECS, bar, levels, scene, write_clip

import chainrule
from chainrule.data import image, threads, video
from chainrule.data.config import DataConfig
from chainrule.data.file_groups import found_groups
from chainrule.data.image.size import common_size
from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget, NumberTarget
from chainrule.data.sources import open_source
from chainrule.data.video.augment import VideoAugmentConfig
from chainrule.data.video.decode import Decoded, Sampling, decode_file
from chainrule.data.video.front import VideoFront, VideoSchema
from chainrule.data.video.records import VideoRecords
from chainrule.errors import InputError
from chainrule.prepare import prepare

OPTIONS = DataConfig(clip_frames=4)
SAMPLING = Sampling(clip_frames=4, clip_s=0, working_px=112, max_pixels=10**6, limit_s=30)
EXACT = {"crf": "0"}  # of libx264: nothing but the change of colour space is lost


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two classes of three coloured clips."""
    for place in range(6):
        write_clip(tmp_path / "clips" / ("run", "walk")[place % 2] / f"{place}.mp4", scene(place))
    return tmp_path / "clips"


def read_all(value: Any, options: DataConfig = OPTIONS) -> VideoRecords:
    records = video.read(open_source(value), options)
    assert list(records) == ["all"]
    return records["all"]


def schema_of(records: VideoRecords, options: DataConfig = OPTIONS) -> VideoSchema:
    return video.learn_schema(records, options)


def grey_of(decoded: Decoded) -> list[list[int]]:
    """The rounded mean level of each kept frame, by window."""
    assert decoded.frames is not None, decoded.remarks
    return np.rint(decoded.frames.mean(axis=(2, 3, 4))).astype(int).tolist()


def close(found: list[int], wanted: list[int], tolerance: int = 2) -> bool:
    """Equal but for what compression and the range of colours change."""
    return len(found) == len(wanted) and max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tolerance


# recognising and reading


def test_class_folders_are_read_with_their_names(clips: Path) -> None:
    assert video.recognises(open_source(clips)) == "2 class folders with 6 videos"
    records = read_all(clips)
    assert records.ids == ("run/0.mp4", "run/2.mp4", "run/4.mp4", "walk/1.mp4", "walk/3.mp4", "walk/5.mp4")
    assert records.labels is not None
    assert records.labels.tolist() == ["run"] * 3 + ["walk"] * 3
    assert records.frames(0).shape == (1, 8, 48, 64, 3)


def test_a_zip_with_splits_is_read_part_by_part(tmp_path: Path, clips: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for place, path in enumerate(sorted(clips.rglob("*.mp4"))):
            archive.write(path, f"set/{('train', 'test')[place % 3 == 0]}/{path.relative_to(clips)}")
    source = open_source(tmp_path / "set.zip")
    assert {name: len(video.read(part, OPTIONS)["all"]) for name, part in source.parts.items()} == {
        "train": 4,
        "test": 2,
    }


def test_a_table_names_clips_and_classes_or_numbers(clips: Path) -> None:
    files = sorted(clips.rglob("*.mp4"))
    rows = [f"{path.relative_to(clips)},{place / 4},{'ab'[place % 2]}" for place, path in enumerate(files)]
    (clips / "labels.csv").write_text("\n".join(["file,speed,letter", *rows]) + "\n")
    source = open_source(clips / "labels.csv")
    assert "table of 6 rows whose column 'file' holds paths of videos" in str(video.recognises(source))
    numbers = schema_of(read_all(clips / "labels.csv", replace(OPTIONS, target="speed")))
    assert isinstance(numbers.target, NumberTarget)
    letters = schema_of(read_all(clips / "labels.csv", replace(OPTIONS, target="letter")))
    assert isinstance(letters.target, ClassTarget)
    assert letters.target.classes == ("a", "b")
    with pytest.raises(InputError, match="which column is the answer"):
        read_all(clips / "labels.csv")


def test_loose_clips_have_no_labels(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", scene(0))
    write_clip(tmp_path / "b.mp4", scene(1))
    records = read_all(tmp_path)
    assert records.labels is None
    with pytest.raises(InputError, match=r"the videos, the first 'a.mp4', have no labels or class folders"):
        schema_of(records)


def test_arrays_are_videos_with_five_axes() -> None:
    X = np.stack([scene(place, 9) for place in range(4)])
    source = open_source((X, np.array([0, 1, 0, 1])))
    assert video.recognises(source) == "array of videos, shape (4, 9, 48, 64, 3)"
    assert image.recognises(source) is None
    records = read_all((X, [0, 1, 0, 1]))
    assert records.labels is not None
    assert records.labels.tolist() == [0, 1, 0, 1]
    assert np.array_equal(records.frames(1)[0], X[1][np.arange(8) * 9 // 8])
    with pytest.raises(InputError, match="uint8"):
        read_all((X.astype(np.float32), [0, 1, 0, 1]))
    with pytest.raises(InputError, match="one per video"):
        read_all((X, np.zeros((4, 2))))
    with pytest.raises(InputError, match="tell no times"):
        read_all((X, [0, 1, 0, 1]), replace(OPTIONS, clip_s=1.0))


# which frames are kept


@pytest.mark.parametrize("suffix", list(CODECS))
def test_frames_lie_evenly_in_time_in_every_format(tmp_path: Path, suffix: str) -> None:
    fps = 25 if suffix == ".mpg" else 10
    path = write_clip(tmp_path / f"a{suffix}", levels(*range(20, 180, 8)), fps=fps)
    decoded = decode_file(path, replace(SAMPLING, clip_frames=5))
    assert close(grey_of(decoded)[0], list(range(20, 180, 16)), 4), decoded.remarks
    assert decoded.remarks == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_variable_frame_rate_is_followed_by_the_clock(tmp_path: Path, suffix: str) -> None:
    times = [0, 100, 200, 300, 800, 1300, 1800, 2300]  # quick at first, then slow; the last is shown as long as most
    path = write_clip(tmp_path / f"a{suffix}", levels(*range(20, 180, 20)), times_ms=times)
    decoded = decode_file(path, SAMPLING)
    assert decoded.remarks == ("variable frame rate: frames are taken evenly in time",)
    shown = [20 + 20 * (np.searchsorted(times, moment, side="right") - 1) for moment in np.arange(8) / 8 * 2800]
    assert close(grey_of(decoded)[0], shown, 4)


def test_frames_in_order_of_presentation_not_of_storage(tmp_path: Path) -> None:
    frames = levels(*range(20, 180, 8))
    for suffix in (".mp4", ".avi"):  # AVI has no times to tell the order from
        name = tmp_path / f"b{suffix}"
        path = write_clip(name, frames, codec="libx264", options={"bf": "2"})
        assert close(grey_of(decode_file(path, replace(SAMPLING, clip_frames=10)))[0], list(range(20, 180, 8)), 4)


def test_a_short_video_repeats_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", levels(60, 180))
    assert close(grey_of(decode_file(path, SAMPLING))[0], [60] * 4 + [180] * 4)


def test_of_a_long_video_only_keyframes_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = [20 + place // 2 for place in range(400)]
    path = write_clip(
        tmp_path / "a.mp4", levels(*shades, size=(16, 16)), options={"g": "5", "bf": "0", "sc_threshold": "0"}
    )
    seen = []
    frames = video.decode._frames
    monkeypatch.setattr(
        video.decode, "_frames", lambda *given: (seen.append(pair[0]) or pair for pair in frames(*given))
    )
    kept = grey_of(decode_file(path, SAMPLING))[0]
    assert len(seen) <= 81
    assert close(kept, [shades[place * 400 // 8] for place in range(8)], 4)


def test_windows_of_seconds_lie_evenly_in_the_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", levels(*range(20, 220, 5)), fps=10)  # 40 frames, 4 s
    decoded = decode_file(path, replace(SAMPLING, clip_s=1.6))  # 3 windows of 16 frames from frames 0, 12, 24
    wanted = [[20 + 5 * (start + 2 * place) for place in range(8)] for start in (0, 12, 24)]
    assert all(close(found, want) for found, want in zip(grey_of(decoded), wanted, strict=True))
    short = write_clip(tmp_path / "b.mp4", levels(*range(20, 60, 5)), fps=10)
    assert close(grey_of(decode_file(short, replace(SAMPLING, clip_s=1.6)))[0], list(range(20, 60, 5)))
    many = decode_file(path, replace(SAMPLING, clip_s=0.1))
    assert many.frames is not None
    assert many.frames.shape[0] == 10


def test_large_frames_are_shrunk_small_ones_are_not(tmp_path: Path) -> None:
    large = write_clip(tmp_path / "a.mp4", scene(0, 2, (120, 200)))
    small = write_clip(tmp_path / "b.mp4", scene(0, 2, (40, 30)))
    shapes = [decode_file(path, SAMPLING).frames for path in (large, small)]
    assert [frames.shape[2:4] for frames in shapes if frames is not None] == [(67, 112), (40, 30)]


def test_colours_survive_and_grey_has_one_channel(tmp_path: Path) -> None:
    red = np.broadcast_to(np.array([200, 30, 40], np.uint8), (3, 32, 32, 3))
    for suffix in (".mp4", ".avi", ".webm"):
        decoded = decode_file(write_clip(tmp_path / f"a{suffix}", red), SAMPLING)
        assert decoded.frames is not None
        assert np.abs(decoded.frames.astype(int) - [200, 30, 40]).max() <= 8  # colours are stored with less resolution
    grey = decode_file(write_clip(tmp_path / "g.mp4", levels(90, 91, 92)), SAMPLING)
    assert grey.frames is not None
    assert grey.frames.shape[4] == 1


def test_threads_change_nothing(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_all(clips)
    samples = video.encode(records, schema_of(records)).batch(torch.arange(6)).inputs[0]
    monkeypatch.setattr(threads, "_threads", lambda: 1)
    alone = read_all(clips)
    assert alone.fingerprint() == records.fingerprint()
    assert torch.equal(video.encode(alone, schema_of(alone)).batch(torch.arange(6)).inputs[0], samples)


# groups and copies


@pytest.mark.parametrize(
    ("form", "source"),
    [
        ("v_Run_g{g:02}_c{c:02}.avi", "v_Run_g03"),
        ("fight_{g:04}_part{c}.mp4", "fight_0003"),
        ("video{g}_clip{c}.mp4", "video3"),
        ("cam{g}-seg-{c}.mkv", "cam3"),
        ("patient{g}_left_clip{c}.mp4", "patient3"),
        ("a{g}BFeYnbu-I_{c}.avi", "a3BFeYnbu-I"),
        ("a{g}BFeYnbu-I_00001{c}_00002{c}.mp4", "a3BFeYnbu-I"),
    ],
)
def test_clips_cut_out_of_one_video_are_a_group(form: str, source: str) -> None:
    names = [
        f"{word}/{form.format(g=g, c=c)}" for word in ("x", "y") for g in range(4 * (word == "y"), 8) for c in (1, 2)
    ]
    groups, reason = found_groups(names)
    assert groups is not None
    assert {group for name, group in zip(names, groups, strict=True) if form.format(g=3, c=1) in name} == {source}
    assert len(set(groups)) == 8
    assert "cut out of" in reason
    flat, _ = found_groups([name.split("/")[1] for name in names[:16]])  # as a table names them
    assert flat is not None


@pytest.mark.parametrize(
    "form", ["{g}_{c}.mp4", "run_{g}{c}.mp4", "walk_part{g}{c}.mp4", "2021010{g}_{c}.mp4", "ab{c}.mp4"]
)
def test_mere_counters_are_no_groups(form: str) -> None:
    names = [f"{word}/{form.format(g=g, c=c)}" for word in ("x", "y") for g in range(8) for c in (1, 2)]
    assert found_groups(names) == (None, "")


def test_no_source_video_is_divided_between_splits(tmp_path: Path) -> None:
    for g in range(8):
        for c in range(3):
            name = ("Run", "Walk")[g % 2]
            write_clip(tmp_path / name / f"v_{name}_g{g:02}_c{c:02}.avi", levels(10 * g + c, 90, size=(16, 16)))
    prepared = prepare(tmp_path, OPTIONS)
    groups = {
        name: set(records.groups.tolist()) for name, records in prepared.parts.items() if records.groups is not None
    }
    assert len(groups) == 3
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 8
    assert any("8 groups kept whole" in finding.text for finding in prepared.findings)


def test_frames_of_one_video_as_pictures_stay_images_in_one_split(tmp_path: Path) -> None:
    for place in range(8):
        folder = tmp_path / ("run", "walk")[place % 2] / f"video{place}"
        folder.mkdir(parents=True)
        for number, frame in enumerate(scene(place, 3, (16, 16))):
            Image.fromarray(frame).save(folder / f"frame_{number:03}.png")
    assert video.recognises(open_source(tmp_path)) is None
    prepared = prepare(tmp_path, DataConfig())
    assert prepared.kind.NAME == "image"
    sides = [{name.rsplit("/", 1)[0] for name in records.ids} for records in prepared.parts.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8


def test_recompressed_copies_are_near_and_strangers_are_not(tmp_path: Path) -> None:
    for place in range(6):
        write_clip(tmp_path / "a" / f"{place}.mp4", scene(place))
        write_clip(tmp_path / "b" / f"{place}.webm", scene(place), options={"b": "1000000"})
    hashes = read_all(tmp_path).near_hashes()
    assert hashes is not None
    apart = np.bitwise_count(hashes[:6, None] ^ hashes[None, 6:])
    assert apart.diagonal().max() <= 3
    assert apart[~np.eye(6, dtype=bool)].min() > 8


def test_frames_too_small_for_a_hash_have_none(tmp_path: Path) -> None:
    for place in range(3):
        write_clip(tmp_path / f"{place}.mp4", scene(place, size=(24, 64)))
    assert read_all(tmp_path).near_hashes() is None


def test_records_know_content_from_label(clips: Path) -> None:
    first = read_all(clips)
    content = (clips / "run" / "0.mp4").read_bytes()
    (clips / "walk" / "copy.mp4").write_bytes(content)
    more = read_all(clips)
    place = more.ids.index("walk/copy.mp4")
    assert more.hashes()[place] == more.hashes()[0]
    assert len(set(first.hashes().tolist())) == 6
    assert more.select(np.delete(np.arange(7), place)).fingerprint() == first.fingerprint()
    (clips / "walk" / "copy.mp4").rename(clips / "run" / "copy.mp4")
    assert read_all(clips).fingerprint() != more.fingerprint()
    picked = first.select(np.array([4, 1]))
    assert picked.ids == ("walk/3.mp4", "run/2.mp4")
    assert picked.frames(0) is first.frames(4)


# the schema


def test_the_schema_says_what_was_decided(clips: Path) -> None:
    schema = schema_of(read_all(clips))
    assert (schema.size_px, schema.channels, schema.clip_frames, schema.stored, schema.windows) == (
        (48, 64),
        3,
        4,
        8,
        1,
    )
    assert schema.notes[1:3] == (
        "4 frames spread evenly over each video: data.clip_frames, data.clip_s",
        "48 x 64 pixels (height x width): data.image_size sets another longer side; shape kept",
    )
    assert video.load_schema(json.loads(json.dumps(asdict(schema)))) == schema
    with pytest.raises(InputError, match="unknown key 'clip_frame'"):
        video.load_schema(asdict(schema) | {"clip_frame": 3})


@pytest.mark.parametrize(
    ("shapes", "longer", "size"),
    [
        ([(63, 112)] * 3, 0, (64, 112)),
        ([(112, 63)] * 3, 0, (112, 64)),
        ([(63, 112), (112, 63), (84, 112)], 0, (112, 112)),
        ([(48, 64)] * 3, 0, (48, 64)),
        ([(45, 60)] * 2, 0, (48, 64)),
        ([(63, 112)] * 3, 50, (32, 50)),
        ([(8, 112)] * 3, 0, (8, 112)),
    ],
)
def test_sizes(shapes: list[tuple[int, int]], longer: int, size: tuple[int, int]) -> None:
    assert common_size(np.array(shapes, dtype=np.float64), longer, video.DEFAULT_PX, "usual")[0] == size


def test_mean_and_spread_are_those_of_the_train_split() -> None:
    X = np.zeros((2, 8, 16, 16, 3), np.uint8)
    X[1], X[..., 2] = 255, 51
    schema = schema_of(read_all((X, ["a", "b"])))
    assert schema.mean == pytest.approx((0.5, 0.5, 0.2))
    assert schema.std == pytest.approx((0.5, 0.5, 1.0))
    grey = schema_of(read_all((X, ["a", "b"])), replace(OPTIONS, channels=1, mean=(0.4,), std=(0.3,)))
    assert (grey.channels, grey.mean, grey.std) == (1, (0.4,), (0.3,))
    samples = video.encode(read_all((X, ["a", "b"])), grey)
    assert samples.batch(torch.tensor([1])).inputs[0].unique().tolist() == [round(0.886 * 255 + 0.114 * 51)]


def test_class_names_with_sides_are_warned_of_mirroring() -> None:
    X = np.zeros((2, 8, 16, 16, 3), np.uint8)
    assert "augment.flip=no" in schema_of(read_all((X, ["swipe_left", "swipe_right"]))).notes[-1]
    assert "augment.flip" not in schema_of(read_all((X, ["leftovers", "bright"]))).notes[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 7}, "data.image_size is 7; expected 8 to 1024"),
        ({"clip_frames": 0}, "data.clip_frames is 0; expected 1 to 512"),
        ({"clip_frames": 1000}, "data.clip_frames is 1000"),
        ({"clip_s": -1.0}, "data.clip_s is -1.0"),
        ({"decode_limit_s": 0.0}, "data.decode_limit_s is 0.0"),
        ({"time": "when"}, "data.time names a column"),
    ],
)
def test_settings_that_make_no_sense_are_refused(clips: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_all(clips, replace(OPTIONS, **settings))


# tensors


def test_samples_are_stored_frames_at_the_schemas_size(clips: Path) -> None:
    records = read_all(clips)
    batch = video.encode(records, schema_of(records)).batch(torch.tensor([3, 0]))
    assert batch.inputs[0].shape == (2, 1, 8, 3, 48, 64)
    assert np.array_equal(batch.inputs[0][1, 0].permute(0, 2, 3, 1).numpy(), records.frames(0)[0])
    assert batch.targets is not None
    assert batch.targets.tolist() == [1, 0]
    known = schema_of(records)
    assert isinstance(known.target, ClassTarget)
    other = replace(known, target=replace(known.target, classes=("run", "jump")))
    with pytest.raises(InputError, match="unknown class 'walk'"):
        video.encode(records, other)


def stored(B: int = 2, windows: int = 1, S: int = 8, size: int = 6) -> torch.Tensor:
    """Frames whose every pixel is 10 x window + number of the frame."""
    numbers = 10 * torch.arange(windows)[:, None] + torch.arange(S)
    return numbers.to(torch.uint8).view(1, windows, S, 1, 1, 1).repeat(B, 1, 1, 1, size, size)


def plain_schema(windows: int = 1, T: int = 4) -> VideoSchema:
    return VideoSchema(
        target=None, clip_frames=T, clip_s=0.0, windows=windows, size_px=(6, 6), channels=1, mean=(0.2,), std=(0.5,),
        working_px=64,
    )  # fmt: skip


def test_the_front_takes_the_middle_of_each_segment() -> None:
    (clip,) = VideoFront(plain_schema(), "clip")(stored())
    assert clip.shape == (2, 1, 4, 6, 6)
    wanted = (torch.tensor([1.0, 3.0, 5.0, 7.0]) / 255 - 0.2) / 0.5
    assert torch.allclose(clip[0, 0, :, 0, 0], wanted)
    (frames,) = VideoFront(plain_schema(), "image")(stored())
    assert frames.shape == (2, 4, 1, 6, 6)
    assert torch.allclose(frames[1, :, 0, 2, 2], wanted)


def test_windows_are_pieces_of_their_own() -> None:
    schema = plain_schema(windows=3)
    (clips,) = VideoFront(schema, "clip")(stored(windows=3))
    assert clips.shape == (2, video.pieces(schema, "clip"), 1, 4, 6, 6) == (2, 3, 1, 4, 6, 6)
    assert torch.allclose(clips[0, 2, 0, :, 0, 0] * 0.5 + 0.2, torch.tensor([21.0, 23.0, 25.0, 27.0]) / 255)
    (frames,) = VideoFront(schema, "image")(stored(windows=3))
    assert frames.shape == (2, video.pieces(schema, "image"), 1, 6, 6) == (2, 12, 1, 6, 6)
    (training,) = VideoFront(schema, "clip")(stored(windows=3)[:, 1, ::2])
    assert training.shape == (2, 1, 1, 4, 6, 6)


def test_a_video_with_fewer_windows_repeats_some(tmp_path: Path) -> None:
    for name, count in (("long", 40), ("short", 12)):
        write_clip(tmp_path / name / "a.mp4", levels(*range(20, 20 + 5 * count, 5), size=(16, 16)))
    options = replace(OPTIONS, clip_s=1.0)
    records = read_all(tmp_path, options)
    schema = schema_of(records, options)
    assert (schema.windows, schema.clip_s, schema.pieces("clip"), schema.pieces("image")) == (4, 1.0, 4, 16)
    x = video.encode(records, schema).batch(torch.arange(2)).inputs[0].float().mean((2, 3, 4, 5))
    assert x[0].unique().numel() == 4
    assert x[1].unique().numel() == 2


def test_sizes_for_networks_of_clips_and_of_frames() -> None:
    schema = plain_schema()
    assert video.sizes(schema, "clip") == {"in_channels": 1, "image_size": (4, 6, 6)}
    assert video.sizes(schema, "image") == {"in_channels": 1, "image_size": (6, 6)}
    with pytest.raises(InputError, match="cannot be given videos"):
        video.front(schema, "vector")


def test_prediction_sees_the_bytes_that_training_saw(tmp_path: Path) -> None:
    for place in range(4):
        write_clip(tmp_path / "c" / ("run", "walk")[place % 2] / f"{place}.mp4", scene(place, size=(90, 150)))
    for options in (OPTIONS, replace(OPTIONS, image_size=48), replace(OPTIONS, clip_s=0.5)):
        records = read_all(tmp_path / "c", options)
        schema = schema_of(records, options)
        seen = video.encode(records, schema).batch(torch.tensor([0])).inputs[0]
        for given in (tmp_path / "c" / "run" / "0.mp4", tmp_path / "c"):
            asked = video.encode(video.read_inputs([given], schema), schema).batch(torch.tensor([0])).inputs[0]
            assert torch.equal(asked, seen)


def test_inputs_come_as_files_folders_tables_and_arrays(clips: Path) -> None:
    schema = schema_of(read_all(clips))
    (clips / "t.csv").write_text("file,label\nrun/0.mp4,x\nwalk/1.mp4,y\n")
    given = [str(clips / "run" / "0.mp4"), clips / "walk", clips / "t.csv", scene(0), np.stack([scene(1), scene(2)])]
    records = video.read_inputs(given, schema)
    assert len(records) == 1 + 3 + 2 + 1 + 2
    assert records.labels is None
    assert video.encode(records, schema).batch(torch.arange(9)).targets is None
    for wrong, message in (
        (np.zeros((4, 5), np.uint8), "a video is an array"),
        (np.zeros((4, 5, 6, 3)), "uint8"),
        (np.zeros((0, 5, 6, 3), np.uint8), "a video is an array"),
        (clips / "none.mp4", "neither a file"),
    ):
        with pytest.raises(InputError, match=message):
            video.read_inputs([wrong], schema)
    with pytest.raises(InputError, match="no videos to predict"):
        video.read_inputs([], schema)


# augmentation


def changed(x: torch.Tensor, seed: int = 0, **settings: Any) -> torch.Tensor:
    off = {"flip": "no", "shift": 0.0, "brightness": 0.0, "contrast": 0.0}
    batch = Batch((x,), torch.arange(len(x)) % 2, torch.arange(len(x)))
    return video.augment(batch, torch.Generator().manual_seed(seed), VideoAugmentConfig(**(off | settings))).inputs[0]


def test_each_segment_gives_one_of_its_frames() -> None:
    drawn = changed(stored(B=200))[:, :, 0, 0, 0].int()
    assert drawn.shape == (200, 4)
    assert torch.equal(drawn // 2, torch.arange(4).expand(200, 4).int())
    assert 0.4 < (drawn % 2).float().mean() < 0.6  # 800 fair draws
    few = changed(stored(B=200), frames=2)[:, :, 0, 0, 0]
    assert few.shape == (200, 2)
    assert set(few[:, 0].tolist()) == {0, 1, 2, 3}
    assert set(few[:, 1].tolist()) == {4, 5, 6, 7}


def test_one_window_is_drawn_for_all_frames_of_a_clip() -> None:
    drawn = changed(stored(B=60, windows=3))[:, :, 0, 0, 0] // 10
    assert torch.equal(drawn, drawn[:, :1].expand(60, 4))
    assert set(drawn[:, 0].tolist()) == {0, 1, 2}


def test_all_frames_are_moved_and_mirrored_alike() -> None:
    x = torch.arange(8 * 8).view(1, 1, 1, 1, 8, 8).to(torch.uint8).repeat(64, 1, 8, 1, 1, 1)
    moved = changed(x, shift=0.25, flip="yes")
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    rows = {tuple(clip[0, 0, :, 0].div(8, rounding_mode="floor").tolist()) for clip in moved}
    assert (0, 1, 2, 3, 4, 5, 6, 7) in rows
    assert (2, 1, 0, 1, 2, 3, 4, 5) in rows  # moved down by two, the edge mirrored
    mirrored = changed(x, flip="auto")[:, 0, 0, 0, 0]
    assert set(mirrored.tolist()) == {0, 7}
    assert set(changed(x)[:, 0, 0, 0, 0].tolist()) == {0}


def test_the_light_changes_by_as_much_as_is_said() -> None:
    x = torch.full((200, 1, 8, 1, 4, 4), 100, dtype=torch.uint8)
    light = changed(x, brightness=0.1)
    assert torch.equal(light, light[:, :1, :1, :1, :1].expand_as(light))
    assert 74 <= int(light.min()) <= 78
    assert 122 <= int(light.max()) <= 126
    x[..., :2] = 50
    spread = changed(x, contrast=0.5)[:, 0, 0, 0].float()
    width = spread[:, 3] - spread[:, 0]
    assert 24 <= width.min() <= 28
    assert 72 <= width.max() <= 76


def test_augmentation_follows_its_generator_and_spares_the_samples() -> None:
    x = torch.randint(0, 256, (6, 2, 8, 3, 16, 16), dtype=torch.uint8)
    before = x.clone()
    settings: dict[str, Any] = {
        "flip": "yes",
        "shift": 0.2,
        "brightness": 0.2,
        "contrast": 0.2,
        "mixup": 0.5,
        "cutmix": 1.0,
    }
    assert torch.equal(changed(x, **settings), changed(x, **settings))
    assert not torch.equal(changed(x, **settings), changed(x, 1, **settings))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "settings",
    [{"flip": "maybe"}, {"shift": 0.6}, {"brightness": -0.1}, {"contrast": 2.0}, {"frames": -1}, {"mixup": -1.0}],
)
def test_augment_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"augment.{next(iter(settings))}"):
        VideoAugmentConfig(**settings)


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"augment.frames is 5, but a clip has data.clip_frames=4"):
        changed(stored(), frames=5)
    few = changed(stored(), frames=2)
    assert VideoFront(plain_schema(), "image")(few)[0].shape == (2, 2, 1, 6, 6)
    with pytest.raises(InputError, match=r"augment.frames=2 is for networks of single frames \(model.dims=2\)"):
        VideoFront(plain_schema(), "clip")(few)


# what people and classical models see


def test_pictures_are_strips_of_eight_frames(clips: Path) -> None:
    records = read_all(clips)
    schema = schema_of(records)
    shown = video.show(records, 4)
    assert shown.values == {"video": "walk/3.mp4", "class": "walk"}
    assert shown.image is not None
    assert shown.image.shape == (48, 8 * 64, 3)
    batch = video.encode(records, schema).batch(torch.tensor([4]))
    assert np.array_equal(video.picture(batch, 0, schema), shown.image)
    augmented = video.augment(batch, torch.Generator().manual_seed(0), VideoAugmentConfig())
    assert video.picture(augmented, 0, schema).shape == (48, 4 * 64, 3)


def test_the_linear_baseline_sees_the_mean_frame_and_the_change() -> None:
    x = torch.zeros((2, 1, 8, 1, 24, 24), dtype=torch.uint8)
    x[1, 0, ::2, :, :12] = 255
    vector: NDArray[Any] = video.classical(Batch((x,), None, torch.arange(2)), plain_schema())["vector"]
    assert vector.shape == (2, 2 * 12 * 12)
    assert vector[0].tolist() == [-1.0] * 144 + [0.0] * 144
    assert vector[1].tolist() == [0.0] * 72 + [-1.0] * 72 + [2.0] * 72 + [0.0] * 72


# end to end


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that move one way or the other: no single frame tells which."""
    folder, rng = tmp_path_factory.mktemp("bars"), np.random.default_rng(0)
    for place in range(80):
        write_clip(folder / ("down", "up")[place % 2] / f"{place}.mp4", bar(rng, (-2, 2)[place % 2]))
    return folder


SMALL = {
    "model.width": 8, "data.image_size": 16, "data.clip_frames": 8, "augment.flip": "no", "train.precision": "float32",
    "train.compile": "off", "train.channels_last": "off",
}  # fmt: skip


def test_a_3d_network_learns_which_way_things_move(bars: Path, tmp_path: Path) -> None:
    settings = SMALL | {"train.eval_every": 3}
    run = chainrule.fit(bars, model="resnet18", epochs=8, batch_size=16, out=tmp_path / "r", set=settings)
    assert run.metrics["test"]["accuracy"] >= 0.9
    assert run.metrics["baseline"]["accuracy"] <= 0.8
    answers = run.predict([bars / "up" / "1.mp4", bars / "down"])
    assert answers["id"][0] == str(bars / "up" / "1.mp4")
    assert (answers["prediction"] == "down").sum() >= 0.9 * 40
    assert run.evaluate(bars)["metrics"]["accuracy"] >= 0.9


def test_a_stopped_run_goes_on_as_if_it_had_not(bars: Path, tmp_path: Path) -> None:
    for path in sorted(bars.rglob("*.mp4"))[::3]:
        (tmp_path / "bars" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "bars" / path.parent.name / path.name).symlink_to(path)
    bars = tmp_path / "bars"
    settings = SMALL | {"train.save_every": 2, "model.dims": 2, "augment.frames": 3, "schedule.name": "constant"}
    whole = chainrule.fit(bars, model="resnet18", epochs=2, out=tmp_path / "a", set=settings)
    assert whole.session.takes == "image"
    chainrule.fit(bars, model="resnet18", epochs=1, out=tmp_path / "b", set=settings)
    resumed = chainrule.resume(tmp_path / "b", epochs=2)
    assert resumed.metrics["steps"] == whole.metrics["steps"]
    assert resumed.metrics["test"]["nats"] == pytest.approx(whole.metrics["test"]["nats"], abs=0)
