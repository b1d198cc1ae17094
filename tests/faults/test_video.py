"""Rows 10, 14, 15, 16, 20 and 23 of faults.md: odd, broken and misplaced videos."""

from __future__ import annotations

import os
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from tests.clips import levels, scene, write_clip

from chainrule.data import video
from chainrule.data.config import DataConfig
from chainrule.data.sources import open_source
from chainrule.data.video.decode import Decoded, Sampling, decode_file
from chainrule.data.video.records import VideoRecords
from chainrule.errors import InputError
from chainrule.prepare import prepare

OPTIONS = DataConfig(clip_frames=4, max_bad_share=0.9)
SAMPLING = Sampling(clip_frames=4, clip_s=0, working_px=112, max_pixels=10**6, limit_s=30)
MOVING = scene(0, 30)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for place in range(6):
        write_clip(tmp_path / "clips" / ("run", "walk")[place % 2] / f"{place}.mp4", scene(place, 6))
    return tmp_path / "clips"


def read_all(folder: Path, options: DataConfig = OPTIONS) -> VideoRecords:
    return video.read(open_source(folder), options)["all"]


def decoded(path: Path, content: bytes | None = None, **settings: float) -> Decoded:
    if content is not None:
        path.write_bytes(content)
    return decode_file(path, replace(SAMPLING, **settings))


def reason(path: Path, content: bytes | None = None, **settings: float) -> str:
    one = decoded(path, content, **settings)
    assert one.frames is None
    return one.remarks[0]


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert reason(path, b"") == "empty file (0 bytes)"
    assert reason(path, b"just some text") == "not a video, or cut off at its start: it begins with b'just som'"
    assert "not a video" in reason(path, np.random.default_rng(0).bytes(5000))
    assert reason(tmp_path / "absent.mp4") == "cannot be opened (No such file or directory)"


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    part = write_clip(tmp_path / "part.mp4", MOVING)
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{part}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {part.name}\n",
    ):
        assert "not a video" in reason(tmp_path / "list.mp4", text.encode())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    assert reason(tmp_path / "a.mp4") == "not a file"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert reason(path) == "no video stream, it holds audio"


def test_a_container_without_frames_is_listed(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.avi", MOVING).read_bytes()
    start = whole.index(b"movi")
    assert "frames" in reason(tmp_path / "b.avi", whole[: start + 4])


def test_a_missing_decoder_is_named(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.avi", MOVING).read_bytes()
    assert "no decoder for its codec" in reason(tmp_path / "b.avi", whole.replace(b"MJPG", b"ZZZZ"))


def test_a_truncated_file_is_kept_if_most_of_it_is_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", MOVING, container={"movflags": "faststart"}, options={"g": "10"})
    whole = path.read_bytes()
    start = whole.index(b"mdat")
    most = decoded(tmp_path / "b.mp4", whole[: start + (len(whole) - start) * 4 // 5])
    assert most.frames is not None
    assert "truncated: its last frames are missing" in most.remarks
    little = reason(tmp_path / "b.mp4", whole[: start + (len(whole) - start) // 5])
    assert "truncated" in little
    assert "of 30 frames" in little
    behind = write_clip(tmp_path / "c.mp4", MOVING).read_bytes()  # the index stands at the end
    assert "cut off" in reason(tmp_path / "b.mp4", behind[: len(behind) // 2])


def test_a_broken_frame_in_the_middle_is_left_out(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", MOVING, options={"g": "1"})
    with av.open(str(path)) as file:
        places = [(packet.pos or 0, packet.size) for packet in file.demux(video=0) if packet.size]
    bad = bytearray(path.read_bytes())
    for at, size in places[14:16]:
        bad[at : at + size] = b"\x99" * size
    one = decoded(tmp_path / "b.mp4", bytes(bad))
    assert one.frames is not None
    assert one.remarks == ("broken frames: left out",)
    whole = decode_file(path, SAMPLING)
    assert whole.frames is not None
    same = [np.array_equal(a, b) for a, b in zip(one.frames[0], whole.frames[0], strict=True)]
    assert same == [place != 4 for place in range(8)]  # the frame in the middle is the one before the broken ones
    for at, size in places[6:24]:
        bad[at : at + size] = b"\x99" * size
    assert "frames can be decoded" in reason(tmp_path / "b.mp4", bytes(bad))


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv", ".mpg"])
def test_no_damage_escapes_or_hangs(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    whole = write_clip(tmp_path / f"a{suffix}", scene(1, 8, (32, 32)), fps=25).read_bytes()
    began = time.monotonic()
    for place in range(40):
        bad = bytearray(whole[: 1 + len(whole) * (place % 10 + 1) // 10])
        for at in rng.integers(0, len(bad), 8):
            bad[at] = rng.integers(256)
        one = decoded(tmp_path / f"b{suffix}", bytes(bad), limit_s=2)
        assert one.remarks if one.frames is None else one.frames.shape[:2] == (1, 8)
    assert time.monotonic() - began < 60


def test_decoding_has_a_deadline(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", MOVING)
    assert "data.decode_limit_s=1e-06 seconds" in reason(path, limit_s=1e-6)


def test_frames_beyond_the_limit_of_pixels_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", MOVING)
    assert reason(path, max_pixels=3000) == "64 x 48 pixels, more than data.max_pixels=3,000"


def test_absurd_times_are_not_believed(tmp_path: Path) -> None:
    times = [100 * place for place in range(19)] + [400_000_000]
    path = write_clip(tmp_path / "a.mkv", levels(*range(20, 180, 8)), times_ms=times)
    one = decoded(path)
    assert one.remarks == ("timestamps absent or broken: frames are counted instead",)
    assert one.frames is not None
    assert abs(float(one.frames[0, 4].mean()) - 100) <= 3  # the frame in the middle, 20 + 8 x 10


def test_an_absurd_duration_in_the_header_does_no_harm(tmp_path: Path) -> None:
    whole = bytearray(write_clip(tmp_path / "a.mp4", MOVING).read_bytes())
    at = whole.index(b"mvhd") + 4 + 16  # version and flags, two dates, the clock
    whole[at : at + 4] = b"\x7f\xff\xff\xff"
    assert decoded(tmp_path / "b.mp4", bytes(whole)).frames is not None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_cameras_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    upright = np.zeros((4, 48, 64, 3), np.uint8)
    upright[:, :16, :16] = 255  # white marks the upper left
    stored = np.rot90(upright, degrees // 90, axes=(1, 2))  # the player turns it back, clockwise
    whole = bytearray(write_clip(tmp_path / "a.mp4", stored).read_bytes())
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value << 16 for value in matrix)
    at = whole.index(b"tkhd") + 4 + 40  # ISO 14496-12, section 8.3.2
    whole[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    one = decoded(tmp_path / "b.mp4", bytes(whole))
    assert one.frames is not None
    assert one.remarks == ("rotated as the file says",)
    assert one.frames.shape[2:4] == (48, 64)
    assert np.abs(one.frames[0, 0, :, :, 0].astype(int) - upright[0, :, :, 0]).mean() < 4


def test_a_single_frame_and_odd_sizes(tmp_path: Path) -> None:
    one = decoded(write_clip(tmp_path / "a.mp4", levels(120)))
    assert one.frames is not None
    assert one.frames.shape == (1, 8, 48, 64, 1)
    for suffix, size in ((".avi", (37, 53)), (".webm", (33, 17))):
        odd = decoded(write_clip(tmp_path / f"b{suffix}", scene(0, 4, size)))
        assert odd.frames is not None, odd.remarks
        assert odd.frames.shape[2:4] == size


def test_wide_strips_are_shrunk_to_something(tmp_path: Path) -> None:
    wide = decoded(write_clip(tmp_path / "a.avi", scene(0, 2, (8, 1200))))
    assert wide.frames is not None
    assert wide.frames.shape[2:4] == (1, 112)


def test_bad_files_are_listed_and_the_rest_is_read(clips: Path) -> None:
    (clips / "run" / "empty.mp4").touch()
    (clips / "walk" / "text.avi").write_text("hello")
    (clips / "walk" / "really_mp4.avi").write_bytes((clips / "walk" / "1.mp4").read_bytes())
    records = read_all(clips)
    assert len(records) == 7
    assert sorted(dict(records.store.skipped)) == ["run/empty.mp4", "walk/text.avi"]
    assert any("2 videos cannot be read" in found.text for found in video.findings(records))
    assert records.labels is not None
    assert records.labels.tolist() == [name.split("/")[0] for name in records.ids]
    message = r"2 of 9 videos cannot be read, more than data.max_bad_share=0.05[\s\S]*run/empty.mp4: empty file"
    with pytest.raises(InputError, match=message):
        read_all(clips, DataConfig())
    schema = video.learn_schema(records, OPTIONS)
    with pytest.raises(InputError, match="1 of 1 videos cannot be read; mend them or leave them out"):
        video.read_inputs([clips / "walk" / "text.avi"], schema)


def test_what_is_no_video_is_ignored_and_reported(clips: Path) -> None:
    for name in (".DS_Store", "run/notes.txt", ".git/a.mp4", "__MACOSX/run/._1.mp4", "run/.hidden.mp4"):
        (clips / name).parent.mkdir(parents=True, exist_ok=True)
        (clips / name).write_bytes(b"junk")
    (clips / "stand").mkdir()
    records = read_all(clips, DataConfig())
    assert len(records) == 6
    texts = [found.text for found in video.findings(records)]
    assert any("class folder 'stand' holds no videos" in text for text in texts)
    assert any("5 other files or folders ignored" in text for text in texts)


def test_a_class_of_one_clip_is_warned_of_and_one_class_refused(clips: Path) -> None:
    write_clip(clips / "sit" / "1.mp4", scene(9, 4))
    found = [one for one in video.findings(read_all(clips)) if "single video" in one.text]
    assert [(one.level, one.where) for one in found] == [("warning", ("sit",))]
    X = np.stack([scene(place, 4) for place in range(4)])
    with pytest.raises(InputError, match="all 4 videos to learn from are of one class, '7'"):
        video.learn_schema(video.read(open_source((X, [7] * 4)), OPTIONS)["all"], OPTIONS)


def test_videos_in_which_nothing_moves_are_counted(clips: Path) -> None:
    write_clip(clips / "walk" / "still.mp4", levels(90, 90, 90))
    found = [one for one in video.findings(read_all(clips)) if "nothing moves" in one.text]
    assert [(one.level, one.where) for one in found] == [("warning", ("walk/still.mp4",))]


def test_copies_between_splits_are_found_and_removed(tmp_path: Path) -> None:
    for place in range(12):
        part = "train" if place < 8 else "test"
        write_clip(tmp_path / part / ("run", "walk")[place % 2] / f"{place}.mp4", scene(place, 6))
    content = (tmp_path / "train" / "run" / "0.mp4").read_bytes()
    (tmp_path / "test" / "run" / "copy.mp4").write_bytes(content)
    write_clip(tmp_path / "test" / "walk" / "recoded.webm", scene(1, 6), options={"b": "1000000"})
    prepared = prepare(tmp_path, OPTIONS)
    assert "run/copy.mp4" not in prepared.parts["test"].ids
    texts = [f"{finding.text} {finding.where}" for finding in prepared.findings]
    assert any("also stand in train and are removed" in text and "run/copy.mp4" in text for text in texts)
    assert any("look nearly like one of train" in text and "walk/recoded.webm" in text for text in texts)


def test_a_table_with_gaps_leaves_those_rows_out(clips: Path) -> None:
    files = [path.relative_to(clips) for path in sorted(clips.rglob("*.mp4"))]
    rows = [f"{path},{'' if place == 2 else place / 4}" for place, path in enumerate(files)]
    (clips / "t.csv").write_text("\n".join(["file,speed", *rows, "run/absent.mp4,1.5"]) + "\n")
    prepared = prepare(clips / "t.csv", replace(OPTIONS, valid_share=0.2, test_share=0.2))
    assert sum(map(len, prepared.parts.values())) == 5
    texts = [finding.text for finding in prepared.findings]
    assert any("1 records" in text and "no target" in text for text in texts)
    assert any("cannot be opened (No such file or directory)" in text for text in texts)


def test_without_pyav_the_message_says_what_to_install(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install chainrule\[video\]"):
        read_all(clips)
