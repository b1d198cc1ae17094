"""Tiny videos, made where a test needs them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Clip = NDArray[np.uint8]  # (T, H, W, 3)

CODECS = {
    ".mp4": "libx264", ".mov": "mpeg4", ".mkv": "libx264", ".avi": "mjpeg", ".webm": "libvpx", ".mpg": "mpeg2video",
    ".m4v": "libx264",
}  # fmt: skip


def write_clip(
    path: Path, frames: Clip, *, fps: int = 10, times_ms: Sequence[int] | None = None, codec: str = "",
    options: dict[str, str] | None = None, container: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """The frames as a video file; ``times_ms`` instead of ``fps`` says when each one appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = codec or CODECS[path.suffix]
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(name, rate=fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if name == "mjpeg" else "yuv420p"
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[place], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def levels(*values: int, size: tuple[int, int] = (48, 64)) -> Clip:
    """A grey frame (H, W) of each level."""
    return np.stack([np.full((*size, 3), value, dtype=np.uint8) for value in values])


def scene(seed: int, frames: int = 12, size: tuple[int, int] = (48, 64)) -> Clip:
    """A smooth coloured picture (H, W) that drifts to the left."""
    H, W = size
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((W + frames, H), Image.Resampling.BICUBIC))
    return np.stack([wide[:, t : t + W] for t in range(frames)])


def bar(rng: np.random.Generator, step: int, frames: int = 12, side: int = 16) -> Clip:
    """A bright bar on noise that moves by ``step`` pixels a frame from a random place; one frame does not tell."""
    clip = rng.integers(0, 60, (frames, side, side, 3), dtype=np.uint8)
    start = int(rng.integers(side))
    for t in range(frames):
        clip[t, :, [(start + step * t + width) % side for width in range(3)]] = 220
    return clip
