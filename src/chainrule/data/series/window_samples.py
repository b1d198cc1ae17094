"""What is remembered of a series that is built again window by window, its samples, and what the network is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.config import DataConfig
from chainrule.data.labels import encode_targets, input_target
from chainrule.data.samples import Arrangement, Batch
from chainrule.data.schema import InputTarget
from chainrule.data.series.frequency import Frequency, parse_frequency, short
from chainrule.data.series.moments import Clock
from chainrule.data.series.samples import carried
from chainrule.data.series.window_records import WindowRecords
from chainrule.errors import InputError

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class WindowSchema:
    """How windows of series become tensors."""

    format: int = FORMAT
    kind: str = "series"
    target: InputTarget  # with the scale of each column, and the steps of a window
    notes: tuple[str, ...]
    time: str  # the column of times; "" where rows are counted
    hour: str = ""
    clock: Clock
    frequency: Frequency
    resampled: str = ""  # data.frequency, where times were brought to it
    series: str = ""  # the columns that name the series
    series_names: tuple[str, ...]
    columns: tuple[str, ...]  # of the source
    owners: tuple[int, ...]  # the series of each name
    past_names: tuple[str, ...] = ()
    known_names: tuple[str, ...] = ()

    @property
    def window(self) -> int:
        """Steps of a window."""
        return self.target.window

    def sources(self) -> list[str]:
        """The source's columns that are read."""
        names = self.series.split(",") if self.series else []
        return [*(name for name in (self.time, self.hour) if name), *names, *self.columns]


def learn_windows(train: WindowRecords, options: DataConfig) -> WindowSchema:
    """The schema: mean and spread of each column over all moments that a train window holds.

    Raises:
        InputError: a column without any value.
    """
    panel = train.panel
    values = panel.values[train.held]
    seen = np.isfinite(values).sum(0).tolist()
    empty = [name for name, known in zip(panel.names, seen, strict=True) if not known]
    if empty:
        raise InputError(f"{', '.join(map(repr, empty[:5]))}: no value in the train part; leave out with data.drop")
    mean, std = np.nanmean(values, 0), np.nanstd(values, 0)
    constant = [name for name, spread in zip(panel.names, std, strict=True) if spread == 0]
    target = input_target(
        train.labels, train.label_name, options, name="the series", form="numbers", names=panel.names,
        mean=tuple(mean.tolist()), std=tuple(np.where(std > 0, std, 1.0).tolist()), window=train.window,
    )  # fmt: skip
    notes = [
        f"{panel.frequency.words()}; windows of {train.window} steps, one from every step on (change: --set "
        "data.window=)"
    ]
    if target.normal:
        notes.append(f"a window is an anomaly if {train.label_name!r} of any of its moments is not normal")
    if constant:
        notes.append(f"constant in the train part: {', '.join(constant[:5])}")
    return WindowSchema(
        target=target, notes=tuple(notes), time=panel.time, hour=panel.hour, clock=panel.clock,
        frequency=panel.frequency, series=panel.series, series_names=panel.series_names, columns=panel.columns,
        resampled=short(parse_frequency(options.frequency)) if options.frequency else "",
        owners=tuple(panel.owners.tolist()),
    )  # fmt: skip


class WindowSamples:
    """Windows by the step at which they begin.

    A batch has inputs (values (B window C) in standard units, what is missing as the last one known before it; 1 where
    a value is known (B window C)) and the windows' labels as targets.
    """

    lengths = None
    arrangement: Arrangement = "shuffled"

    def __init__(self, records: WindowRecords, schema: WindowSchema) -> None:
        self.ids = records.ids
        self.records, self.schema = records, schema
        standard = (records.panel.values - np.array(schema.target.mean)) / np.array(schema.target.std)
        self.values = torch.from_numpy(carried(standard).astype(np.float32))
        self.known = torch.from_numpy(np.isfinite(standard).astype(np.float32))
        self.begins = torch.from_numpy(records.rows)
        self.targets = encode_targets(records.labels, schema.target)

    def __len__(self) -> int:
        return len(self.begins)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The windows of these rows (int64)."""
        steps = self.begins[rows][:, None] + torch.arange(self.schema.window)
        targets = None if self.targets is None else self.targets[rows]
        return Batch((self.values[steps], self.known[steps]), targets, rows)


def in_own_units(values: NDArray[Any], schema: WindowSchema) -> NDArray[np.float64]:
    """(..., C) numbers in standard units in the columns' own."""
    own: NDArray[np.float64] = values.astype(np.float64) * np.array(schema.target.std) + np.array(schema.target.mean)
    return own


class WindowFront(nn.Module):
    """What a network of windows is given: the values and where they are known, as they are."""

    def forward(
        self, values: Float[Tensor, "B T C"], known: Float[Tensor, "B T C"]
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        """The same."""
        return values, known
