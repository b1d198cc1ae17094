"""The artifact that a run saves: the data's front and the network behind it, one module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
        self._fast: Callable[..., Tensor] | None = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what training calls; evaluation sees other sizes, and a new process need not wait for a compiler."""
        self._fast = torch.compile(self._outputs, *args, **kwargs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The network's outputs (logits) for a batch's inputs."""
        outputs = self._outputs if self._fast is None or not self.training else self._fast
        return outputs(*inputs)

    def _outputs(self, *inputs: Tensor) -> Tensor:
        tensors = self.front(*inputs)
        if not self.pieces:
            outputs: Tensor = self.network(*tensors)
            return outputs
        B, P = tensors[0].shape[:2]
        outputs = self.network(*(x.flatten(0, 1) for x in tensors))
        return outputs.view(B, P, *outputs.shape[1:]).mean(1)
