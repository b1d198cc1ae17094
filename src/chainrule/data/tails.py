"""Whether numbers hold some that lie far away from nearly all of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_ROWS = 200_000  # quantiles of longer columns come from this many evenly spaced rows
FAR = 3  # times the width of the middle 98 %


def middle_of_far_tailed(values: NDArray[np.floating]) -> tuple[float, float] | None:
    """Between what the middle 98 % lie, where the furthest value is three times further out than they are wide.

    Example:
        >>> middle_of_far_tailed(np.array([*range(101), 1000.0]))
        (1.01, 99.99)
        >>> middle_of_far_tailed(np.arange(101.0)) is None
        True
    """
    low, high = np.quantile(values[:: max(1, len(values) // SAMPLE_ROWS)], (0.01, 0.99))
    furthest = max(low - values.min(), values.max() - high)
    return (float(low), float(high)) if furthest > FAR * (high - low) > 0 else None
