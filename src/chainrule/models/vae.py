"""The variational autoencoder: codes are drawn from a normal distribution that each input has of its own.

Letters: mu, sigma of the code's distribution q(z | x); the prior p(z) is the standard normal one.

Source: Kingma, Welling 2013, arXiv:1312.6114, section 3 and appendix B.
Reference: torch.distributions.kl_divergence and torch.nn layers, compared in tests/parity/test_autoencoder.py.
Differs: convolutions for pictures (nn/coders.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.functional.coding import gaussian_kl
from chainrule.nn.coders import Form, Layout, build_decoder, build_encoder

MOST, SHARE = (
    16,
    0.5,
)  # numbers of the usual code, and as a share of a vector's values: the KL divergence empties others
MOST_LOG_VAR = 10.0  # of the code's distribution, so that an odd input gives no infinity


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """Sizes of a variational autoencoder."""

    shape: tuple[int, ...]  # of a row: (F,), (T, F) or (C, H, W)
    code: int = 0  # numbers in a code; 0: 16, of a vector half of its values at most
    layout: Layout = "auto"  # convolutional for pictures of more than 1,024 values, otherwise dense
    widths: tuple[int, ...] = ()  # hidden units, or channels of maps; (): the usual ones (nn/coders.py)

    def __post_init__(self) -> None:
        self.form()

    def form(self) -> Form:
        """The shape and layout of its coders, and the size of its code."""
        return Form(shape=self.shape, layout=self.layout, widths=self.widths, code=self.code, most=MOST, share=SHARE)


class VAE(nn.Module):
    """Encoder to mean and spread of the code, a draw, decoder.

    Example:
        >>> VAE(VAEConfig(shape=(12,), code=3)).eval()(torch.zeros(2, 12)).shape
        torch.Size([2, 12])
    """

    penalties: tuple[str, ...] = ("kl",)

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        form = config.form()
        self.code_size = form.code_size
        self.encoder = build_encoder(form, 2 * self.code_size)
        self.decoder = build_decoder(form, self.code_size)

    def posterior(self, *inputs: Tensor) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and logarithm of the variance of each row's code."""
        mean, log_var = self.encoder(inputs[0]).chunk(2, dim=1)
        return mean, log_var.clamp(-MOST_LOG_VAR, MOST_LOG_VAR)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """The mean code of each row."""
        return self.posterior(*inputs)[0]

    def decode(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built from codes: logits of pixels, or numbers."""
        built: Tensor = self.decoder(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built from a drawn code (the mean in evaluation without ``draw``), and the KL divergence."""
        mean, log_var = self.posterior(*inputs)
        if draw is None and self.training:
            draw = torch.randn_like(mean)
        code = mean if draw is None else mean + draw * (0.5 * log_var).exp()
        return self.decode(code), gaussian_kl(mean, log_var)[:, None]

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B ..."]:
        """What is built."""
        return self.coded(inputs)[0]
