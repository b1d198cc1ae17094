"""What is found from the train split: the rate, the window, the spectrogram, and how loud the recordings are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.audio.decode import FULL_SCALE, WORKING_RATE_HZ, Signal, resampled, to_int16
from chainrule.data.audio.front import even_windows, log_mel, mel_filters
from chainrule.data.audio.records import AudioRecords
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.config import DataConfig
from chainrule.data.schema import Target
from chainrule.errors import InputError

LONGEST_CLIP_S = 10.0
MOST_PIECES = 5
LEAST_FRAMES, MOST_FRAMES = 32, 256
HOP_S, WINDOW_S = 0.010, 0.025  # usual for speech
F_MIN_HZ = 20.0  # below is no sound to hear, but a constant offset is
FLOOR_DB, RANGE_DB = -100.0, 80.0  # nothing is quieter than this; and the floor is so far below the loudest band
STATISTICS_RECORDS = 500
MELS, FEW_MELS = 64, 32  # bands; at a low rate the lower ones of 64 would be narrower than a Fourier bin
NARROW_HZ = 10_000  # sample rates up to here get few
LIMITS = {"sample_rate_hz": (1000, 192_000), "clip_s": (0.02, 60.0), "mels": (8, 256)}


def learned(train: AudioRecords, target: Target | None, options: DataConfig, reason: str) -> AudioSchema:
    """The schema of a train split.

    Raises:
        InputError: a setting that is absurd.
    """
    check_limits(options)
    rate_hz, why_rate = find_rate(train.rates_hz, options.sample_rate_hz)
    clip_s, pieces, why_clip = find_clip(train.durations_s, options.clip_s)
    plain = find_spectrogram(rate_hz, clip_s, options.mels or usual_mels(rate_hz))
    schema = replace(
        plain, target=target, pieces=pieces, notes=(reason, why_rate, why_clip, described_spectrogram(plain))
    )
    return with_statistics(train, schema)


def check_limits(options: DataConfig) -> None:
    """Raise InputError for a setting that is absurd."""
    for name, (least, most) in LIMITS.items():
        value = getattr(options, name)
        if value and not least <= value <= most:
            raise InputError(f"data.{name} is {value:g}; expected {least:g} to {most:g}, or 0 to have it found")


def find_rate(rates_hz: NDArray[np.int64], asked_hz: int) -> tuple[int, str]:
    """The sample rate that every recording is brought to, and why."""
    if asked_hz:
        return asked_hz, f"{asked_hz:,} Hz, as data.sample_rate_hz says"
    (rate_hz, count), *others = Counter(rates_hz.tolist()).most_common()
    if rate_hz == WORKING_RATE_HZ:
        return rate_hz, f"{rate_hz:,} Hz, the most that is taken without data.sample_rate_hz"
    whose = f"as {count:,} of {len(rates_hz):,} recordings have" if others else "as all recordings have"
    return rate_hz, f"{rate_hz:,} Hz, {whose}"


def usual_mels(rate_hz: int) -> int:
    """Bands of a spectrogram at this rate."""
    return FEW_MELS if rate_hz <= NARROW_HZ else MELS


def find_clip(durations_s: NDArray[np.float64], asked_s: float) -> tuple[float, int, str]:
    """Seconds of the window that goes through the network, how many of them an evaluation takes, and why."""
    long = float(np.percentile(durations_s, 95))
    longest = float(durations_s.max())
    long = longest if longest <= 1.25 * long else long
    clip_s = asked_s or _rounded_up(long / math.ceil(long / LONGEST_CLIP_S))
    pieces = max(1, min(MOST_PIECES, math.ceil(long / clip_s - 0.1)))
    seen = f"windows of {clip_s:g} s"
    if pieces > 1:
        seen += f", {pieces} of a recording in evaluation, their outputs averaged"
    held = "all" if longest <= clip_s * pieces else "19 of 20" if long <= 1.1 * clip_s * pieces else "not all"
    why = "as data.clip_s says" if asked_s else "data.clip_s sets another"
    return clip_s, pieces, f"{seen}: {held} recordings fit, the longest is {longest:.3g} s; {why}"


def _rounded_up(seconds: float) -> float:
    """To two digits: 0.6543 -> 0.66."""
    digits = 1 - math.floor(math.log10(seconds))
    steps = math.ceil(round(seconds * 10.0**digits, 6))
    return round(steps / 10.0**digits, 6)


def find_spectrogram(rate_hz: int, clip_s: float, mels: int) -> AudioSchema:
    """A schema with the parameters of the spectrogram: at most 256 frames, no band without a Fourier frequency."""
    clip = max(2, round(clip_s * rate_hz))
    hop = max(1, math.ceil(clip / (MOST_FRAMES - 1)), min(round(HOP_S * rate_hz), clip // LEAST_FRAMES))
    window = min(clip, max(round(WINDOW_S * rate_hz), 2 * hop))
    n_fft = 1 << (window - 1).bit_length()
    f_max_hz = rate_hz / 2
    while (mel_filters(rate_hz, n_fft, mels, F_MIN_HZ, f_max_hz).max(axis=1) == 0).any():
        n_fft *= 2
    return AudioSchema(
        target=None, sample_rate_hz=rate_hz, clip_samples=clip, pieces=1, mels=mels, n_fft=n_fft, window_samples=window,
        hop_samples=hop, f_min_hz=F_MIN_HZ, f_max_hz=f_max_hz, floor_db=FLOOR_DB, mean_db=0.0, std_db=1.0, level=1.0,
    )  # fmt: skip


def described_spectrogram(schema: AudioSchema) -> str:
    hop_ms, window_ms = (1000 * n / schema.sample_rate_hz for n in (schema.hop_samples, schema.window_samples))
    return (
        f"spectrograms of {schema.mels} mel bands (data.mels) x {schema.frames} frames: {schema.f_min_hz:g} to "
        f"{schema.f_max_hz:,g} Hz, a window of {window_ms:.3g} ms every {hop_ms:.3g} ms; --set model.dims=1 takes the "
        f"signal itself where the network can"
    )


def with_statistics(train: AudioRecords, schema: AudioSchema) -> AudioSchema:
    """The loudness of at most 500 recordings spread evenly: root mean square, floor, and mean and spread above it."""
    places = range(0, len(train), max(1, -(-len(train) // STATISTICS_RECORDS)))
    spectrogram, decibels = log_mel(schema), []
    energy, samples = 0.0, 0
    for place in places:
        signal = fitted(train.signal(place), int(train.rates_hz[place]), schema)
        energy += float(np.square(signal, dtype=np.float64).sum())
        samples += len(signal)
        windows = even_windows(*laid_out(signal, schema)).float() / FULL_SCALE
        decibels.append(spectrogram(windows).flatten())
    values = torch.cat(decibels)
    floor_db = max(FLOOR_DB, float(values.max()) - RANGE_DB)
    above = values[values > floor_db].double()
    spread = float(above.std()) if len(above) > 1 else 0.0
    level = math.sqrt(energy / samples) / FULL_SCALE
    return replace(
        schema,
        floor_db=round(floor_db, 2),
        mean_db=round(float(above.mean()), 2) if len(above) else floor_db,
        std_db=round(spread, 2) if spread > 0.01 else 1.0,
        level=level or 1.0,
    )


def laid_out(signal: Signal, schema: AudioSchema) -> tuple[torch.Tensor, torch.Tensor]:
    """A fitted signal as a batch of one: (1, 1, P, S), silence after its end, and its length."""
    rows = np.zeros(schema.pieces * schema.clip_samples, dtype=np.int16)
    rows[: len(signal)] = signal
    return torch.from_numpy(rows).view(1, 1, schema.pieces, -1), torch.tensor([len(signal)])


def at_rate(signal: Signal, rate_hz: int, wanted_hz: int) -> Signal:
    """The signal at another rate; itself where it has that."""
    if rate_hz == wanted_hz:
        return signal
    return to_int16(resampled(signal / np.float32(FULL_SCALE), rate_hz, wanted_hz))


def fitted(signal: Signal, rate_hz: int, schema: AudioSchema) -> Signal:
    """The signal at the schema's rate; of one that is longer than all windows together, the loudest stretch."""
    signal = at_rate(signal, rate_hz, schema.sample_rate_hz)
    most = schema.pieces * schema.clip_samples
    if len(signal) <= most:
        return signal
    energy = np.concatenate(([0.0], np.cumsum(np.square(signal, dtype=np.float64))))
    start = int((energy[most:] - energy[:-most]).argmax())
    return signal[start : start + most]
