"""Blending each row of a batch with another one: mixup over whole rows, cutmix over a rectangle.

Sources: mixup, Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv:1710.09412, equation 2; cutmix, Yun, Han, Oh, Chun, Choe,
Yoo 2019, arXiv:1905.04899, section 3.1.
Differs: shares and rectangles are drawn for each row, not once a batch. A row's partner is its neighbour in the batch,
whose order is random already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from chainrule.data.samples import Batch, Mixed
from chainrule.errors import InputError

LEAST_ALPHA, MOST_ALPHA = 0.01, 100.0  # beyond them every share is 0 or 1, or a half


def check_amounts(config: Any, most: Mapping[str, float]) -> None:
    """Refuse augmentation settings below 0 or above the largest value of each.

    Raises:
        InputError: names the setting.
    """
    for name, limit in most.items():
        value = getattr(config, name)
        if not 0 <= value <= limit:
            raise InputError(f"augment.{name} must be from 0 to {limit:g}, got {value}")


def check_alphas(**alphas: float) -> None:
    """Refuse alphas that Beta(alpha, alpha) does not have; 0 means off.

    Raises:
        InputError: outside of 0.01 to 100, or not a number; names the setting.
    """
    for name, alpha in alphas.items():
        if alpha != 0 and not LEAST_ALPHA <= alpha <= MOST_ALPHA:
            raise InputError(
                f"augment.{name} is the alpha of Beta(alpha, alpha): 0 (off) or from {LEAST_ALPHA:g} to "
                f"{MOST_ALPHA:g}, got {alpha}; 0.2 blends a little, 1 by any share"
            )


def mix(batch: Batch, generator: torch.Generator, *, mixup: float = 0.0, cutmix: float = 0.0) -> Batch:
    """The batch with its first input blended by what has an alpha above 0; where both have, each batch draws one.

    Example:
        >>> batch = Batch((torch.eye(4).view(4, 1, 2, 2),), torch.arange(4), torch.arange(4))
        >>> mix(batch, torch.Generator().manual_seed(0), mixup=1.0).mixed.targets
        tensor([3, 0, 1, 2])
    """
    if not (mixup or cutmix):
        return batch
    assert batch.targets is not None, "rows without targets cannot be blended"
    x = batch.inputs[0]
    weight = _even_weight(x, generator, mixup) if mixup else _outside_box(x, generator, cutmix)
    if mixup and cutmix:
        first = torch.rand((), generator=generator, device=generator.device).to(x.device) < 0.5
        weight = torch.where(first, weight, _outside_box(x, generator, cutmix))
    inputs = (_blend(x, x.roll(1, 0), weight), *batch.inputs[1:])
    return replace(batch, inputs=inputs, mixed=Mixed(batch.targets.roll(1, 0), weight.flatten(1).mean(1)))


def _even_weight(x: Tensor, generator: torch.Generator, alpha: float) -> Tensor:
    """(B, 1, ...): one share for all of a row."""
    return beta(len(x), generator, alpha).to(x.device).view(-1, *[1] * (x.ndim - 1))


def _outside_box(x: Tensor, generator: torch.Generator, alpha: float) -> Tensor:
    """(B, 1, ..., H, W): 0 in a box whose sides are sqrt(1 - share) of the row's, cut at its edge; 1 around it."""
    assert x.ndim >= 3, f"a box needs two axes beside the rows, got {tuple(x.shape)}"
    H, W = x.shape[-2:]
    half = (1 - beta(len(x), generator, alpha)).sqrt().to(x.device) / 2
    centre = torch.rand((len(x), 2), generator=generator, device=generator.device).to(x.device)
    inside = [
        ((torch.arange(size, device=x.device) + 0.5) / size - centre[:, axis, None]).abs() < half[:, None]
        for axis, size in enumerate((H, W))
    ]
    box = inside[0][:, :, None] & inside[1][:, None, :]
    return (~box).to(torch.float32).view(-1, *[1] * (x.ndim - 3), H, W)


def beta(count: int, generator: torch.Generator, alpha: float) -> Tensor:
    """(count,) draws from Beta(alpha, alpha): the first part of a Dirichlet draw of two."""
    concentration = torch.full((count, 2), alpha, dtype=torch.float64, device=generator.device)
    return torch._sample_dirichlet(concentration, generator=generator)[:, 0].to(torch.float32)


def _blend(own: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """weight x own + (1 - weight) x partner, whole numbers rounded; exact where the weight is 1 or 0."""
    if own.is_floating_point():
        return torch.lerp(partner, own, weight.to(own.dtype))
    return torch.lerp(partner.float(), own.float(), weight).round_().to(own.dtype)
