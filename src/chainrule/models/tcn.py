"""A temporal convolutional network: dilated causal convolutions whose last step sees the whole window.

Source: Bai, Kolter, Koltun 2018, arXiv:1803.01271, section 3 and figure 1; weight normalisation: Salimans, Kingma 2016,
    arXiv:1602.07868.
Reference: locuslab/TCN, tcn.py, written plainly in tests/parity/test_forecast_models.py.
Differs: whole sequences are shifted by padding on the left alone instead of cut on the right; dropout is on single
    values, not on channels, as in the reference; the head forecasts all steps from the last one's channels, and what is
    known ahead adds a linear part, 0 at first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TCNConfig:
    """Sizes of a TCN."""

    window: int  # steps it looks back
    horizon: int  # steps it forecasts
    in_features: int
    known_features: int  # numbers known ahead, of each step
    num_classes: int  # outputs of each step
    hidden: int = 32  # channels of each level
    kernel: int = 3
    levels: int = 0  # each doubles the dilation; 0: as many as the window needs
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.kernel < 2 or self.hidden < 1 or self.levels < 0:
            raise InputError(
                f"model.kernel must be at least 2, model.hidden 1 and model.levels 0, got {self.kernel}, {self.hidden} "
                f"and {self.levels}"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is a share from 0 to below 1, got {self.dropout}")

    @property
    def dilations(self) -> list[int]:
        """Of each level: 1, 2, 4, ..."""
        count = self.levels
        while not self.levels and 1 + 2 * (self.kernel - 1) * (2**count - 1) < self.window:
            count += 1
        return [2**level for level in range(max(1, count))]


class TCN(nn.Module):
    """Levels of dilated causal convolutions, then all steps ahead from the last step.

    Example:
        >>> config = TCNConfig(window=48, horizon=12, in_features=3, known_features=0, num_classes=1)
        >>> TCN(config)(torch.zeros(5, 48, 3), torch.zeros(5, 12, 0)).shape
        torch.Size([5, 12, 1])
    """

    def __init__(self, config: TCNConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_features, *[config.hidden] * len(config.dilations)]
        self.levels = nn.ModuleList(
            TemporalBlock(before, config.hidden, config.kernel, dilation, config.dropout)
            for before, dilation in zip(widths, config.dilations, strict=False)
        )
        self.head = nn.Linear(config.hidden, config.horizon * config.num_classes)
        self.known = nn.Linear(config.known_features, config.num_classes, bias=False) if config.known_features else None
        if self.known is not None:
            nn.init.zeros_(self.known.weight)

    def forward(
        self, seen: Float[Tensor, "rows T F"], ahead: Float[Tensor, "rows H K"]
    ) -> Float[Tensor, "rows H outputs"]:
        """Forecasts from all features."""
        x = seen.transpose(1, 2)
        for level in self.levels:
            x = level(x)
        outputs: Tensor = self.head(x[..., -1])
        outputs = outputs.view(len(seen), self.config.horizon, self.config.num_classes)
        return outputs if self.known is None else outputs + self.known(ahead)


class TemporalBlock(nn.Module):
    """Two dilated causal convolutions and what came in, figure 1 (b)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.pad = (kernel - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(c_in, c_out, kernel, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(c_out, c_out, kernel, dilation=dilation))
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Float[Tensor, "rows C T"]) -> Float[Tensor, "rows D T"]:
        """Step t sees steps up to t."""
        y = self.dropout(torch.relu(self.conv1(F.pad(x, (self.pad, 0)))))
        y = self.dropout(torch.relu(self.conv2(F.pad(y, (self.pad, 0)))))
        return torch.relu(y + self.shortcut(x))
