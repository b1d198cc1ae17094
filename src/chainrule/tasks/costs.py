"""What rows pay that an autoencoder builds again, in nats, and how far they are from what is built.

Source: Kingma, Welling 2013, arXiv:1312.6114, equation 3; one learned spread for all numbers: Rybkin, Daniilidis,
    Levine 2020, arXiv:2006.13202.
Reference: torch.nn's losses and torch.distributions, compared in tests/parity/test_costs.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import InputTarget
from chainrule.functional.anomaly import bernoulli_divergence
from chainrule.nn.coding import Coder

LEAST_LOG_STD = -5.0


class Costs(nn.Module):
    """An autoencoder with what its rows pay, in nats.

    ``network`` sees inputs as the front gives them. The first is built again; beside numbers a second one, of the same
    shape, says where they are known (1) or not (0); beside tokens it says how many there are.
    """

    def __init__(self, network: Coder, target: InputTarget, likelihood: str) -> None:
        super().__init__()
        self.network = network
        self.form = target.form
        self.bernoulli = target.form == "pixels" and likelihood != "gaussian"
        self.mean: Tensor
        self.std: Tensor
        channels = (-1, 1, 1) if target.form == "pixels" else (-1,)
        self.register_buffer("mean", torch.tensor(target.mean or (0.0,)).view(channels), persistent=False)
        self.register_buffer("std", torch.tensor(target.std or (1.0,)).view(channels), persistent=False)
        if target.form == "numbers" or (target.form == "pixels" and not self.bernoulli):
            self.log_std = nn.Parameter(torch.zeros(()))  # of what is left over, one for all numbers

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B costs"]:
        """What each row pays: for its reconstruction, then each penalty of the network."""
        outputs, penalties = self.network.coded(inputs)
        return torch.cat((self.nats(inputs, outputs).flatten(1).sum(1, keepdim=True), penalties), 1)

    def truth(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """What outputs are compared with: pixels from 0 to 1, numbers in standard units, tokens."""
        seen = inputs[0]
        if self.form != "pixels":
            return seen
        H_W = seen.shape[-2:] if seen.ndim > 2 else None
        if H_W is None:  # a flattened image
            seen = seen.view(len(seen), len(self.mean), -1, 1)
        pixels = (seen * self.std + self.mean).clamp(0, 1)
        return pixels if H_W is not None else pixels.flatten(1)

    def built(self, outputs: Tensor) -> Tensor:
        """Outputs as they are compared: shares of white for pixels, numbers as they are, the likeliest tokens."""
        if self.form == "tokens":
            return outputs.argmax(-1)
        return outputs.sigmoid() if self.bernoulli else outputs

    def nats(self, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """Minus the log-likelihood of each number, pixel or token; 0 where it is not known."""
        truth = self.truth(inputs)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if self.form == "tokens":
            nats = F.cross_entropy(outputs.transpose(1, 2), truth, reduction="none")
            places = torch.arange(truth.shape[1], device=truth.device)
            return nats * (places < inputs[1][:, None])
        if self.bernoulli:
            return F.binary_cross_entropy_with_logits(outputs, truth.to(outputs.dtype), reduction="none")
        log_std = self.log_std.clamp(min=LEAST_LOG_STD)
        nats = 0.5 * ((truth - outputs) * (-log_std).exp()) ** 2 + log_std + 0.5 * math.log(2 * math.pi)
        return nats if len(inputs) == 1 else nats * inputs[1]

    def squares(self, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """The squared error of each number or pixel; of tokens 1 where another one is likelier; 0 where not known."""
        truth, built = self.truth(inputs), self.built(outputs)
        if self.form == "tokens":
            places = torch.arange(truth.shape[1], device=truth.device)
            return ((truth != built) & (places < inputs[1][:, None])).float()
        squares = (truth - built).double() ** 2  # of a number far beyond all others, too
        return squares if len(inputs) == 1 else squares * inputs[1]

    def misfits(self, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """How far each number, pixel or token is from what was built, in a measure that is 0 where it is met exactly.

        Squared errors, of pixels as shares of white the divergence, of tokens nats; 0 where not known.
        """
        if self.form == "tokens":
            return self.nats(inputs, outputs)
        if self.bernoulli:
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            return bernoulli_divergence(outputs, self.truth(inputs).to(outputs.dtype))
        return self.squares(inputs, outputs)

    def mask(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """1 for each number, pixel or token that is known, otherwise 0."""
        if self.form == "tokens":
            return (torch.arange(inputs[0].shape[1], device=inputs[0].device) < inputs[1][:, None]).float()
        return inputs[1] if len(inputs) > 1 else torch.ones_like(inputs[0])

    def known(self, inputs: tuple[Tensor, ...]) -> Float[Tensor, " B"]:
        """How many numbers, pixels or tokens of each row are known."""
        return self.mask(inputs).flatten(1).sum(1).float()


def seen_by(network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """What the network is called with; of rows that are seen in pieces each piece is a row of its own."""
    front = network.front
    assert isinstance(front, nn.Module)
    inputs: tuple[Tensor, ...] = front(*batch.inputs)
    return tuple(x.flatten(0, 1) for x in inputs) if network.pieces else inputs


def of_rows(values: Tensor, rows: int) -> Tensor:
    """(rows, ...) what was found of rows, or the mean over the pieces of each."""
    return values if len(values) == rows else values.reshape(rows, -1, *values.shape[1:]).mean(1)


def costs_of(network: nn.Module) -> Costs:
    """The autoencoder with its costs, behind the front."""
    costs = network.network
    assert isinstance(costs, Costs)
    return costs
