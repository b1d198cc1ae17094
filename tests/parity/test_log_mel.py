"""The log-mel front equals librosa's spectrogram, in float64 and float32, at several rates and windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chainrule.data.audio.front import LogMel, hz_of, mel_filters, mel_of
from chainrule.data.audio.learn import FLOOR_DB, RANGE_DB, find_spectrogram

pytestmark = pytest.mark.peers
CASES = {  # rate, n_fft, window, hop, mels, f_min, f_max
    "speech at 8 kHz": (8_000, 512, 200, 80, 64, 20.0, 4_000.0),
    "odd window at 11,025 Hz": (11_025, 512, 275, 110, 40, 0.0, 5_512.5),
    "16 kHz, a part of the range": (16_000, 512, 400, 160, 80, 125.0, 7_600.0),
    "music at 22,050 Hz": (22_050, 2048, 2048, 512, 128, 0.0, 11_025.0),
    "long windows at 44,100 Hz": (44_100, 4096, 3528, 1764, 96, 20.0, 22_050.0),
}


@pytest.fixture
def librosa() -> Any:
    return pytest.importorskip("librosa")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def sound(rate_hz: int, seconds: float = 0.7) -> NDArray[np.float64]:
    """A rising tone over faint noise, then digital silence."""
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    rng = np.random.default_rng(0)
    signal = 0.5 * np.sin(2 * np.pi * (200 * t + rate_hz / 5 * t**2)) + 1e-3 * rng.standard_normal(len(t))
    signal[-len(t) // 4 :] = 0
    return signal


def peer(librosa: Any, signal: NDArray[Any], case: tuple[Any, ...]) -> NDArray[Any]:
    rate, n_fft, window, hop, mels, low, high = case
    power = librosa.feature.melspectrogram(
        y=signal, sr=rate, n_fft=n_fft, win_length=window, hop_length=hop, n_mels=mels, fmin=low, fmax=high,
        dtype=signal.dtype,
    )  # fmt: skip
    return np.asarray(librosa.power_to_db(power, ref=1.0, amin=10 ** (FLOOR_DB / 10), top_db=None))


def ours(case: tuple[Any, ...]) -> LogMel:
    rate, n_fft, window, hop, mels, low, high = case
    return LogMel(
        rate, n_fft=n_fft, window=window, hop=hop, mels=mels, f_min_hz=low, f_max_hz=high, floor_db=FLOOR_DB
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decibels_equal_librosa_in_float64(librosa: Any, case: tuple[Any, ...]) -> None:
    signal = sound(case[0])
    with default_dtype(torch.float64):
        found = ours(case)(torch.from_numpy(signal)).numpy()
    wanted = peer(librosa, signal, case)
    assert found.shape == wanted.shape
    assert wanted.min() == FLOOR_DB
    # of values down to -100 dB, where a Fourier sum of 1e-16 of the loudest band is 1e-6 of the power
    assert np.abs(found - wanted).max() < 1e-6


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decibels_equal_librosa_in_float32(librosa: Any, case: tuple[Any, ...]) -> None:
    signal = sound(case[0]).astype(np.float32)
    found = ours(case)(torch.from_numpy(signal)).numpy()
    wanted = peer(librosa, signal, case)
    apart, below = np.abs(found - wanted), wanted.max() - wanted
    assert apart[below < 40].max() < 1e-4
    # further down the 1e-7 by which a float32 transform rounds the loudest band counts more: librosa's is in float64
    assert apart[below < RANGE_DB].max() < 1e-4 * RANGE_DB


@pytest.mark.parametrize(("rate_hz", "clip_s"), [(8_000, 0.66), (16_000, 1.0), (22_050, 10.0), (4_000, 0.05)])
def test_the_chosen_spectrogram_equals_librosa(librosa: Any, rate_hz: int, clip_s: float) -> None:
    chosen = find_spectrogram(rate_hz, clip_s, 64)
    case = (rate_hz, chosen.n_fft, chosen.window_samples, chosen.hop_samples, 64, chosen.f_min_hz, chosen.f_max_hz)
    signal = sound(rate_hz, clip_s)[: chosen.clip_samples]
    with default_dtype(torch.float64):
        found = ours(case)(torch.from_numpy(signal)).numpy()
    assert np.abs(found - peer(librosa, signal, case)).max() < 1e-6
    assert found.shape[1] <= 256


def test_mel_filters_and_scale_equal_librosa(librosa: Any) -> None:
    hz = np.linspace(0, 20_000, 1001)
    assert np.allclose(mel_of(hz), librosa.hz_to_mel(hz), rtol=1e-12)
    assert np.allclose(hz_of(mel_of(hz)), hz, rtol=1e-12)
    for rate, n_fft, _, _, mels, low, high in CASES.values():
        wanted = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=mels, fmin=low, fmax=high, dtype=np.float64)
        assert np.allclose(mel_filters(rate, n_fft, mels, low, high), wanted, rtol=1e-10, atol=1e-15)
