"""The artifact that a run saves: the data's front and the network behind it, one module."""

from __future__ import annotations

from torch import Tensor, nn


class Fronted(nn.Module):
    """``network(*front(*inputs))``: raw encoded inputs in, the network's outputs out.

    With ``pieces`` the front gives (B, P, ...): frames or windows of one sample. Each goes through the network, and the
    sample's outputs are the mean over its pieces: of logits, not of probabilities.
    """

    def __init__(self, front: nn.Module, network: nn.Module, *, pieces: bool = False) -> None:
        super().__init__()
        self.front = front
        self.network = network
        self.pieces = pieces

    def forward(self, *inputs: Tensor) -> Tensor:
        """The network's outputs (logits) for a batch's inputs."""
        tensors = self.front(*inputs)
        if not self.pieces:
            outputs: Tensor = self.network(*tensors)
            return outputs
        B, P = tensors[0].shape[:2]
        outputs = self.network(*(x.flatten(0, 1) for x in tensors))
        return outputs.view(B, P, *outputs.shape[1:]).mean(1)
