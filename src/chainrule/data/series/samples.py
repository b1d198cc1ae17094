"""Samples of series: windows that are cut from one table of all moments when they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.samples import Arrangement, Batch
from chainrule.data.series.features import calendar_values
from chainrule.data.series.panel import Floats
from chainrule.data.series.records import LEAST_KNOWN, SeriesRecords
from chainrule.data.series.schema import Scale, SeriesSchema


class SeriesSamples:
    """Windows by the step at which their forecast begins.

    A batch has inputs (values (B window C), past (B window S P), ahead (B window + horizon S K), 1 where a value is
    known (B window C)), all in standard units, and targets (B horizon C) in standard units with a mask of what is
    known of them.
    """

    lengths = None
    arrangement: Arrangement = "shuffled"

    def __init__(self, records: SeriesRecords, schema: SeriesSchema) -> None:
        self.ids = records.ids
        self.records, self.schema = records, schema
        self.window, self.horizon = schema.window, schema.target.horizon
        panel = records.panel
        length = max(len(panel), int(records.rows.max(initial=0)) + self.horizon)
        standard = (panel.values - np.array(schema.target.mean)) / np.array(schema.target.std)
        standard = _padded(standard, self.window, length)
        known = np.isfinite(standard)
        self.known = torch.from_numpy(known)
        self.targets = _tensor(np.where(known, standard, 0.0))
        self.values = _tensor(carried(standard))
        self.past = _tensor(carried(_standard(_padded(panel.past, self.window, length), schema.past)))
        ahead = _standard(_padded(panel.known, self.window, length), schema.known)
        moments = panel.moments(np.arange(-self.window, length))
        calendar = calendar_values(moments, schema.calendar)[:, None].repeat(ahead.shape[1], 1)
        self.ahead = _tensor(np.concatenate((carried(ahead), calendar), axis=2))
        self.begins = torch.from_numpy(records.rows + self.window)

    def __len__(self) -> int:
        return len(self.begins)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The windows of these rows (int64)."""
        begins = self.begins[rows][:, None]
        back, forth = begins + torch.arange(-self.window, 0), begins + torch.arange(self.horizon)
        known = self.known[back]
        enough = known.float().mean(1, keepdim=True) >= LEAST_KNOWN
        inputs = (self.values[back], self.past[back], self.ahead[torch.cat((back, forth), 1)], known.float())
        return Batch(inputs, self.targets[forth], rows, self.known[forth] & enough)


def carried(values: Floats) -> Floats:
    """(T, ...) values, what is missing replaced by the last one before it, never by a later one; 0 before the first.

    Example:
        >>> carried(np.array([np.nan, 1.0, np.nan, 3.0]))
        array([0., 1., 1., 3.])
    """
    known = np.isfinite(values)
    if known.all():
        return values
    steps = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    last = np.maximum.accumulate(np.where(known, steps, -1), axis=0)
    found = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, found, 0.0)


def _padded(values: Floats, before: int, length: int) -> Floats:
    """The values with ``before`` unknown moments in front, and unknown ones up to ``length``."""
    widths = [(before, max(0, length - len(values))), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values, widths, constant_values=np.nan)


def _standard(values: Floats, scales: tuple[Scale, ...]) -> Floats:
    if not scales:
        return values
    standard: Floats = (values - np.array([scale.mean for scale in scales])) / np.array([scale.std for scale in scales])
    return standard


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
