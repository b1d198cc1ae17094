"""Rows 10, 14, 15, 16, 20 and 22 of faults.md: odd, broken and misplaced sound files."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from chainrule.data import audio
from chainrule.data.audio import decode
from chainrule.data.audio.decode import Decoded, decode_file
from chainrule.data.audio.records import AudioRecords
from chainrule.data.config import DataConfig
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.prepare import prepare
from chainrule.recognise import recognise

OPTIONS = DataConfig(max_bad_share=0.9)
RATE = 8000


def tone(hz: float = 440, seconds: float = 0.3, rate_hz: int = RATE, level: float = 0.5) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def save(path: Path, signal: NDArray[Any], rate_hz: int = RATE, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate_hz, **settings)
    return path


def decoded(path: Path, working_rate_hz: int = 22_050, limit_s: float = 60) -> Decoded:
    return decode_file(path, working_rate_hz, limit_s)


def reason(path: Path, **settings: Any) -> str:
    found = decoded(path, **settings)
    assert found.signal is None
    assert found.length == 0
    return found.remarks[0]


def wav(content: bytes, length: int | None = None, rate_hz: int = RATE) -> bytes:
    """A WAV file of one 16-bit channel whose header speaks of ``length`` bytes of sound."""
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    data = struct.pack("<4sI", b"data", len(content) if length is None else length) + content
    chunks = struct.pack("<4sI", b"fmt ", len(form)) + form + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    for name, hz in (("high", 1500), ("low", 300)):
        for place in range(4):
            save(tmp_path / "tones" / name / f"{place}.wav", tone(hz + 30 * place))
    return tmp_path / "tones"


def read_all(folder: Path, options: DataConfig = OPTIONS) -> AudioRecords:
    return audio.read(open_source(folder), options)["all"]


# each format decoded right


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1 / 128), ("a.wav", "PCM_16", 1e-4), ("a.wav", "PCM_24", 1e-4), ("a.wav", "PCM_32", 1e-4),
        ("a.wav", "FLOAT", 1e-4), ("a.wav", "DOUBLE", 1e-4), ("a.wav", "ULAW", 0.02), ("a.flac", "PCM_24", 1e-4),
        ("a.aiff", "PCM_16", 1e-4), ("a.au", "PCM_16", 1e-4), ("A.WAV", "PCM_16", 1e-4),
    ],
)  # fmt: skip
def test_every_format_has_the_same_levels(tmp_path: Path, name: str, subtype: str, tolerance: float) -> None:
    found = decoded(save(tmp_path / name, tone(), subtype=subtype))
    assert found.signal is not None
    assert np.abs(found.signal / 32768 - tone()).max() <= tolerance
    assert (found.rate_hz, found.channels, found.remarks) == (RATE, 1, ())


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_compressed_sound_keeps_its_pitch(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        soundfile.write(path, tone(440, 1.0, 16_000), 16_000)
    except soundfile.SoundFileError:
        pytest.skip(f"this libsndfile does not write {name}")
    found = decoded(path)
    assert found.signal is not None
    assert abs(np.abs(np.fft.rfft(found.signal[:16_000])).argmax() - 440) <= 1
    assert 0.9 <= found.length / 16_000 <= 1.2  # encoders pad


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([tone(440), tone(440, level=0.1), np.zeros(2400)], axis=1)
    found = decoded(save(tmp_path / "a.wav", both, subtype="FLOAT"))
    assert found.signal is not None
    assert np.abs(found.signal / 32768 - tone(level=0.2)).max() < 1e-4
    assert found.channels == 3


def test_a_right_file_with_a_wrong_ending_is_read(tmp_path: Path) -> None:
    save(tmp_path / "a.flac", tone()).rename(tmp_path / "a.wav")
    assert decoded(tmp_path / "a.wav").length == 2400


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 96_000])
def test_high_rates_come_down_to_the_working_rate(tmp_path: Path, rate_hz: int) -> None:
    found = decoded(save(tmp_path / "a.wav", tone(440, 0.5, rate_hz), rate_hz))
    assert found.signal is not None
    kept_hz = min(rate_hz, 22_050)
    assert (found.rate_hz, found.file_rate_hz) == (kept_hz, rate_hz)
    wanted = tone(440, 0.5, kept_hz)
    middle = slice(200, -200)
    assert np.abs(found.signal[: len(wanted)][middle] / 32768 - wanted[: len(found.signal)][middle]).max() < 0.003


def test_levels_beyond_full_scale_are_scaled_and_said(tmp_path: Path) -> None:
    found = decoded(save(tmp_path / "a.wav", tone(level=20.0), subtype="FLOAT"))
    assert found.signal is not None
    assert np.abs(found.signal / 32768 - tone(level=1.0)).max() < 0.01
    assert "beyond full scale" in found.remarks[0]


def test_a_quiet_recording_of_many_bits_is_said(tmp_path: Path) -> None:
    assert "very quiet" in decoded(save(tmp_path / "a.wav", tone(level=0.001), subtype="PCM_24")).remarks[0]
    assert decoded(save(tmp_path / "b.wav", tone(level=0.001))).remarks == ()


def test_of_a_very_long_recording_the_beginning_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LONGEST_S", 0.2)
    monkeypatch.setattr(decode, "BLOCK", 500)
    found = decoded(save(tmp_path / "a.wav", tone()))
    assert found.length == 1600
    assert "only the beginning is read" in found.remarks[0]
    assert decoded(save(tmp_path / "b.wav", tone(seconds=0.2))).remarks == ()


# what cannot be read, with its reason


def test_broken_files_say_why(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"")
    assert reason(path) == "empty file (0 bytes)"
    path.write_text("this is no sound")
    assert "no sound that can be decoded, it starts with b'this is '" in reason(path)
    path.write_bytes(wav(tone().astype("<i2").tobytes())[:30])
    assert "no sound that can be decoded" in reason(path)
    path.unlink()
    assert reason(path) == "cannot be opened (No such file or directory)"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    signal = tone()
    signal[[5, 9]] = value
    assert "has 2 samples that are NaN or infinite" in reason(save(tmp_path / "a.wav", signal, subtype="FLOAT"))


def test_no_sound_to_speak_of_is_refused(tmp_path: Path) -> None:
    assert reason(save(tmp_path / "a.wav", tone(seconds=0.01))) == "0.0100 s long, shorter than 0.02 s"
    assert reason(save(tmp_path / "b.wav", np.zeros(0))) == "0.0000 s long, shorter than 0.02 s"
    assert decoded(save(tmp_path / "c.wav", tone(seconds=0.02))).length == 160


def test_a_cut_wav_is_refused_and_an_unknown_length_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "a.wav", np.rint(9999 * tone()).astype("<i2").tobytes()
    path.write_bytes(wav(content)[:2000])
    assert reason(path) == "cut off: the header speaks of 4,800 bytes of sound, 1,956 are there"
    for length in (0x7FFFFFFF, 0xFFFFFFFF):  # a writer that could not go back to its header
        path.write_bytes(wav(content, length))
        assert decoded(path).length == 2400


def test_an_absurd_header_reserves_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(b"\1\2" * 50, 0x7FFFFFF0))
    assert "shorter than 0.02 s" in reason(path)
    path.write_bytes(wav(b"\1\2" * 50, 0x70000000))
    assert "cut off" in reason(path)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.wav"])
def test_files_cut_anywhere_never_hang_or_fail(tmp_path: Path, name: str) -> None:
    try:
        content = save(tmp_path / name, tone(440, 0.5, 16_000), 16_000).read_bytes()
    except soundfile.SoundFileError:
        pytest.skip(f"this libsndfile does not write {name}")
    for tenth in range(10):
        (tmp_path / name).write_bytes(content[: len(content) * tenth // 10])
        found = decoded(tmp_path / name)
        assert (found.signal is None) == bool(found.length == 0)
        assert found.signal is not None or found.remarks


def test_a_slow_decoder_is_stopped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone())
    assert reason(path, limit_s=-1.0) == "not decoded within data.decode_limit_s=-1 seconds"


# folders


def test_bad_files_are_listed_and_too_many_stop(tones: Path) -> None:
    (tones / "low" / "0.wav").write_bytes(b"")
    (tones / "low" / "1.wav").write_text("words")
    records = read_all(tones)
    assert len(records) == 6
    (skipped,) = [f for f in audio.findings(records) if "cannot be read" in f.text]
    assert skipped.level == "warning"
    assert "2 sound files cannot be read and are left out: low/0.wav: empty file (0 bytes); low/1.wav" in skipped.text
    with pytest.raises(InputError, match=r"2 of 8 sound files cannot be read, more than data.max_bad_share=0.1"):
        read_all(tones, replace(OPTIONS, max_bad_share=0.1))


def test_what_is_silent_odd_or_alone_is_said(tones: Path) -> None:
    save(tones / "low" / "silent.wav", np.zeros(2400))
    save(tones / "low" / "offset.wav", np.full(2400, 0.25))
    save(tones / "rare" / "only.wav", np.stack([tone(700), tone(700)], axis=1))
    (tones / "empty").mkdir()
    (tones / "low" / "notes.txt").write_text("x")
    (tones / ".DS_Store").write_text("x")
    found = {finding.text: finding.level for finding in audio.findings(read_all(tones))}
    for text, level in (
        ("2 silent recordings, every sample equal", "warning"),
        ("1 classes with a single recording", "warning"),
        ("class folder 'empty' holds no sound files; it is no class", "warning"),
        ("1 recordings: 2 channels averaged to one", "note"),
        ("2 other files or folders ignored", "note"),
        ("recordings of 0.3 to 0.3 s, half of them up to 0.3 s; 0.055 minutes in all", "note"),
    ):
        assert found.get(text) == level, (text, found)


def test_rates_may_be_mixed(tones: Path) -> None:
    for place in range(3):
        save(tones / "high" / f"96k{place}.wav", tone(1500, 0.3, 96_000), 96_000)
    records = read_all(tones)
    schema = audio.learn_schema(records, OPTIONS)
    assert schema.sample_rate_hz == RATE
    texts = [finding.text for finding in audio.findings(records)]
    assert "3 recordings: recorded at 96,000 Hz" in texts
    assert "8 recordings: recorded at 8,000 Hz" in texts
    signals, length = audio.encode(records, schema).batch(torch.arange(len(records))).inputs
    assert length.tolist() == [2400] * 11
    assert float(signals.float().std(-1).min()) > 5000
    wide = replace(schema, sample_rate_hz=22_050)
    (finding,) = audio.mismatches(records, wide)
    assert "8 recordings have a lower rate than 22,050 Hz, down to 8,000 Hz" in finding.text
    assert audio.mismatches(records, schema) == []


def test_equal_sound_in_train_and_test_is_taken_out(tones: Path, tmp_path: Path) -> None:
    for place in range(4, 40):
        for name, hz in (("high", 1500), ("low", 300)):
            save(tones / name / f"{place}.wav", tone(hz + place))
    copied = np.rint(8000 * tone(900, 0.25)).astype(np.int16)
    for place in range(8):
        save(tones / "low" / f"copy{place}.{('wav', 'flac')[place % 2]}", copied)
    prepared = prepare(tones, OPTIONS)
    hashes = {name: set(records.hashes().tolist()) for name, records in prepared.parts.items()}
    assert not hashes["train"] & hashes["test"]
    assert not hashes["train"] & hashes["valid"]


def test_one_class_and_no_labels_are_refused(tmp_path: Path) -> None:
    for place in range(4):
        save(tmp_path / "one" / "low" / f"{place}.wav", tone(300 + place))
        save(tmp_path / "loose" / f"take{place}.wav", tone(300 + place))
    (tmp_path / "one" / "other").mkdir()
    with pytest.raises(InputError, match="are of one class, 'low'"):
        audio.learn_schema(read_all(tmp_path / "one"), OPTIONS)
    with pytest.raises(InputError, match="have no labels or class folders; expected a folder of class folders"):
        audio.learn_schema(read_all(tmp_path / "loose"), OPTIONS)


def test_an_unknown_class_is_refused_by_name(tones: Path) -> None:
    schema = audio.learn_schema(read_all(tones), OPTIONS)
    (tones / "low").rename(tones / "lower")
    with pytest.raises(InputError, match="unknown class 'lower' in 'class'; known classes: 'high', 'low'"):
        audio.encode(read_all(tones), schema)


def test_a_mixture_of_sound_and_pictures_is_refused(tones: Path) -> None:
    from PIL import Image

    for place in range(6):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(tones / "low" / f"{place}.png")
    with pytest.raises(InputError, match=r"mixes 6 images .* and 8 sound files"):
        recognise(open_source(tones))


def test_a_table_that_names_absent_files_lists_them(tones: Path) -> None:
    (tones / "labels.csv").write_text("path,label\nhigh/0.wav,a\nhigh/1.wav,b\nhigh/9.wav,a\nlow/0.wav,b\n")
    records = read_all(tones)
    assert records.ids == ("high/0.wav", "high/1.wav", "low/0.wav")
    assert "high/9.wav: cannot be opened (No such file or directory)" in audio.findings(records)[0].text


def test_what_is_no_sound_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InputError, match="is not sound; expected a folder of class folders of WAV"):
        audio.read(open_source(tmp_path / "t.csv"), OPTIONS)
    with pytest.raises(InputError, match="is not sound"):
        audio.read(open_source((np.zeros((4, 3)), np.arange(4))), OPTIONS)
    with pytest.raises(InputError, match="cannot be given sound"):
        audio.front(audio.learn.find_spectrogram(RATE, 0.2, 64), "clip")
