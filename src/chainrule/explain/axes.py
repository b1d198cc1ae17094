"""What the places of a spectrogram, a signal or a clip mean: seconds and hertz, where the schema tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.audio.front import mel_of
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.video.front import VideoSchema

TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True, slots=True)
class Axes:
    """How to draw a network's input."""

    upright: bool = True  # whether its first row is at the top; a spectrogram's lowest frequency comes first
    seconds: float = 0.0  # that its width, or its frames, take; 0: no time is told
    hertz: tuple[tuple[float, str], ...] = ()  # places from 0 (lowest) to 1 and their frequencies


def axes_of(schema: Any, dims: int) -> Axes:
    """The axes of inputs with so many axes of places."""
    if isinstance(schema, AudioSchema):
        return Axes(upright=dims == 1, seconds=schema.clip_s, hertz=_bands(schema) if dims == 2 else ())
    if isinstance(schema, VideoSchema) and dims == 3:
        return Axes(seconds=schema.clip_s)
    return Axes()


def _bands(schema: AudioSchema) -> tuple[tuple[float, str], ...]:
    """Where round frequencies stand among the middles of the mel bands, which the filters space evenly in mels."""
    low, high = mel_of(np.array([schema.f_min_hz, schema.f_max_hz]))
    ticks = [hz for hz in TICKS_HZ if schema.f_min_hz <= hz <= schema.f_max_hz]
    bands = (mel_of(np.array(ticks, dtype=np.float64)) - low) / (high - low) * (schema.mels + 1) - 1
    return tuple((float((band + 0.5) / schema.mels), f"{hz} Hz") for band, hz in zip(bands, ticks, strict=True))
