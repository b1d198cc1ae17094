"""Recurrent networks for series: an encoder of the past, then all steps at once or step by step.

Source: direct: Wen et al. 2017, arXiv:1711.11053, section 2; step by step: Sutskever, Vinyals, Le 2014,
    arXiv:1409.3215, and Graves 2013, arXiv:1308.0850 (a network fed with its own outputs).
Reference: torch.nn.RNN, GRU and LSTM with linear heads, written plainly in tests/parity/test_forecast_models.py.
Differs: the decoder is fed with its own point forecast in training as well (no teacher forcing), so that training and
    forecasting are the same computation; what is known ahead adds a linear part to the direct head, 0 at first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.nn.recurrent import Recurrent, check_recurrent

DECODERS = ("direct", "steps")


@dataclass(frozen=True, kw_only=True)
class RecurrentForecastConfig:
    """Sizes of a recurrent forecaster."""

    horizon: int  # steps it forecasts
    in_features: int
    known_features: int  # numbers known ahead, of each step
    num_classes: int  # outputs of each step
    cell: str = "lstm"  # rnn, gru or lstm
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0
    decoder: str = "direct"  # all steps from the last state, or steps: one after the other (encoder-decoder)

    def __post_init__(self) -> None:
        check_recurrent(self.cell, self.hidden, self.layers, self.dropout)
        if self.decoder not in DECODERS:
            raise InputError(f"model.decoder is {self.decoder!r}; {nearest(self.decoder, DECODERS)}")


class RecurrentForecast(nn.Module):
    """An encoder of the window with a head for all steps, or a decoder that takes them one by one.

    Example:
        >>> config = RecurrentForecastConfig(horizon=12, in_features=3, known_features=0, num_classes=1, cell="gru")
        >>> RecurrentForecast(config)(torch.zeros(5, 48, 3), torch.zeros(5, 12, 0)).shape
        torch.Size([5, 12, 1])
    """

    def __init__(self, config: RecurrentForecastConfig) -> None:
        super().__init__()
        self.config = config
        cell, hidden, layers, dropout = config.cell, config.hidden, config.layers, config.dropout
        self.encoder = Recurrent(cell, config.in_features, hidden, layers=layers, dropout=dropout)
        K, outputs = config.known_features, config.num_classes
        self.decoder: Recurrent | None = None
        self.known: nn.Linear | None = None
        if config.decoder == "steps":
            self.decoder = Recurrent(cell, 1 + K, hidden, layers=layers, dropout=dropout)
            self.head = nn.Linear(config.hidden, outputs)
        else:
            self.head = nn.Linear(config.hidden, config.horizon * outputs)
            if K:
                self.known = nn.Linear(K, outputs, bias=False)
                nn.init.zeros_(self.known.weight)

    def forward(
        self, seen: Float[Tensor, "rows T F"], ahead: Float[Tensor, "rows H K"]
    ) -> Float[Tensor, "rows H outputs"]:
        """Forecasts from all features; the first output of each step is its point."""
        hidden, state = self.encoder(seen)
        if self.decoder is None:
            outputs: Tensor = self.head(hidden[:, -1])
            outputs = outputs.view(len(seen), self.config.horizon, self.config.num_classes)
            return outputs if self.known is None else outputs + self.known(ahead)
        last, found = seen[:, -1:, :1], []
        for step in range(self.config.horizon):
            hidden, state = self.decoder(torch.cat((last, ahead[:, step : step + 1]), -1), state=state)
            found.append(self.head(hidden))
            last = found[-1][..., :1]
        return torch.cat(found, 1)
