"""A recurrent network for speech: a distribution over characters and the blank for every frame of a recording.

Strided convolutions over time join neighbouring frames, a layer norm brings them to one scale, layers of one cell read
them in both directions, a linear layer gives the logits of each.

Source: Graves, Mohamed, Hinton 2013, arXiv:1303.5778, sections 2 and 2.1 (bidirectional stacks under CTC); Amodei et
    al. 2016, arXiv:1512.02595, sections 3.3 and 3.4 (convolutions over time before them, with strides).
Reference: torch.nn.Conv1d, torch.nn.LSTM over packed rows and torch.nn.Linear; tests/parity/test_recurrent_ctc.py.
Differs: sizes for a few thousand short recordings on a processor; a layer norm before the stack instead of batch norm
    in it, so that a row does not depend on the others. Without it training often stays where all frames are blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Conv1d
from chainrule.nn.recurrent import Recurrent, check_recurrent

KERNEL = 5  # frames that a convolution sees
SUBSAMPLES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class RecurrentCTCConfig:
    """Sizes of a recurrent network for speech."""

    in_features: int  # bands of a frame
    num_classes: int  # characters and the blank
    cell: str = "lstm"
    subsample: int = 2  # frames that become one
    channels: int = 128  # of the convolutions
    hidden: int = 128  # of each direction
    layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("in_features", "num_classes", "channels"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.subsample not in SUBSAMPLES:
            raise InputError(f"model.subsample must be one of {SUBSAMPLES}, got {self.subsample}")
        check_recurrent(self.cell, self.hidden, self.layers, self.dropout)


class RecurrentCTC(nn.Module):
    """Convolutions with strides, a bidirectional stack, logits of every frame that is left.

    Example:
        >>> network = RecurrentCTC(RecurrentCTCConfig(in_features=40, num_classes=28))
        >>> logits, lengths = network(torch.zeros(2, 31, 40), torch.tensor([31, 9]))
        >>> logits.shape, lengths.tolist()
        (torch.Size([2, 16, 28]), [16, 5])
    """

    def __init__(self, config: RecurrentCTCConfig) -> None:
        super().__init__()
        self.strides = {1: (1,), 2: (2,), 4: (2, 2)}[config.subsample]
        channels = [config.in_features, *[config.channels] * len(self.strides)]
        self.convolutions = nn.ModuleList(
            Conv1d(c_in, c_out, KERNEL, stride, padding=KERNEL // 2)
            for c_in, c_out, stride in zip(channels[:-1], channels[1:], self.strides, strict=True)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = Recurrent(
            config.cell, config.channels, config.hidden, layers=config.layers, bidirectional=True,
            dropout=config.dropout,
        )  # fmt: skip
        self.head = nn.Linear(self.recurrent.out_features, config.num_classes)

    def features(
        self, frames: Float[Tensor, "B S F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T D"], Int[Tensor, " B"]]:
        """What the stack says of each frame that is left, zeros beyond a row's own, and how many those are."""
        x = frames.mT
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            x = F.relu(convolution(_kept(x, lengths)))
            lengths = torch.div(lengths - 1, stride, rounding_mode="floor") + 1
        x, _ = self.recurrent(self.dropout(self.norm(x.mT)), lengths)
        return x, lengths

    def forward(
        self, frames: Float[Tensor, "B S F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T K"], Int[Tensor, " B"]]:
        """Logits of each frame that is left, and how many frames each row has; beyond them the logits mean nothing."""
        x, lengths = self.features(frames, lengths)
        return self.head(self.dropout(x)), lengths


def _kept(x: Tensor, lengths: Tensor) -> Tensor:
    """(B C T) with zeros beyond each row's own frames."""
    return x * (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None]


def speech_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a long warm-up and a cosine; about 48,000 recordings heard, 15 to 150 epochs, gradients clipped."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 3e-3, "optimizer.weight_decay": 0.01,
        "schedule.name": "cosine", "schedule.warmup": 0.2, "train.max_grad_norm": 1.0,
        "train.batch_size": 16 if rows < 1000 else 32, "train.epochs": max(15, min(150, 48_000 // max(1, rows))),
    }  # fmt: skip


def reference_name(name: str) -> str:
    """A tensor's name in the plain network of the parity test -> its name here."""
    return name.replace("recurrent.", "recurrent.fused.", 1)
