"""The autoencoder: a network that squeezes its input into a short code and builds it again.

Source: Hinton, Salakhutdinov 2006, doi:10.1126/science.1127647.
Reference: torch.nn layers in a row, compared in tests/parity/test_autoencoder.py.
Differs: ReLU instead of sigmoids, trained at once instead of layer by layer; pictures by convolutions (nn/coders.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from chainrule.nn.coders import Form, Layout, build_decoder, build_encoder


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of an autoencoder."""

    shape: tuple[int, ...]  # of a row: (F,), (T, F) or (C, H, W)
    code: int = 0  # numbers in a code; 0: 32, of a vector a quarter of its values at most
    layout: Layout = "auto"  # convolutional for pictures of more than 1,024 values, otherwise dense
    widths: tuple[int, ...] = ()  # hidden units, or channels of maps; (): the usual ones (nn/coders.py)

    def __post_init__(self) -> None:
        self.form()

    def form(self) -> Form:
        """The shape and layout of its coders, and the size of its code."""
        return Form(shape=self.shape, layout=self.layout, widths=self.widths, code=self.code)


class Autoencoder(nn.Module):
    """Encoder and decoder.

    Example:
        >>> import torch
        >>> Autoencoder(AutoencoderConfig(shape=(1, 28, 28)))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 1, 28, 28])
    """

    penalties: tuple[str, ...] = ()

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        form = config.form()
        self.code_size = form.code_size
        self.encoder = build_encoder(form, self.code_size)
        self.decoder = build_decoder(form, self.code_size)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """The code of each row."""
        code: Tensor = self.encoder(inputs[0])
        return code

    def decode(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built from codes: logits of pixels, or numbers."""
        built: Tensor = self.decoder(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built; nothing is paid for the code."""
        built = self.decode(self.encode(*inputs))
        return built, built.new_zeros(len(built), 0)

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B ..."]:
        """What is built."""
        return self.coded(inputs)[0]
