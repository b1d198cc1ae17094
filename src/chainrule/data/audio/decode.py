"""The one sound decoder: every verb reads a sound file through here.

Channels are averaged, rates above the working rate come down to it, and samples become 16-bit whole numbers: those of
the 16-bit files that nearly all recordings are stay exact, at half the memory of float32.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.threads import in_threads

WORKING_RATE_HZ = 22_050  # rates above it come down to it; half of that is as high as most things sound
SHORTEST_S = 0.02
LONGEST_S = 600.0  # of a longer recording the beginning is read
FULL_SCALE = 32768.0
TOLERATED_PEAK = 1 + 1 / 64  # of full scale: decoders and filters overshoot a little
QUIET = 0.01  # of full scale, -40 dB: below it 16-bit levels hold less than a recording with more bits has
BLOCK = 1 << 18  # frames that are decoded at once, so that a wrong header reserves no memory
AT_ONCE = 64  # files that are decoded before they are handed on
UNKNOWN_SIZE = 0x7FFFFF00  # from here up, and 0: what a WAV file says whose writer could not go back to its header

Signal = NDArray[np.int16]  # (T,)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A sound file's content; no signal, and a length of 0, where it could not be read."""

    signal: Signal | None
    remarks: tuple[str, ...]  # what was unusual, or why there is no signal
    digest: str = ""  # sha256 of the file's bytes
    length: int = 0  # samples of the signal
    rate_hz: int = 0  # of the signal
    hash: int = 0  # of the signal and its rate: equal sound, equal hash
    silent: bool = False  # all samples are equal
    file_rate_hz: int = 0
    channels: int = 0  # of the file


class Unreadable(Exception):
    """Why a sound file gives no signal."""


def decode_files(paths: Sequence[Path], *, working_rate_hz: int, limit_s: float) -> Generator[Decoded]:
    """Each file once, in order, in threads; bad files carry their reason."""
    for start in range(0, len(paths), AT_ONCE):
        yield from in_threads(lambda path: decode_file(path, working_rate_hz, limit_s), paths[start : start + AT_ONCE])


def decode_file(path: Path, working_rate_hz: int, limit_s: float) -> Decoded:
    """One file's signal in one channel at its own rate, or at the working rate where its own is higher."""
    digest = ""
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        mono, rate_hz, channels, remarks = _read(path, limit_s)
    except Unreadable as error:
        return Decoded(None, (str(error),), digest)
    except OSError as error:
        return Decoded(None, (f"cannot be opened ({error.strerror or error})",), digest)
    kept_hz = min(rate_hz, working_rate_hz)
    content = described(to_int16(resampled(mono, rate_hz, kept_hz)), kept_hz)
    return replace(content, remarks=remarks, digest=digest, file_rate_hz=rate_hz, channels=channels)


def described(signal: Signal, rate_hz: int) -> Decoded:
    """A signal with what is known of it."""
    digest = blake2b(str(rate_hz).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(signal).data)
    return Decoded(
        signal, (), length=len(signal), rate_hz=rate_hz, hash=int.from_bytes(digest.digest(), "big"),
        silent=bool((signal == signal[0]).all()), file_rate_hz=rate_hz, channels=1,
    )  # fmt: skip


def resampled(signal: NDArray[np.floating], from_hz: int, to_hz: int) -> NDArray[np.floating]:
    """The signal at another rate, by a polyphase filter (Kaiser window, beta 5) that lets nothing fold over."""
    if from_hz == to_hz:
        return signal
    from scipy.signal import resample_poly

    common = math.gcd(from_hz, to_hz)
    return np.asarray(resample_poly(signal, to_hz // common, from_hz // common))


def to_int16(signal: NDArray[np.floating]) -> Signal:
    """Levels of -1..1 as 16 bits; where they go beyond, all are scaled down, so that nothing is clipped."""
    loudest = _peak(signal)
    scale = FULL_SCALE / loudest if loudest > TOLERATED_PEAK else FULL_SCALE
    levels = np.rint(np.asarray(signal, dtype=np.float64) * scale)
    return levels.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _peak(signal: NDArray[np.floating]) -> float:
    return float(np.abs(signal).max(initial=0.0))


def _read(path: Path, limit_s: float) -> tuple[NDArray[np.float32], int, int, tuple[str, ...]]:
    """The mean of the channels (T,) in -1..1, the rate, the number of channels, and what is unusual.

    Raises:
        Unreadable: not sound, cut off, too short, not finite, or too slow.
    """
    import soundfile

    if path.stat().st_size == 0:
        raise Unreadable("empty file (0 bytes)")
    _refuse_cut_wav(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, channels, sixteen_bits = file.samplerate, file.channels, file.subtype == "PCM_16"
            mono = _mono(file, int(LONGEST_S * rate_hz), limit_s)
            longer = len(mono) == int(LONGEST_S * rate_hz) and len(file.read(1)) > 0
    except soundfile.SoundFileError as error:
        with path.open("rb") as start:
            raise Unreadable(f"no sound that can be decoded, it starts with {start.read(8)!r} ({error})") from None
    _refuse_useless(mono, rate_hz)
    return mono, rate_hz, channels, _oddities(mono, longer, sixteen_bits)


def _oddities(mono: NDArray[np.float32], longer: bool, sixteen_bits: bool) -> tuple[str, ...]:
    loudest = _peak(mono)
    odd = {
        f"longer than {LONGEST_S / 60:g} minutes: only the beginning is read": longer,
        "levels beyond full scale: scaled down so that the loudest reaches it": loudest > TOLERATED_PEAK,
        "very quiet: below -40 dB of full scale few of the 16 bits are used; make it louder": (
            not sixteen_bits and 0 < loudest < QUIET
        ),
    }
    return tuple(text for text, is_so in odd.items() if is_so)


def _mono(file: Any, most: int, limit_s: float) -> NDArray[np.float32]:
    """At most so many frames of an open file, channels averaged, block by block."""
    deadline = time.monotonic() + limit_s
    blocks = [np.empty(0, np.float32)]
    count = 0
    while count < most:
        block = file.read(min(BLOCK, most - count), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
        count += len(block)
        if time.monotonic() > deadline:
            raise Unreadable(f"not decoded within data.decode_limit_s={limit_s:g} seconds")
    return np.concatenate(blocks)


def _refuse_useless(mono: NDArray[np.float32], rate_hz: int) -> None:
    if len(mono) < SHORTEST_S * rate_hz:
        raise Unreadable(f"{len(mono) / rate_hz:.4f} s long, shorter than {SHORTEST_S:g} s")
    if not np.isfinite(mono).all():
        raise Unreadable(f"has {int((~np.isfinite(mono)).sum()):,} samples that are NaN or infinite")


def _refuse_cut_wav(path: Path) -> None:
    """Raise Unreadable where a WAV file holds less than its header says, which the decoder passes over in silence."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                there = size - file.tell()
                if 0 < length < UNKNOWN_SIZE and there < 0.99 * length:
                    raise Unreadable(f"cut off: the header speaks of {length:,} bytes of sound, {there:,} are there")
                return
            file.seek(length + length % 2, 1)
