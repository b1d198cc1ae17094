"""Drawing the next token: pure functions from logits to logits, then one draw. What may not be drawn is -inf.

Source: temperature: Ackley, Hinton, Sejnowski 1985, doi:10.1207/s15516709cog0901_7, equation 5; top-k: Fan, Lewis,
Dauphin 2018, arXiv:1805.04833, section 5; top-p (nucleus): Holtzman et al. 2020, arXiv:1904.09751, section 3.1;
repetition penalty: Keskar et al. 2019, arXiv:1909.05858, section 4.1.

Logits are (V,), of one place in a text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from chainrule.errors import InputError

Logits = Float[Tensor, " V"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 1.0  # logits are divided by it; below 1 bolder, above 1 more even, 0: always the likeliest
    top_k: int = 0  # only so many of the likeliest; 0: all
    top_p: float = 1.0  # only the likeliest that together reach this share; 1: all
    repetition: float = 1.0  # tokens that came before lose by this factor; 1: nothing

    def __post_init__(self) -> None:
        if self.temperature < 0 or not math.isfinite(self.temperature):
            raise InputError(f"temperature is a number from 0 (always the likeliest) up, got {self.temperature}")
        if self.top_k < 0:
            raise InputError(f"top_k is a number of tokens from 1, or 0 for all, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is a share above 0, at most 1, got {self.top_p}")
        if self.repetition < 1 or not math.isfinite(self.repetition):
            raise InputError(f"repetition is a factor from 1 (nothing) up, got {self.repetition}")


def keep_top_k(logits: Logits, k: int) -> Logits:
    """The k largest logits; of equal ones at the edge, those of lower numbers.

    Example:
        >>> keep_top_k(torch.tensor([1.0, 3.0, 2.0]), 2).tolist()
        [-inf, 3.0, 2.0]
    """
    if not 0 < k < len(logits):
        return logits
    kept = logits.sort(descending=True, stable=True).indices[:k]
    return torch.full_like(logits, -math.inf).index_copy(0, kept, logits[kept])


def keep_top_p(logits: Logits, p: float) -> Logits:
    """The smallest set of the likeliest tokens whose shares sum to ``p`` or more: never empty.

    Example:
        >>> keep_top_p(torch.tensor([0.5, 0.3, 0.2]).log(), 0.7).exp()
        tensor([0.5000, 0.3000, 0.0000])
    """
    if p >= 1:
        return logits
    ordered, places = logits.sort(descending=True, stable=True)
    shares = ordered.double().softmax(0)
    before = shares.cumsum(0) - shares  # of all likelier ones
    kept = places[before < p]
    return torch.full_like(logits, -math.inf).index_copy(0, kept, logits[kept])


def repelled(logits: Logits, seen: Bool[Tensor, " V"], penalty: float) -> Logits:
    """Logits of tokens that were seen, divided by the penalty where positive and multiplied by it where negative.

    Example:
        >>> repelled(torch.tensor([2.0, -1.0, 2.0]), torch.tensor([True, True, False]), 2.0).tolist()
        [1.0, -2.0, 2.0]
    """
    if penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def next_token(logits: Logits, seen: Bool[Tensor, " V"], how: Sampling, generator: torch.Generator) -> int:
    """One token: the penalty first, then the temperature, the likeliest k, of them the likeliest p, a draw.

    Raises:
        InputError: no token may be drawn.
    """
    if not -math.inf < float(logits.max()) < math.inf:
        raise InputError("the network's outputs leave no token to draw: they are not finite; train it anew")
    logits = repelled(logits.double(), seen, how.repetition)
    if how.temperature == 0:
        return int(logits.argmax())
    logits = (logits - logits.max()) / how.temperature  # the largest is 0, however low the temperature
    logits = keep_top_p(keep_top_k(logits, how.top_k), how.top_p)
    return int(torch.multinomial(logits.softmax(0), 1, generator=generator))
