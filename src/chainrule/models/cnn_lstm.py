"""Convolutions in front of an LSTM: they see a moment of sound or a frame of video, the LSTM the order of them.

Source: Sainath, Vinyals, Senior, Sak 2015, doi:10.1109/ICASSP.2015.7178838 (CLDNN: sound); Donahue et al. 2015,
    arXiv:1411.4389 (LRCN: the frames of a video).
Reference: torch.nn.Conv2d, BatchNorm2d, MaxPool2d and LSTM in a row, compared in
    tests/parity/test_recurrent_classifier.py.
Differs: three 3x3 convolutions with batch norm and pools, where CLDNN has two wide ones over frequency alone and LRCN
    an AlexNet; both directions; outputs are averaged over time.

Letters: B rows, T steps, F bands, C channels, D width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.recurrent import steps_of
from chainrule.nn.convolution import Conv2d
from chainrule.nn.recurrent import Recurrent, check_recurrent


@dataclass(frozen=True, kw_only=True)
class CNNLSTMConfig:
    """Sizes of convolutions and an LSTM behind. The data says what they read: frames of sound, or clips."""

    num_classes: int  # outputs; 1 for a number
    in_features: int = 0  # bands of a frame of sound; 0: clips
    in_channels: int = 0  # of a clip's pictures; 0: sound
    image_size: tuple[int, ...] = ()  # of a clip: frames, height, width
    widths: tuple[int, ...] = (32, 64, 128)  # channels of the convolutions; each halves bands, or height and width
    halvings: int = 2  # how many of them halve the time of sound as well
    grid: int = 4  # places a side to which a picture's map is averaged: what moves has to be somewhere
    hidden: int = 128  # of each direction
    layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.3  # before the LSTM, between its layers and before the head

    def __post_init__(self) -> None:
        check_recurrent("lstm", self.hidden, self.layers, self.dropout)
        if (self.in_features > 0) == (self.in_channels > 0) or min(self.in_features, self.in_channels) < 0:
            raise InputError(
                f"cnn_lstm reads frames of sound (model.in_features) or clips (model.in_channels), one of both; got "
                f"{self.in_features} and {self.in_channels}"
            )
        if self.num_classes < 1 or not self.widths or min(self.widths) < 1:
            raise InputError(
                f"model.num_classes and model.widths must be at least 1, got {self.num_classes} and {self.widths}"
            )
        if self.grid < 1:
            raise InputError(f"model.grid must be at least 1, got {self.grid}")
        if not 0 <= self.halvings <= len(self.widths):
            raise InputError(f"model.halvings is 0 to {len(self.widths)}, as many as model.widths; got {self.halvings}")


class ConvNorm(nn.Module):
    """A 3x3 convolution, batch norm, ReLU, and a pool that keeps the border of odd maps."""

    def __init__(self, c_in: int, c_out: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.pool = nn.MaxPool2d(pool, ceil_mode=True)

    def forward(
        self, x: Float[Tensor, "B C H W"], keep: Bool[Tensor, "B H"] | None = None
    ) -> Float[Tensor, "B c_out h w"]:
        """The new map; of H (time, in sound) only what is kept goes into the pools, the rest is zero."""
        x = F.relu(self.bn(self.conv(x)))
        pooled: Tensor = self.pool(x if keep is None else x * keep[:, None, :, None])
        return pooled


class CNNLSTM(nn.Module):
    """Logits of each row of sound frames (B T F) with their lengths, or of each clip (B C T H W).

    Example:
        >>> import torch
        >>> network = CNNLSTM(CNNLSTMConfig(in_features=40, num_classes=5)).eval()
        >>> network(torch.zeros(2, 30, 40), torch.tensor([30, 9])).shape
        torch.Size([2, 5])
    """

    def __init__(self, config: CNNLSTMConfig) -> None:
        super().__init__()
        self.sees_sound = config.in_features > 0
        channels = (config.in_channels or 1, *config.widths)
        self.halves = [not self.sees_sound or place < config.halvings for place in range(len(config.widths))]
        self.convolutions = nn.ModuleList(
            ConvNorm(a, b, (2 if halves else 1, 2))
            for (a, b), halves in zip(pairwise(channels), self.halves, strict=True)
        )
        self.places = nn.AdaptiveAvgPool2d(config.grid)
        bands = -(-config.in_features // 2 ** len(config.widths)) if self.sees_sound else config.grid**2
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = Recurrent(
            "lstm", config.widths[-1] * bands, config.hidden, layers=config.layers,
            bidirectional=config.bidirectional, dropout=config.dropout,
        )  # fmt: skip
        self.head = nn.Linear(self.recurrent.out_features, config.num_classes)

    def features(self, x: Tensor, lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D"]:
        """The embedding: the mean of the LSTM's outputs over a row's own steps."""
        steps, lengths = self.of_sound(x, lengths) if self.sees_sound else (self.of_clips(x), None)
        outputs, _ = self.recurrent(self.dropout(steps), lengths)
        mean: Tensor = outputs.sum(1) / steps_of(outputs, lengths).sum(1, keepdim=True)
        return mean

    def of_sound(
        self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"] | None
    ) -> tuple[Float[Tensor, "B t D"], Int[Tensor, " B"] | None]:
        """Fewer steps of channels and bands, and how many each row has; what lies beyond a row's end stays zero."""
        x = frames[:, None]
        if lengths is None:
            for block in self.convolutions:
                x = block(x)
            return x.transpose(1, 2).flatten(2), None
        keep = steps_of(frames, lengths)
        x = x * keep[:, None, :, None]
        for block, halves in zip(self.convolutions, self.halves, strict=True):
            x = block(x, keep)  # a row's end looks like the border of a map of its own
            if halves:
                lengths = (lengths + 1) // 2
                keep = steps_of(x[:, 0], lengths)
        return x.transpose(1, 2).flatten(2), lengths

    def of_clips(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B T D"]:
        """Each frame through the convolutions alone, averaged to a grid of places."""
        B, _, T, _, _ = clips.shape
        x = clips.transpose(1, 2).flatten(0, 1)
        for block in self.convolutions:
            x = block(x)
        steps: Tensor = self.places(x).view(B, T, -1)
        return steps

    def forward(self, x: Tensor, lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B K"]:
        """Logits per class, or numbers."""
        logits: Tensor = self.head(self.dropout(self.features(x, lengths)))
        return logits
