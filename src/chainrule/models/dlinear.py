"""DLinear: a moving average and what it leaves, each continued by one linear layer over time.

Source: Zeng, Chen, Zhang, Xu 2022, arXiv:2205.13504, section 4 and figure 2; decomposition: Wu et al. 2021,
    arXiv:2106.13008, equation 1.
Reference: cure-lab/LTSF-Linear, models/DLinear.py, written plainly in tests/parity/test_forecast_models.py.
Differs: several outputs a step (a point and quantiles), each with its own weights; what is known ahead adds a linear
    part, 0 at first. Columns known up to now are not seen, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DLinearConfig:
    """Sizes of a DLinear."""

    window: int  # steps it looks back
    horizon: int  # steps it forecasts
    columns: int  # of the series; rows of a batch come column by column
    known_features: int  # numbers known ahead, of each step
    num_classes: int  # outputs of each step
    kernel: int = 25  # steps of the moving average, odd
    individual: bool = False  # weights of its own for every column
    ahead: bool = True  # see what is known ahead

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError(f"model.kernel is an odd number of steps, got {self.kernel}")
        if min(self.window, self.horizon, self.columns, self.num_classes) < 1:
            raise InputError(f"dlinear: sizes must be at least 1, got {self}")


class DLinear(nn.Module):
    """Trend and remainder, each by a matrix from all steps back to all steps ahead.

    Example:
        >>> config = DLinearConfig(window=48, horizon=12, columns=1, known_features=0, num_classes=1)
        >>> DLinear(config)(torch.zeros(5, 48, 3), torch.zeros(5, 12, 0)).shape
        torch.Size([5, 12, 1])
    """

    def __init__(self, config: DLinearConfig) -> None:
        super().__init__()
        self.config = config
        groups = config.columns if config.individual else 1
        self.seasonal = ColumnLinear(groups, config.window, config.horizon * config.num_classes)
        self.trend = ColumnLinear(groups, config.window, config.horizon * config.num_classes)
        self.known = nn.Linear(config.known_features, config.num_classes, bias=False) if self._sees_ahead else None
        if self.known is not None:
            nn.init.zeros_(self.known.weight)

    @property
    def _sees_ahead(self) -> bool:
        return self.config.ahead and self.config.known_features > 0

    def forward(
        self, seen: Float[Tensor, "rows T F"], ahead: Float[Tensor, "rows H K"]
    ) -> Float[Tensor, "rows H outputs"]:
        """Forecasts from feature 0, the value."""
        value = seen[..., 0]
        trend = moving_average(value, self.config.kernel)
        outputs: Tensor = self.seasonal(value - trend) + self.trend(trend)
        outputs = outputs.view(len(value), self.config.horizon, self.config.num_classes)
        return outputs if self.known is None else outputs + self.known(ahead)


class ColumnLinear(nn.Module):
    """A linear layer; with several groups rows r of a batch go through that of group r modulo groups."""

    def __init__(self, groups: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = in_features**-0.5  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(groups, out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups * out_features).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "rows T"]) -> Float[Tensor, "rows outputs"]:
        """Weighted sums over time."""
        if len(self.weight) == 1:
            return F.linear(x, self.weight[0], self.bias)
        grouped = x.view(-1, len(self.weight), x.shape[1])  # (B, columns, T)
        sums = torch.einsum("bct,cot->bco", grouped, self.weight)
        return (sums + self.bias.view(len(self.weight), -1)).flatten(0, 1)


def moving_average(x: Float[Tensor, "rows T"], kernel: int) -> Float[Tensor, "rows T"]:
    """The mean of ``kernel`` steps around each one; beyond the ends the first and last value stand.

    Example:
        >>> moving_average(torch.tensor([[0.0, 3.0, 6.0]]), 3)
        tensor([[1., 3., 5.]])
    """
    side = kernel // 2
    padded = torch.cat((x[:, :1].expand(-1, side), x, x[:, -1:].expand(-1, side)), 1)
    return F.avg_pool1d(padded, kernel, 1)
