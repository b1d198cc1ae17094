"""Mean and spread of pixel levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.data.image.decode import Pixels, to_channels

STATISTICS_IMAGES = 2_000


def statistics(images: Sequence[Pixels], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in 0..1, over all images, or 2,000 and more spread evenly."""
    step = max(1, len(images) // STATISTICS_IMAGES)
    histogram = np.zeros((channels, 256))
    for whole in images[::step]:
        image = whole.reshape(-1, *whole.shape[-2:])  # the slices of a volume one below the other
        seen = to_channels(image, 1) if channels == 1 else image
        for channel in range(channels):
            plane = seen[..., channel if seen.shape[2] == channels else 0]
            histogram[channel] += np.bincount(plane.ravel(), minlength=256)
    share = histogram / histogram.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = share @ levels
    std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    std[std < 1e-6] = 1.0  # all pixels equal: nothing to scale
    return tuple(mean.tolist()), tuple(std.tolist())
