"""The denoising autoencoder: what is built from a spoiled input is compared with the clean one.

It cannot learn to copy: to fill in what the noise took away it has to know how the values of a row go together.

Source: Vincent, Larochelle, Lajoie, Bengio, Manzagol 2010, "Stacked denoising autoencoders", JMLR 11:3371, sections 3
    and 4.2; masking noise first in Vincent et al. 2008, doi:10.1145/1390156.1390294.
Reference: torch.nn layers in a row behind the same noise, compared in tests/parity/test_autoencoder.py.
Differs: a masked value is 0 in standard units, which is the mean of its column or channel, where the paper's is black;
    layers as in models/autoencoder.py, trained at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.coders import Form, Layout, build_decoder, build_encoder


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """Sizes of a denoising autoencoder, and its noise."""

    shape: tuple[int, ...]  # of a row: (F,), (T, F) or (C, H, W)
    code: int = 0  # numbers in a code; 0: 32, of a vector a quarter of its values at most
    layout: Layout = "auto"  # convolutional for pictures of more than 1,024 values, otherwise dense
    widths: tuple[int, ...] = ()  # hidden units, or channels of maps; (): the usual ones (nn/coders.py)
    noise: Literal["masking", "gaussian"] = "masking"
    level: float = 0.25  # share of the values that are masked, or the noise's spread in standard units

    def __post_init__(self) -> None:
        self.form()
        if self.level <= 0 or (self.noise == "masking" and self.level >= 1):
            raise InputError(
                "model.level is the share of values that are masked, between 0 and 1, or the spread of gaussian "
                f"noise, above 0; got {self.level} for {self.noise}"
            )

    def form(self) -> Form:
        """The shape and layout of its coders, and the size of its code."""
        return Form(shape=self.shape, layout=self.layout, widths=self.widths, code=self.code)


class Denoising(nn.Module):
    """Noise, in training only; encoder and decoder.

    Example:
        >>> network = Denoising(DenoisingConfig(shape=(12,)))
        >>> rows = torch.ones(2, 12)
        >>> torch.equal(network.spoiled(rows), rows), torch.equal(network.eval().spoiled(rows), rows)
        (False, True)
    """

    penalties: tuple[str, ...] = ()

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__()
        form = config.form()
        self.noise, self.level = config.noise, config.level
        self.code_size = form.code_size
        self.encoder = build_encoder(form, self.code_size)
        self.decoder = build_decoder(form, self.code_size)

    def spoiled(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Rows with noise on them, in evaluation without."""
        if not self.training:
            return x
        if self.noise == "masking":
            return x * (torch.rand_like(x) >= self.level)
        return x + self.level * torch.randn_like(x)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """The code of each row as it is."""
        code: Tensor = self.encoder(inputs[0])
        return code

    def decode(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built from codes: logits of pixels, or numbers."""
        built: Tensor = self.decoder(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built from spoiled rows; nothing is paid for the code."""
        built = self.decode(self.encode(self.spoiled(inputs[0]), *inputs[1:]))
        return built, built.new_zeros(len(built), 0)

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B ..."]:
        """What is built."""
        return self.coded(inputs)[0]
