"""Sound: what is recognised, read, learned, encoded, cut into windows and changed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import chainrule
from chainrule.data import audio, image
from chainrule.data.audio.augment import MASKS, AudioAugmentConfig
from chainrule.data.audio.built import COLOURS
from chainrule.data.audio.decode import FULL_SCALE, decode_files, resampled
from chainrule.data.audio.front import cut, even_windows
from chainrule.data.audio.learn import find_clip, find_rate, find_spectrogram, fitted
from chainrule.data.audio.records import AudioRecords
from chainrule.data.config import DataConfig
from chainrule.data.media import FIRST_PART, name_pattern
from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget, NumberTarget
from chainrule.data.sources import open_source
from chainrule.data.split import folds
from chainrule.errors import InputError

OPTIONS = DataConfig()
RATE = 8000


def tone(hz: float, seconds: float = 0.4, rate_hz: int = RATE) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def save(path: Path, signal: NDArray[Any], rate_hz: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate_hz, subtype=subtype)
    return path


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Two classes of four recordings."""
    for place in range(8):
        hz = (300 if place % 2 else 1500) + 20 * place
        save(tmp_path / "tones" / ("high", "low")[place % 2] / f"{place}.wav", tone(hz, 0.3 + 0.02 * place))
    return tmp_path / "tones"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """3 digits x 6 speakers x 2, named after both, in a flat folder."""
    seed = 0
    for digit in range(3):
        for speaker in ("ann", "bob", "cat", "dan", "eve", "fay"):
            for index in range(2):
                seed += 1
                noise = np.random.default_rng(seed).normal(0, 0.01, 1600)
                save(tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav", tone(400 * (digit + 1), 0.2) + noise)
    return tmp_path / "recordings"


def read_all(value: Any, options: DataConfig = OPTIONS) -> AudioRecords:
    records = audio.read(open_source(value), options)
    assert list(records) == ["all"]
    return records["all"]


def schema_of(records: AudioRecords, **options: Any) -> audio.AudioSchema:
    return audio.learn_schema(records, replace(OPTIONS, **options))


def batch_of(signals: list[NDArray[Any]], schema: audio.AudioSchema) -> Batch:
    samples = audio.encode(audio.read_inputs(signals, schema), schema)
    return samples.batch(torch.arange(len(samples)))


# recognising and reading


def test_class_folders_are_read_with_their_names(tones: Path) -> None:
    assert audio.recognises(open_source(tones)) == "2 class folders with 8 sound files"
    records = read_all(tones)
    assert records.ids[:2] == ("high/0.wav", "high/2.wav")
    assert records.labels is not None
    assert records.labels.tolist() == ["high"] * 4 + ["low"] * 4
    assert np.allclose(records.durations_s, [0.3, 0.34, 0.38, 0.42, 0.32, 0.36, 0.4, 0.44])


@pytest.mark.parametrize("beside", [False, True], ids=["in the folder", "in a folder of its own"])
def test_a_table_of_paths_is_read(tones: Path, beside: bool) -> None:
    rows = "".join(f"{kind}/{n}.wav,{n / 2},{n // 3}\n" for kind, ns in (("high", (0, 2)), ("low", (1, 3))) for n in ns)
    table = tones / "meta" / "labels.csv" if beside else tones / "labels.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("file,weight,speaker\n" + rows)
    records = read_all(tones, replace(OPTIONS, target="weight", group="speaker"))
    assert len(records) == 4
    assert records.labels is not None
    assert records.groups is not None
    assert (records.labels.tolist(), records.groups.tolist()) == ([0.0, 1.0, 0.5, 1.5], [0, 0, 0, 1])
    assert isinstance(schema_of(records).target, NumberTarget)


def test_the_first_part_of_the_names_is_the_label_of_loose_files(digits: Path) -> None:
    records = read_all(digits)
    assert records.labels is not None
    assert records.labels.tolist() == [str(digit) for digit in range(3) for _ in range(12)]
    assert audio.target_of(records) == FIRST_PART
    schema = schema_of(records)
    assert isinstance(schema.target, ClassTarget)
    assert schema.target.classes == ("0", "1", "2")
    assert "labels are the first part of the file names; class folders, a CSV or --target 'REGEX'" in schema.notes[0]


def test_a_pattern_names_the_label_and_another_one_the_group(digits: Path) -> None:
    records = read_all(digits, replace(OPTIONS, target="_([a-z]+)_", group=r"^(\d)"))
    assert records.labels is not None
    assert records.groups is not None
    assert sorted(set(records.labels.tolist())) == ["ann", "bob", "cat", "dan", "eve", "fay"]
    assert sorted(set(records.groups.tolist())) == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"--target 'x' is not found in 36 of 36 file names, the first '0_ann_0.wav'"):
        read_all(digits, replace(OPTIONS, target="x"))
    numbers = schema_of(read_all(digits, replace(OPTIONS, target=r"^(\d)")), task="regress")
    assert isinstance(numbers.target, NumberTarget)
    with pytest.raises(InputError, match="gives 'ann', 'ann'"):
        schema_of(records, task="regress")


def test_six_folds_leave_each_speaker_out_once(digits: Path) -> None:
    options = replace(OPTIONS, group="_([a-z]+)_")
    records = read_all(digits, options)
    assert records.groups is not None
    tested = [set(records.groups[fold.test].tolist()) for fold in folds(records, 6, options)]
    assert sorted(map(tuple, tested)) == [(name,) for name in ("ann", "bob", "cat", "dan", "eve", "fay")]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["7_jackson_32.wav", "7_theo_1.wav", "8_theo_0.wav", "8_ann_3.wav"], True),
        (["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"], True),
        (["a-1.png", "a-2.png", "b-1.png"], False),  # a single file of b
        (["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"], False),
        (["a_1.png", "a_2.png", "b_1.png", "b_2_x.png"], False),
        (["1.png", "1.jpg", "2.png", "2.jpg"], False),
        (["image_1.png", "image_2.png", "mask_1.png", "mask_2.png"], False),
        (["train_1.png", "train_2.png", "test_1.png", "test_2.png"], False),
        ([], False),
    ],
)
def test_names_that_tell_a_label(names: list[str], found: bool) -> None:
    assert name_pattern(names) == (FIRST_PART if found else "")


def test_images_gain_labels_from_names_too(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png"):
        Image.new("RGB", (8, 8), (len(name), 9, 9)).save(tmp_path / name)
    records = image.read(open_source(tmp_path), OPTIONS)["all"]
    assert records.labels is not None
    assert records.labels.tolist() == ["cat", "cat", "dog", "dog"]
    assert image.target_of(records) == FIRST_PART


def test_equal_sound_has_equal_hashes_whatever_the_format(tmp_path: Path) -> None:
    for name, hz in (("a/1.wav", 440), ("a/2.flac", 440), ("b/3.wav", 441), ("b/4.aiff", 441)):
        save(tmp_path / name, np.rint(9999 * tone(hz)).astype(np.int16))
    hashes = read_all(tmp_path).hashes()
    assert (hashes[0] == hashes[1], hashes[2] == hashes[3], hashes[0] == hashes[2]) == (True, True, False)


def test_the_fingerprint_knows_content_labels_and_order(tones: Path) -> None:
    records = read_all(tones)
    before = records.fingerprint()
    assert read_all(tones).fingerprint() == before
    assert records.select(np.arange(8)[::-1]).fingerprint() != before
    (tones / "low" / "1.wav").rename(tones / "high" / "1.wav")
    assert read_all(tones).fingerprint() != before


def test_selecting_shares_the_samples(tones: Path) -> None:
    records = read_all(tones)
    part = records.select(np.array([5, 0]))
    assert part.ids == ("low/3.wav", "high/0.wav")
    assert part.store is records.store
    assert np.array_equal(part.signal(1), records.signal(0))


# what is decided


def test_the_most_common_rate_is_taken() -> None:
    assert find_rate(np.array([8000, 8000, 16000]), 0) == (8000, "8,000 Hz, as 2 of 3 recordings have")
    assert find_rate(np.array([8000]), 16000)[0] == 16000


def test_the_window_holds_19_of_20_recordings() -> None:
    lengths = np.array([0.5] * 50 + [0.6543] * 48 + [3.0] * 2)
    clip_s, pieces, why = find_clip(lengths, 0)
    assert (clip_s, pieces) == (0.66, 1)
    assert "19 of 20 recordings fit, the longest is 3 s" in why
    assert find_clip(np.array([1.0, 1.05]), 0)[:2] == (1.1, 1)
    assert find_clip(np.full(9, 30.0), 0)[:2] == (10.0, 3)
    assert find_clip(np.full(9, 12.0), 0)[:2] == (6.0, 2)
    assert find_clip(np.full(9, 600.0), 0)[:2] == (10.0, 5)
    assert find_clip(np.full(9, 4.0), 2.0)[:2] == (2.0, 2)


@pytest.mark.parametrize(("rate_hz", "clip_s"), [(8000, 0.66), (22050, 10.0), (16000, 1.0), (4000, 0.03)])
def test_no_band_is_empty_and_the_spectrogram_is_small(rate_hz: int, clip_s: float) -> None:
    chosen = find_spectrogram(rate_hz, clip_s, 64)
    assert 17 <= chosen.frames <= 256
    assert chosen.hop_samples <= chosen.window_samples <= chosen.n_fft
    front = audio.front(chosen, "image")
    noise = torch.randint(-9999, 9999, (1, 1, 1, chosen.clip_samples)).to(torch.int16)
    bands = front(noise, torch.tensor([chosen.clip_samples]))[0]
    assert bands.shape == (1, 1, 64, chosen.frames)
    assert bands.min() > -90


def test_a_network_sees_standard_units(tones: Path) -> None:
    records = read_all(tones)
    schema = schema_of(records)
    batch = audio.encode(records, schema).batch(torch.arange(8))
    image = audio.front(schema, "image")(*batch.inputs)[0]
    heard = image[image > image.min() + 1e-3]  # silence around short recordings lies at the floor
    assert abs(float(heard.mean())) < 0.01
    assert abs(float(heard.std()) - 1) < 0.01
    wave = audio.front(schema, "signal")(*batch.inputs)[0]
    assert abs(float(wave.square().sum() / batch.inputs[1].sum()) - 1) < 1e-3


def test_the_schema_survives_json(tones: Path) -> None:
    schema = schema_of(read_all(tones))
    assert audio.load_schema(json.loads(json.dumps(asdict(schema)))) == schema
    with pytest.raises(InputError, match="unknown key"):
        audio.load_schema({**asdict(schema), "tempo": 1})


@pytest.mark.parametrize(("name", "value"), [("sample_rate_hz", 10), ("clip_s", 900.0), ("mels", 2), ("mels", 900)])
def test_absurd_settings_are_refused(tones: Path, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"data.{name} is {value:g}; expected"):
        schema_of(read_all(tones), **{name: value})


def test_settings_are_followed(tones: Path) -> None:
    options = replace(OPTIONS, sample_rate_hz=4000, clip_s=0.2, mels=32)
    schema = audio.learn_schema(read_all(tones, options), options)
    assert (schema.sample_rate_hz, schema.clip_samples, schema.mels, schema.pieces) == (4000, 800, 32, 3)
    assert audio.sizes(schema, "image") == {"in_channels": 1, "image_size": (32, schema.frames)}
    assert audio.sizes(schema, "signal") == {"in_channels": 1, "image_size": (800,)}


# encoding and windows


def test_recordings_are_laid_out_with_silence_after_them(tones: Path) -> None:
    records = read_all(tones)
    schema = schema_of(records)
    signal, length = audio.encode(records, schema).batch(torch.tensor([3, 0])).inputs
    assert signal.shape == (2, 1, 1, schema.clip_samples)
    assert length.tolist() == [3360, 2400]
    assert np.array_equal(signal[1].flatten()[:2400].numpy(), records.signal(0))
    assert not signal[1].flatten()[2400:].any()


def test_of_a_long_recording_the_loudest_stretch_is_kept() -> None:
    schema = find_spectrogram(RATE, 0.1, 64)
    signal = np.zeros(5000, np.int16)
    signal[2000:2800] = 1000
    kept = fitted(signal, RATE, schema)
    assert len(kept) == 800
    assert (kept == 1000).all()


def test_windows_are_spread_evenly_over_a_recording_or_stand_about_it() -> None:
    signal = torch.arange(1, 31).view(1, 1, 3, 10).repeat(3, 1, 1, 1)
    windows = even_windows(signal, torch.tensor([30, 16, 4]))
    assert windows[0, :, 0].tolist() == [1, 11, 21]
    assert windows[1, :, 0].tolist() == [1, 4, 7]
    assert windows[2, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]  # its 4 samples in the middle, what follows is 0


def test_cutting_gives_silence_beyond_both_ends() -> None:
    found = cut(torch.arange(1, 6)[None], torch.tensor([[-2, 3]]), 4)
    assert found.tolist() == [[[0, 0, 1, 2], [4, 5, 0, 0]]]


@pytest.mark.parametrize("takes", ["image", "signal"])
def test_the_front_gives_every_piece_and_training_one(takes: str) -> None:
    schema = replace(find_spectrogram(RATE, 0.2, 32), pieces=3)
    batch = batch_of([tone(500, 0.6), tone(900, 0.1)], schema)
    front = audio.front(schema, takes)
    (x,) = front(*batch.inputs)
    size = audio.sizes(schema, takes)["image_size"]
    assert x.shape == (2, 3, 1, *size)
    assert torch.equal(x[1, 0], x[1, 2])  # a short recording is in all its windows
    changed = audio.augment(batch, torch.Generator().manual_seed(0), AudioAugmentConfig(mixup=0))
    assert front(*changed.inputs)[0].shape == (2, 1, 1, *size)


def test_the_front_computes_in_float32_under_bfloat16() -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    batch = batch_of([tone(500, 0.2)], schema)
    front = audio.front(schema, "image")
    plain = front(*batch.inputs)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(*batch.inputs)[0], plain)


def test_many_recordings_at_once_equal_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    batch = batch_of([tone(200 * n, 0.2) for n in range(1, 8)], schema)
    front = audio.front(schema, "image")
    whole = front(*batch.inputs)[0]
    monkeypatch.setattr(sys.modules["chainrule.data.audio.front"], "SPECTRUM_VALUES", 1)
    assert torch.allclose(front(*batch.inputs)[0], whole, atol=1e-5)  # matrix products of other shapes round otherwise


def test_other_rates_come_to_the_schema_rate() -> None:
    for rate_hz in (11_025, 16_000, 44_100, 96_000):
        schema = find_spectrogram(RATE, 0.4, 64)
        signal = np.rint(tone(500, 0.4, rate_hz) * FULL_SCALE).astype(np.int16)
        found = fitted(signal, rate_hz, schema)
        wanted = tone(500, 0.4) * FULL_SCALE
        assert abs(len(found) - len(wanted)) <= 1
        middle = slice(400, -400)
        assert np.abs(found[: len(wanted)][middle] - wanted[: len(found)][middle]).max() < 0.005 * FULL_SCALE


def test_resampling_folds_nothing_over() -> None:
    above = resampled(tone(3500, 0.5, 16_000).astype(np.float32), 16_000, 4000)
    assert above.dtype == np.float32
    assert np.abs(above[100:-100]).max() < 0.005


def test_decoding_in_threads_changes_nothing(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(tones.rglob("*.wav"))
    found = []
    for cores in (1, 4):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        found.append([one.hash for one in decode_files(paths, working_rate_hz=22_050, limit_s=60)])
    assert found[0] == found[1]


# augmentation

STILL = AudioAugmentConfig(shift=0, speed=0, gain_db=0, noise=0, time_mask=0, frequency_mask=0, mixup=0)


def augmented(batch: Batch, config: AudioAugmentConfig, seed: int = 0) -> Batch:
    return audio.augment(batch, torch.Generator().manual_seed(seed), config)


def test_augmentation_is_drawn_from_the_generator_alone() -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    batch = batch_of([tone(300, 0.3), tone(700, 0.15)], replace(schema, pieces=2))
    config = AudioAugmentConfig(noise=0.1, mixup=0.2)
    batch = replace(batch, targets=torch.tensor([0, 1]))
    first, again, other = (augmented(batch, config, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))
    assert not torch.equal(first.inputs[0], other.inputs[0])
    assert first.mixed is not None
    assert first.inputs[0].shape == (2, 1, 1, schema.clip_samples)


def test_without_changes_a_recording_of_one_window_stays() -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    batch = batch_of([tone(300, 0.2)], schema)
    front = audio.front(schema, "image")
    changed = augmented(batch, STILL)
    assert torch.equal(changed.inputs[0], batch.inputs[0].float())
    assert torch.equal(front(*changed.inputs)[0], front(*batch.inputs)[0])


def test_windows_lie_anywhere_in_a_recording_and_short_ones_anywhere_in_a_window() -> None:
    schema = replace(find_spectrogram(RATE, 0.1, 64), pieces=2)
    ramp, short = np.arange(1, 1601, dtype=np.int16), np.arange(1, 401, dtype=np.int16)
    starts: set[int] = set()
    for seed in range(30):
        windows = augmented(batch_of([ramp, short], schema), STILL, seed).inputs[0][:, 0, 0]
        assert torch.equal(windows[0].diff(), torch.ones(799))
        starts.add(int(windows[0, 0]))
        assert sorted(windows[1][windows[1] > 0].tolist()) == short.tolist()
    assert len(starts) > 20
    assert min(starts) < 200
    assert max(starts) > 600


def test_gain_and_noise_have_their_stated_size() -> None:
    schema = find_spectrogram(RATE, 0.5, 64)
    batch = batch_of([tone(300, 0.5)] * 200, schema)
    ratio = augmented(batch, replace(STILL, gain_db=6)).inputs[0].abs().amax((1, 2, 3)) / (FULL_SCALE / 2)
    decibels = 20 * ratio.log10()
    assert -6.01 <= float(decibels.min()) < -5.5
    assert 5.5 < float(decibels.max()) <= 6.01
    noise = augmented(batch, replace(STILL, noise=0.5)).inputs[0] - batch.inputs[0]
    share = noise.square().mean((1, 2, 3)).sqrt() / (0.5 * FULL_SCALE * 0.5**0.5)
    assert 0.48 < float(share.max()) < 0.52
    assert float(share.min()) < 0.02


def test_speed_changes_pitch_by_its_share() -> None:
    schema = find_spectrogram(RATE, 1.0, 64)
    batch = batch_of([tone(1000, 1.0)] * 64, schema)
    windows = augmented(batch, replace(STILL, speed=0.1)).inputs[0][:, 0, 0]
    peaks = torch.fft.rfft(windows).abs().argmax(1).float()
    assert 900 <= float(peaks.min()) < 915
    assert 1085 < float(peaks.max()) <= 1100
    assert float(windows.abs().max()) < 1.02 * FULL_SCALE / 2


def test_masks_blank_whole_frames_and_bands() -> None:
    schema = find_spectrogram(RATE, 0.5, 64)
    noise = np.random.default_rng(0).normal(0, 0.1, RATE // 2)
    batch = batch_of([noise] * 50, schema)
    changed = augmented(batch, replace(STILL, time_mask=0.2, frequency_mask=0.3))
    assert changed.inputs[2].shape == (50, 2, MASKS, 2)
    image = audio.front(schema, "image")(*changed.inputs)[0][:, 0]
    blank = image == 0
    frames, bands = blank.all(1).float().mean(1), blank.all(2).float().mean(1)
    assert 0.3 < float(frames.max()) <= 0.42  # two spans of up to a fifth
    assert 0.4 < float(bands.max()) <= 0.62
    assert torch.equal(blank, blank.all(1)[:, None, :] | blank.all(2)[:, :, None])


def test_micro_batches_are_parts_of_the_augmented_batch() -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    changed = augmented(batch_of([tone(200 * n, 0.2) for n in range(1, 6)], schema), AudioAugmentConfig(mixup=0))
    front = audio.front(schema, "image")
    parts = torch.cat([front(*part.inputs)[0] for part in changed.split(2)])
    assert torch.allclose(parts, front(*changed.inputs)[0], atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("shift", 0.6), ("gain_db", -1), ("time_mask", 2), ("mixup", -0.1)])
def test_absurd_augmentation_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"augment.{name}"):
        AudioAugmentConfig(**{name: value})


def test_the_free_spoken_digits_are_read(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_DATA", str(shared_data))
    records = read_all("fsdd", replace(OPTIONS, group="_([a-z]+)_"))
    assert records.groups is not None
    assert (len(records), len(set(records.groups.tolist()))) == (3000, 6)
    schema = schema_of(records)
    assert isinstance(schema.target, ClassTarget)
    assert schema.target.counts == (300,) * 10
    assert (schema.sample_rate_hz, schema.pieces) == (RATE, 1)


# predicting, showing, and the whole way


def test_arrays_are_predicted_at_the_network_rate() -> None:
    schema = find_spectrogram(RATE, 0.2, 64)
    level = np.rint(tone(500, 0.2) * FULL_SCALE).astype(np.int16)
    records = audio.read_inputs([tone(500, 0.2), level, np.stack([level, level])], schema)
    assert len(records) == 4
    assert all(np.array_equal(records.signal(place), level) for place in range(4))
    assert "network's 8,000 samples per second" in audio.findings(records)[0].text
    for wrong in (np.zeros((1, 2, 3)), np.array(["a"]), np.full(100, np.nan), np.zeros(5, np.int64)):
        with pytest.raises(InputError, match="at 8,000 Hz, as int16 or as numbers from -1 to 1"):
            audio.read_inputs([wrong], schema)


def test_folders_and_files_are_predicted(tones: Path) -> None:
    schema = schema_of(read_all(tones))
    records = audio.read_inputs([tones, str(tones / "low" / "1.wav")], schema)
    assert len(records) == 9
    assert records.labels is None
    with pytest.raises(InputError, match="no sound to predict"):
        audio.read_inputs([], schema)


def test_a_table_without_one_answer_is_predicted(tones: Path) -> None:
    (tones / "asked.csv").write_text("file,age,site\nlow/1.wav,3,a\nhigh/0.wav,4,b\nlow/3.wav,4,c\n")
    records = audio.read_inputs(
        [tones / "asked.csv"], schema_of(read_all(tones / "low", replace(OPTIONS, target="^(.)")))
    )
    assert records.ids == ("low/1.wav", "high/0.wav", "low/3.wav")
    assert records.labels is None


def test_a_recording_is_shown_as_its_spectrogram(tones: Path) -> None:
    records = read_all(tones)
    shown = audio.show(records, 0)
    assert shown.values == {"recording": "high/0.wav", "seconds": "0.3", "class": "high"}
    assert shown.image is not None
    assert shown.image.shape[0] == 64
    high, low = (audio.show(records, row).image.astype(int).sum((1, 2)).argmax() for row in (0, 4))  # type: ignore[union-attr]
    assert high < low  # the picture's first row is the highest band
    schema = schema_of(records)
    batch = audio.encode(records, schema).batch(torch.arange(8))
    assert audio.picture(batch, 3, schema).shape == (32, schema.frames, 3)
    assert audio.picture(augmented(batch, AudioAugmentConfig(mixup=0)), 3, schema).dtype == np.uint8


def test_colours_grow_lighter() -> None:
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > 30).all()


def test_a_linear_model_hears_bands(tones: Path) -> None:
    records = read_all(tones)
    for options in ({}, {"clip_s": 0.15}):
        schema = schema_of(records, **options)
        vector = audio.classical(audio.encode(records, schema).batch(torch.arange(8)), schema)["vector"]
        assert vector.shape == (8, 64)
        assert vector[:4].argmax(1).min() > vector[4:, :32].argmax(1).max()


@pytest.mark.parametrize(
    ("model", "settings"),
    [("resnet20", {}), ("resnet20", {"data.clip_s": 0.15}), ("mobilenet_v3_small", {"model.dims": 1})],
    ids=["whole", "pieces", "signal"],
)
def test_fit_evaluate_predict_and_resume(tones: Path, tmp_path: Path, model: str, settings: dict[str, Any]) -> None:
    for place in range(8, 24):
        hz = (300 if place % 2 else 1500) + 20 * place
        save(tones / ("high", "low")[place % 2] / f"{place}.wav", tone(hz, 0.3))
    out = tmp_path / "run"
    run = chainrule.fit(tones, model=model, epochs=1, batch_size=8, out=out, set={"data.mels": 32, **settings})
    answers = run.predict([tones / "low" / "1.wav", tone(1500, 0.3)])
    assert answers.height == 2
    again = chainrule.load(out).predict([tones / "low" / "1.wav"])
    shares = [column for column in answers.columns if column.startswith("p(")]
    # a batch of one row sums in another order than a batch of two
    assert np.allclose(again[shares].row(0), answers[shares].row(0), atol=1e-5)
    assert chainrule.load(out).evaluate(tones)["rows"] == 24
    assert chainrule.resume(out, epochs=2).metrics["epochs"] == 2
