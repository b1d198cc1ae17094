"""Networks that tell what their last layer reads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Featured(Protocol):
    """A network with one vector for each row below its last layer."""

    def features(self, *inputs: Tensor) -> Tensor:
        """(B, D) what the last layer reads."""
