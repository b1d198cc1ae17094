"""What an autoencoder is to those who use it: a code for each row, and the row built again from its code."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Coder(Protocol):
    """A network that builds its input again from a short code; ``forward`` gives what is built.

    Outputs are logits of pixels and tokens, and numbers as they are.
    """

    @property
    def penalties(self) -> tuple[str, ...]:
        """What is paid beside the reconstruction, in order: "kl", "sparsity", "codebook", "commitment", ..."""

    @property
    def code_size(self) -> int:
        """Numbers in a code."""

    def encode(self, *inputs: Tensor) -> Tensor:
        """(B, D) the code of each row, the same every time."""

    def decode(self, code: Tensor) -> Tensor:
        """What is built from codes (B, D)."""

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built, and (B, len(penalties)) what each row pays, weighted as the network's config says.

        Args:
            draw: (B, D) standard normal numbers for networks that draw their code; None: fresh ones in training, none
                (the mean) in evaluation.
        """


@runtime_checkable
class Variational(Protocol):
    """A coder that has a normal distribution of codes for each row."""

    def posterior(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) the mean, and (B, D) the logarithm of the variance, of each row's code."""


@runtime_checkable
class Quantised(Protocol):
    """A coder whose codes are entries of a codebook, one at each place."""

    def indices(self, *inputs: Tensor) -> Tensor:
        """(B, N) which entry stands at each place."""
