"""Learning rates over a run: pure functions of the step, so that any step can be replayed alone.

Each takes (step, steps, base_lr, warmup): the step about to be made (from 0), how many there are, the highest learning
rate, and how many of the first steps warm up. Every schedule but one-cycle, which has its own rise, is the warm-up
factor times its shape over the remaining T = steps - warmup steps, at t = step - warmup.

Source: cosine: arXiv:1608.03983, equation 5 without restarts; one-cycle: arXiv:1708.07120; warm-up: arXiv:1706.02677,
section 2.2.
Reference: torch.optim.lr_scheduler, compared in tests/parity/test_schedules.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int, float, int], float]

RISE = 0.3  # one-cycle: share of the steps in which the rate rises, unless a warm-up is given
START_DIVISOR = 25.0  # one-cycle starts at base_lr / 25 ...
END_DIVISOR = 1e4  # ... and ends at a ten-thousandth of its start


def warmup_factor(step: int, warmup: int) -> float:
    """min(1, (step + 1) / warmup): a straight line that reaches 1 at the warm-up's last step.

    Example:
        >>> [warmup_factor(step, 4) for step in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def constant(step: int, steps: int, base_lr: float, warmup: int = 0) -> float:
    """lr = base_lr, after the warm-up."""
    return base_lr * warmup_factor(step, warmup)


def linear(step: int, steps: int, base_lr: float, warmup: int = 0) -> float:
    """lr = base_lr (1 - t / T): after the warm-up a straight line that would reach 0 one step after the last."""
    return base_lr * warmup_factor(step, warmup) * (1 - _progress(step, steps, warmup))


def cosine(step: int, steps: int, base_lr: float, warmup: int = 0) -> float:
    """lr = base_lr (1 + cos(pi t / T)) / 2: after the warm-up half a cosine that would reach 0 after the last step."""
    return base_lr * warmup_factor(step, warmup) * _half_cosine(_progress(step, steps, warmup))


def onecycle(step: int, steps: int, base_lr: float, warmup: int = 0) -> float:
    """Half a cosine from base_lr / 25 up to base_lr in the first steps, half a cosine down to base_lr / 250,000.

    The rise takes ``warmup`` steps, or 30 % of all; the peak is its last step.
    """
    peak = (warmup or RISE * steps) - 1
    start = base_lr / START_DIVISOR
    end = start / END_DIVISOR
    if step < peak:
        return base_lr + (start - base_lr) * _half_cosine(step / peak)
    length = steps - 1 - max(peak, 0.0)
    return end + (base_lr - end) * _half_cosine((step - max(peak, 0.0)) / length if length > 0 else 0.0)


def _progress(step: int, steps: int, warmup: int) -> float:
    """Share of the steps after the warm-up that lie behind, from 0 to below 1."""
    return max(0, step - warmup) / max(1, steps - warmup)


def _half_cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine, "onecycle": onecycle}
