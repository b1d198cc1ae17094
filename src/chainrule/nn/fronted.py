"""The artifact that a run saves: the data's front and the network behind it, one module."""

from __future__ import annotations

from torch import Tensor, nn


class Fronted(nn.Module):
    """``network(*front(*inputs))``: raw encoded inputs in, the network's outputs out."""

    def __init__(self, front: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.front = front
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        """The network's outputs (logits) for a batch's inputs."""
        outputs: Tensor = self.network(*self.front(*inputs))
        return outputs
