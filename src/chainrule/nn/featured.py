"""Networks of images that tell what they see below their last layer."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Featured(Protocol):
    """A network with one vector for each image, which its last layer reads."""

    def features(self, image: Tensor) -> Tensor:
        """(B, D) what the last layer reads."""


@runtime_checkable
class Staged(Featured, Protocol):
    """A network that also shows the maps that lead there."""

    def maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, h, w) of each stage, the finest first."""
