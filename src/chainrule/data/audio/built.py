"""The way back from the spectrograms that a network builds to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.audio.learn import RANGE_DB
from chainrule.data.audio.schema import AudioSchema

COLOURS = np.array([(8, 10, 30), (35, 45, 110), (20, 115, 130), (110, 180, 90), (250, 235, 130)])  # ever lighter


def spectrograms_of(values: NDArray[Any], schema: AudioSchema) -> NDArray[np.uint8]:
    """Spectrograms (N, 1, mels, frames) in standard units as pictures (N, H, W, 3), low frequencies at the bottom."""
    decibels = torch.from_numpy(values[:, 0].astype(np.float32)) * schema.std_db + schema.mean_db
    return np.stack([coloured(one, schema.floor_db) for one in decibels])


def coloured(decibels: torch.Tensor, floor_db: float) -> NDArray[np.uint8]:
    """(bands, frames) as a picture (H, W, 3): dark at the floor, light 80 dB above it, the lowest band below."""
    share = ((decibels.flip(0) - floor_db) / RANGE_DB).clamp(0, 1).cpu().numpy()
    places = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(share, places, COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
