"""The perceptron: one linear unit per output, the neuron everything else is made of.

o_k = sum_j w_jk x_j + b_k. Two classes need one output, whose sign is the answer; the border between them is a straight
line (a plane), so OR and AND can be learned and XOR cannot.

Source: Rosenblatt 1958, doi:10.1037/h0042519; Minsky, Papert 1969, Perceptrons, on XOR.
Reference: torch.nn.Linear, compared in tests/parity/test_mlp.py.
Differs: trained by gradient descent on a loss of the caller's choice, not by Rosenblatt's rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """Sizes of a perceptron."""

    in_features: int
    num_classes: int  # outputs; 1 for two classes or for a number

    def __post_init__(self) -> None:
        for name in ("in_features", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"perceptron: {name} must be at least 1, got {getattr(self, name)}")


class Perceptron(nn.Module):
    """One linear layer.

    Example:
        >>> import torch
        >>> Perceptron(PerceptronConfig(in_features=2, num_classes=1))(torch.zeros(4, 2)).shape
        torch.Size([4, 1])
    """

    def __init__(self, config: PerceptronConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.in_features, config.num_classes)

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Logits per row."""
        logits: Tensor = self.linear(x)
        return logits


def from_linear(name: str) -> str:
    """Our name of a parameter of torch.nn.Linear."""
    return f"linear.{name}"
