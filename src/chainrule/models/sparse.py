"""The sparse autoencoder: a long code of which each row uses a few numbers, because every active one is paid for.

A row pays weight * sum_d |h_d|, which is minus the logarithm of a Laplace prior over its code, up to a constant. It is
a sum over rows, so micro-batches add up to the batch; the KL divergence of a unit's mean activation from a target
(Ng 2011, CS294A lecture notes on sparse autoencoders) is a function of the whole batch and does not.

Letters: h the code, z what the encoder gives.

Source: Goodfellow, Bengio, Courville 2016, Deep Learning, section 14.2.1; zeros by rectified units: Glorot, Bordes,
    Bengio 2011, Deep sparse rectifier neural networks (AISTATS), section 3.
Reference: torch.nn layers in a row and the sum of absolute values, compared in tests/parity/test_autoencoder.py.
Differs: h = relu(norm(z) + bias), with a batch norm without a gain. Otherwise encoder and decoder could agree on a
    smaller scale of h, which makes the penalty 0 and nothing sparse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.functional.coding import absolute_sum
from chainrule.nn.coders import Form, Layout, build_decoder, build_encoder

MOST, SHARE = 128, 2.0  # numbers of the usual code, and as a multiple of a vector's values


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """Sizes of a sparse autoencoder, and what its code costs."""

    shape: tuple[int, ...]  # of a row: (F,), (T, F) or (C, H, W)
    code: int = 0  # numbers in a code; 0: 128, of a vector twice its values at most
    layout: Layout = "auto"  # convolutional for pictures of more than 1,024 values, otherwise dense
    widths: tuple[int, ...] = ()  # hidden units, or channels of maps; (): the usual ones (nn/coders.py)
    weight: float = 0.3  # nats that a row pays for each unit of activation

    def __post_init__(self) -> None:
        self.form()
        if self.weight <= 0:
            raise InputError(
                f"model.weight is what activations cost and must be above 0, got {self.weight}; without a cost take "
                "--model autoencoder"
            )

    def form(self) -> Form:
        """The shape and layout of its coders, and the size of its code."""
        return Form(shape=self.shape, layout=self.layout, widths=self.widths, code=self.code, most=MOST, share=SHARE)


class Sparse(nn.Module):
    """Encoder, batch norm without a gain, bias and ReLU; decoder.

    Example:
        >>> network = Sparse(SparseConfig(shape=(12,))).eval()
        >>> built, paid = network.coded((torch.zeros(2, 12),))
        >>> built.shape, paid.shape, bool((network.encode(torch.zeros(2, 12)) >= 0).all())
        (torch.Size([2, 12]), torch.Size([2, 1]), True)
    """

    penalties: tuple[str, ...] = ("sparsity",)

    def __init__(self, config: SparseConfig) -> None:
        super().__init__()
        form = config.form()
        self.weight = config.weight
        self.code_size = form.code_size
        self.encoder = build_encoder(form, self.code_size)
        self.norm = nn.BatchNorm1d(self.code_size, affine=False)
        self.bias = nn.Parameter(torch.zeros(self.code_size))
        self.decoder = build_decoder(form, self.code_size)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """The code of each row: 0 or more, most of them 0."""
        return torch.relu(self.norm(self.encoder(inputs[0])) + self.bias)

    def decode(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B ..."]:
        """What is built from codes: logits of pixels, or numbers."""
        built: Tensor = self.decoder(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built, and what each row pays for its active numbers."""
        code = self.encode(*inputs)
        return self.decode(code), self.weight * absolute_sum(code)[:, None]

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B ..."]:
        """What is built."""
        return self.coded(inputs)[0]
