"""The modules saved with the network: a recording as log-mel spectrograms, as a plain signal, or as frames in a row.

Source: mel scale and bands of equal area from M. Slaney, "Auditory Toolbox: version 2", Interval Research 1998-010.
Reference: librosa.feature.melspectrogram and power_to_db; tests/parity/test_log_mel.py.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.audio.decode import FULL_SCALE
from chainrule.data.audio.schema import AudioSchema

LINEAR_HZ = 1000.0  # Slaney's scale is linear below, logarithmic above
MEL_HZ = 200 / 3  # Hz of a mel in the linear part
LOG_STEP = np.log(6.4) / 27  # of a mel in the logarithmic part
SPECTRUM_VALUES = 1 << 22  # Fourier coefficients that are held at once


def mel_of(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mels: 3 for every 200 Hz up to 1,000 Hz, then 27 for every factor of 6.4."""
    above = LINEAR_HZ / MEL_HZ + np.log(np.maximum(hz, LINEAR_HZ) / LINEAR_HZ) / LOG_STEP
    return np.where(hz < LINEAR_HZ, hz / MEL_HZ, above)


def hz_of(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ``mel_of``."""
    bend = LINEAR_HZ / MEL_HZ
    return np.where(mel < bend, mel * MEL_HZ, LINEAR_HZ * np.exp(LOG_STEP * (mel - bend)))


def mel_filters(sample_rate_hz: int, n_fft: int, mels: int, f_min_hz: float, f_max_hz: float) -> NDArray[np.float64]:
    """(mels, n_fft / 2 + 1): triangles over the Fourier frequencies, evenly spaced in mels, each of area 1 Hz."""
    low, high = mel_of(np.array([f_min_hz, f_max_hz]))
    edges = hz_of(np.linspace(low, high, mels + 2))[:, None]
    hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


class LogMel(nn.Module):
    """Power in mel bands over time, in dB: Hann windows about every hop, zeros beyond the ends; always in float32.

    Example:
        >>> LogMel(8000, n_fft=256, window=200, hop=80, mels=40, f_min_hz=20, f_max_hz=4000)(torch.zeros(2, 800)).shape
        torch.Size([2, 40, 11])
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, sample_rate_hz: int, *, n_fft: int, window: int, hop: int, mels: int, f_min_hz: float, f_max_hz: float,
        floor_db: float = -100.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_fft, self.hop, self.floor = n_fft, hop, 10 ** (floor_db / 10)
        filters = mel_filters(sample_rate_hz, n_fft, mels, f_min_hz, f_max_hz)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        self.register_buffer("window", torch.from_numpy(hann).to(torch.get_default_dtype()))
        self.register_buffer("filters", torch.from_numpy(filters).to(torch.get_default_dtype()))

    def forward(self, signal: Tensor) -> Tensor:
        """(..., T) in units of full scale -> dB (..., mels, 1 + T / hop)."""
        flat = signal.reshape(-1, signal.shape[-1]).to(self.window.dtype)
        frames = 1 + flat.shape[-1] // self.hop
        rows = max(1, SPECTRUM_VALUES // (frames * self.filters.shape[1]))
        with torch.autocast(signal.device.type, enabled=False):
            decibels = torch.cat([self._decibels(part) for part in torch.split(flat, rows)])
        return decibels.view(*signal.shape[:-1], *decibels.shape[1:])

    def _decibels(self, signal: Tensor) -> Tensor:
        spectrum = torch.stft(
            signal, self.n_fft, self.hop, len(self.window), self.window, pad_mode="constant", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return 10 * torch.log10((self.filters @ power).clamp_min(self.floor))


def log_mel(schema: AudioSchema, floor_db: float | None = None) -> LogMel:
    """The spectrogram of a schema, with its floor or another one."""
    return LogMel(
        schema.sample_rate_hz, n_fft=schema.n_fft, window=schema.window_samples, hop=schema.hop_samples,
        mels=schema.mels, f_min_hz=schema.f_min_hz, f_max_hz=schema.f_max_hz,
        floor_db=schema.floor_db if floor_db is None else floor_db,
    )  # fmt: skip


def even_windows(signal: Tensor, length: Tensor) -> Tensor:
    """(B, 1, P, S), a recording laid out in P rows -> (B, P, S): P windows spread evenly over its own length.

    A recording shorter than a window stands in the middle of it, with silence around it.
    """
    B, _, P, S = signal.shape
    free = (length - S)[:, None]
    places = torch.arange(P, device=signal.device)
    spread = torch.div(free * places, max(1, P - 1), rounding_mode="floor")
    middle = torch.div(free, 2, rounding_mode="floor").expand(B, P)
    return cut(signal.flatten(1), torch.where((free > 0) & (P > 1), spread, middle), S)


def cut(signal: Tensor, starts: Tensor, size: int) -> Tensor:
    """(B, L) and first places (B, P), which may lie outside, -> (B, P, size) with silence beyond both ends."""
    B, L = signal.shape
    places = starts[..., None] + torch.arange(size, device=signal.device)
    taken = signal.gather(1, places.clamp(0, L - 1).view(B, -1)).view(places.shape)
    return torch.where((places >= 0) & (places < L), taken, torch.zeros((), dtype=signal.dtype, device=signal.device))


def windows_from_start(signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """As ``even_windows``, but a short recording begins with its window; and the recorded samples of each (B, P)."""
    B, _, P, S = signal.shape
    free = (length - S).clamp(min=0)[:, None]
    places = torch.arange(P, device=signal.device)
    starts = torch.div(free * places, max(1, P - 1), rounding_mode="floor")
    return cut(signal.flatten(1), starts, S), length.clamp(max=S)[:, None].expand(B, P)


class SpectrogramFront(nn.Module):
    """Recordings to standardised log-mel spectrograms, an image of one channel for each window."""

    def __init__(self, schema: AudioSchema) -> None:
        super().__init__()
        self.log_mel = log_mel(schema)
        self.mean_db, self.std_db, self.in_pieces = schema.mean_db, schema.std_db, schema.pieces > 1

    def forward(
        self, signal: Tensor, length: Tensor, spans: Tensor | None = None, extent: Tensor | None = None
    ) -> tuple[Tensor]:
        """16-bit levels (B, 1, P, S), lengths (B,), masks (see augment) -> (B, 1, mels, frames), or (B, P, 1, ...)."""
        windows = even_windows(signal, length).to(self.log_mel.window.dtype) / FULL_SCALE
        image = (self.log_mel(windows) - self.mean_db) / self.std_db  # (B, P, mels, frames)
        if spans is not None:
            image = image * _kept(spans, image)
        return (image[:, :, None] if self.in_pieces else image,)


def _kept(spans: Tensor, image: Tensor) -> Tensor:
    """1 outside of every span of frames or bands, 0 inside."""
    kept = []
    for axis, size in ((0, image.shape[-1]), (1, image.shape[-2])):
        places = (torch.arange(size, device=image.device) + 0.5) / size
        begins, ends = spans[:, axis].unbind(-1)  # (B, spans of an axis)
        kept.append(~((places >= begins[..., None]) & (places < ends[..., None])).any(1))
    return (kept[0][:, None, None, :] & kept[1][:, None, :, None]).to(image.dtype)


class SignalFront(nn.Module):
    """Recordings to plain signals in units of the train split's root mean square."""

    scale: Tensor

    def __init__(self, schema: AudioSchema) -> None:
        super().__init__()
        self.in_pieces = schema.pieces > 1
        self.register_buffer("scale", torch.tensor(1 / (FULL_SCALE * schema.level)))

    def forward(
        self, signal: Tensor, length: Tensor, spans: Tensor | None = None, extent: Tensor | None = None
    ) -> tuple[Tensor]:
        """16-bit levels (B, 1, P, S) and lengths (B,) -> (B, 1, S), or (B, P, 1, S); masks have no meaning here."""
        windows = even_windows(signal, length).to(self.scale.dtype) * self.scale
        return (windows[:, :, None] if self.in_pieces else windows,)


class FramesFront(nn.Module):
    """Recordings to standardised log-mel frames in their order, as many of a row as it is long, zeros after them.

    Whole recordings (B, T) stay whole. Others come in windows, as for spectrograms, but without silence around them.
    """

    def __init__(self, schema: AudioSchema) -> None:
        super().__init__()
        self.log_mel = log_mel(schema)
        self.mean_db, self.std_db, self.in_pieces = schema.mean_db, schema.std_db, schema.pieces > 1

    def forward(
        self, signal: Tensor, length: Tensor, spans: Tensor | None = None, extent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Levels (B, T) or (B, 1, P, S) and lengths (B,) -> frames (B T F) and their numbers (B,), or (B P ...).

        Args:
            spans: masks, see augment.
            extent: (B, 2), where in its window of (B, 1, 1, S) a recording begins and ends.
        """
        if signal.ndim == 2:
            windows, recorded = signal[:, None], length[:, None]
        elif extent is not None:
            windows, recorded = cut(signal.flatten(1), extent[:, :1], signal.shape[-1]), extent[:, 1:] - extent[:, :1]
        else:
            windows, recorded = windows_from_start(signal, length)
        image = (self.log_mel(windows.to(self.log_mel.window.dtype) / FULL_SCALE) - self.mean_db) / self.std_db
        if spans is not None:
            image = image * _kept(spans, image)
        numbers = 1 + torch.div(recorded, self.log_mel.hop, rounding_mode="floor")
        there = torch.arange(image.shape[-1], device=image.device) < numbers[..., None]  # (B, P, T)
        frames = image.mT * there[..., None]
        return (frames, numbers) if self.in_pieces else (frames[:, 0], numbers[:, 0])
