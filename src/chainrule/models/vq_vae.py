"""VQ-VAE: each place of a code is one of K learned vectors, so that a row becomes a few whole numbers.

A picture has one place for each place of its coarsest map, a vector a few. The code that others see is the chosen
vectors in a row.

Letters: N places of a code, K entries of the codebook, D numbers of an entry; z what the encoder gives, e the entry
nearest to it.

Source: van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, equations 1 to 3 and figure 1.
Reference: torch.nn layers and a search through all entries, compared in tests/parity/test_autoencoder.py.
Differs: convolutions as in nn/coders.py instead of residual blocks. z goes through a batch norm without gain and bias,
    and entries start as normal numbers: both have one scale from the start, so that few entries are never chosen
    (Lancucki et al. 2020, arXiv:2005.08520, section 3.1) and z cannot shrink to make commitment cheap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.functional.coding import codebook_costs, nearest, straight_through
from chainrule.nn.coders import Form, Layout, build_decoder, build_encoder, doublings, halvings

PLACES = 8  # of a vector's usual code
WIDTHS = (32, 64)  # usual channels where a picture has a map of places: it is halved twice, as in the paper


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """Sizes of a VQ-VAE."""

    shape: tuple[int, ...]  # of a row: (F,), (T, F) or (C, H, W)
    places: int = 0  # entries that a row is made of; 0: one for each place of the coarsest map, of a vector 8
    codes: int = 512  # entries of the codebook
    code_dim: int = 16  # numbers of an entry
    layout: Layout = "auto"  # convolutional for pictures, otherwise dense
    widths: tuple[int, ...] = ()  # hidden units, or channels of maps; (): two maps, or the usual ones (nn/coders.py)
    commitment: float = 0.25  # the paper's beta: weight of holding z to its entry

    def __post_init__(self) -> None:
        self.form()
        if self.places < 0 or min(self.codes, self.code_dim) < 1:
            raise InputError(
                "model.codes and model.code_dim must be 1 or more and model.places 0 (found) or more, got "
                f"{self.codes}, {self.code_dim} and {self.places}"
            )
        if self.commitment < 0:
            raise InputError(f"model.commitment must be 0 or more, got {self.commitment}")

    def form(self) -> Form:
        """The shape and layout of its coders: pictures of any size have a map of places, a fine one."""
        as_map = self.layout == "auto" and len(self.shape) == 3
        form = Form(shape=self.shape, layout="convolutional" if as_map else self.layout, widths=self.widths)
        usual = form.convolutional and not self.places and not self.widths
        return replace(form, widths=WIDTHS) if usual else form


def map_encoder(form: Form, code_dim: int) -> nn.Sequential:
    """From pictures to a vector for each place of their coarsest map."""
    return nn.Sequential(*halvings(form), nn.Conv2d(form.usual_widths[-1], code_dim, 1))


def map_decoder(form: Form, code_dim: int) -> nn.Sequential:
    """From a vector for each place of the coarsest map to pictures."""
    return nn.Sequential(nn.Conv2d(code_dim, form.usual_widths[-1], 3, padding=1), nn.ReLU(), *doublings(form))


class VQVAE(nn.Module):
    """Encoder, batch norm, nearest entries of the codebook, decoder.

    Example:
        >>> network = VQVAE(VQVAEConfig(shape=(1, 28, 28))).eval()
        >>> network.indices(torch.zeros(2, 1, 28, 28)).shape, network.code_size
        (torch.Size([2, 49]), 784)
    """

    penalties: tuple[str, ...] = ("codebook", "commitment")

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        form = config.form()
        as_map = form.convolutional and not config.places
        self.grid = form.sides[-1] if as_map else None  # the places of a picture
        self.places = math.prod(form.sides[-1]) if as_map else config.places or PLACES
        self.commitment = config.commitment
        self.code_size = self.places * config.code_dim
        self.encoder = map_encoder(form, config.code_dim) if as_map else build_encoder(form, self.code_size)
        self.norm = nn.BatchNorm1d(config.code_dim, affine=False)
        self.codebook = nn.Parameter(torch.randn(config.codes, config.code_dim))
        self.decoder = map_decoder(form, config.code_dim) if as_map else build_decoder(form, self.code_size)

    def continuous(self, *inputs: Tensor) -> Float[Tensor, "B N D"]:
        """z: the vector at each place, before it is replaced."""
        outputs: Tensor = self.encoder(inputs[0])
        if self.grid:
            outputs = outputs.flatten(2).transpose(1, 2)
        z: Tensor = self.norm(outputs.reshape(-1, self.codebook.shape[1]))
        return z.view(-1, self.places, self.codebook.shape[1])

    def indices(self, *inputs: Tensor) -> Int[Tensor, "B N"]:
        """Which entry of the codebook stands at each place."""
        return nearest(self.continuous(*inputs), self.codebook)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B N_D"]:
        """The code of each row: its entries, in a row."""
        return self.codebook[self.indices(*inputs)].flatten(1)

    def decode(self, code: Float[Tensor, "B N_D"]) -> Float[Tensor, "B ..."]:
        """What is built from the entries nearest to codes, which may be drawn: logits of pixels, or numbers."""
        z = code.view(len(code), self.places, -1)
        return self.built(self.codebook[nearest(z, self.codebook)].flatten(1))

    def built(self, code: Float[Tensor, "B N_D"]) -> Float[Tensor, "B ..."]:
        """What is built from entries, in a row."""
        if self.grid:
            code = code.view(len(code), self.places, -1).transpose(1, 2).reshape(len(code), -1, *self.grid)
        built: Tensor = self.decoder(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built from the entries, and what each row pays for its distance from them."""
        z = self.continuous(*inputs)
        entries = self.codebook[nearest(z, self.codebook)]
        codebook, commitment = codebook_costs(z, entries)
        built = self.built(straight_through(z, entries).flatten(1))
        return built, torch.stack((codebook, self.commitment * commitment), 1)

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B ..."]:
        """What is built."""
        return self.coded(inputs)[0]
