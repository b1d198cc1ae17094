"""The multi-layer perceptron: linear layers with an activation between them.

Source: Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0; dropout: Srivastava et al. 2014, JMLR 15.
Reference: torch.nn.Sequential of Linear, activation and Dropout, compared in tests/parity/test_mlp.py.
Differs: forward and backward of all layers are one hand-derived autograd function (functional/backprop.py) wherever
nothing needs to look inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.functional.activations import ACTIVATIONS, KERNELS
from chainrule.functional.backprop import mlp


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Sizes and activation of an MLP; one number as ``hidden`` means one hidden layer."""

    in_features: int
    num_classes: int  # outputs; 1 for two classes or for a number
    hidden: tuple[int, ...] | int = (64,)
    activation: str = "relu"
    dropout: float = 0.0  # share of hidden units left out in training

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden))
        if min(self.widths) < 1:
            raise InputError(f"mlp: in_features, hidden and num_classes must be at least 1, got {self.widths}")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"model.activation is {self.activation!r}; {nearest(self.activation, tuple(ACTIVATIONS))}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is a share from 0 to below 1, got {self.dropout}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every level: the inputs, the hidden layers, the outputs."""
        hidden = (self.hidden,) if isinstance(self.hidden, int) else self.hidden
        return (self.in_features, *hidden, self.num_classes)


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Example:
        >>> MLP(MLPConfig(in_features=30, num_classes=3, hidden=(64, 32)))(torch.zeros(5, 30)).shape
        torch.Size([5, 3])
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(config.widths))

    def forward(self, x: Float[Tensor, "*rows F"]) -> Float[Tensor, "*rows K"]:
        """Logits per row."""
        parameters: list[Any] = []
        for layer in self.layers:
            if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
                return self.forward_by_layers(x)
            parameters += (layer.weight, layer.bias)
        if self._needs_layers(x):
            return self.forward_by_layers(x)
        return mlp(x, self.config.activation, parameters)

    def forward_by_layers(self, x: Float[Tensor, "*rows F"]) -> Float[Tensor, "*rows K"]:
        """The same logits, layer by layer."""
        for i, layer in enumerate(self.layers):
            if i:
                x = KERNELS[self.config.activation].value(x)
                x = F.dropout(x, self.config.dropout, self.training)
            x = layer(x)
        return x

    def _needs_layers(self, x: Tensor) -> bool:
        """Whether something happens between the layers that one function for all of them would leave out."""
        return (
            x.ndim != 2
            or (self.config.dropout > 0 and self.training)
            or torch.is_autocast_enabled(x.device.type)
            or torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
        )


def from_sequential(name: str, config: MLPConfig) -> str:
    """Our name of a parameter of torch.nn.Sequential(Linear, activation, [Dropout,] Linear, ...)."""
    place, field = name.split(".")
    return f"layers.{int(place) // (3 if config.dropout else 2)}.{field}"
