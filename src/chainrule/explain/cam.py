"""Grad-CAM: which cells of a convolutional network's last map speak for an answer.

Source: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, arXiv:1610.02391, equations 1 and 2.
Reference: captum.attr.LayerGradCam, compared in tests/unit/test_explain_maps.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Output = Callable[..., Tensor]  # outputs (B K) of a batch of inputs, and of what is handed over with it
MODES = ("linear", "bilinear", "trilinear")  # interpolation over one, two and three axes


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What one forward pass shows of a network."""

    layer: str  # the module whose output is the last map; "" without one
    cells: tuple[int, ...]  # of the last map, without its channels
    values: int  # numbers that all layers put out for one row
    flops: int  # of the convolutions and dense layers for one row


@torch.no_grad()
def anatomy(network: nn.Module, row: Tensor, *fixed: Tensor) -> Anatomy:
    """Find the last map by calling ``network`` on one row (1 C ...), and what is handed over with it.

    It is the output of the last module with a convolution in it that still has more than one cell, taken behind the
    normalisation and activation that follow at the same size. Where residual blocks are modules it is the last sum.
    """
    calls: list[tuple[str, tuple[int, ...]]] = []
    modules = dict(network.named_modules())
    convolutional = {name for name, module in modules.items() if _holds_convolution(module)}

    def remember(name: str) -> Callable[..., None]:
        return lambda module, given, put_out: calls.append((name, _shape(put_out)))

    hooks = [module.register_forward_hook(remember(name)) for name, module in modules.items()]
    try:
        network(row, *fixed)
    finally:
        for hook in hooks:
            hook.remove()
    leaves = [(modules[name], shape) for name, shape in calls if shape and not any(modules[name].children())]
    values = sum(math.prod(shape) for _, shape in leaves)
    flops = sum(2 * module.weight.numel() * math.prod(shape[2:]) for module, shape in leaves if _multiplies(module))
    maps = [len(shape) == row.dim() and shape[0] == 1 and max(shape[2:]) > 1 for _, shape in calls]
    places = [place for place, (name, _) in enumerate(calls) if maps[place] and name in convolutional]
    if not places:
        return Anatomy("", (), values, flops)
    last = places[-1]
    while last + 1 < len(calls) and calls[last + 1][1] == calls[last][1]:
        last += 1
    return Anatomy(calls[last][0], calls[last][1][2:], values, flops)


def grad_cam(
    network: nn.Module, output: Output, inputs: Tensor, target: Tensor, layer: str, rectified: bool = True
) -> Tensor:
    """The maps (B, ...) of output ``target`` (B,), brought to the size of ``inputs`` (B C ...).

    ``output`` calls ``network``, of which ``layer`` is a part. The channels of its output are weighed by the mean
    gradient of the answer over the cells and summed; ``rectified`` keeps what speaks for the answer (equation 2).
    """
    seen: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda module, given, put_out: seen.append(put_out))
    try:
        chosen = output(inputs.detach().requires_grad_().clone()).gather(1, target[:, None]).sum()
    finally:
        hook.remove()
    last = [values for values in seen if values.dim() == inputs.dim()][-1]
    (gradient,) = torch.autograd.grad(chosen, last)
    weights = gradient.flatten(2).mean(2).view(*gradient.shape[:2], *[1] * (gradient.dim() - 2))
    found = (weights * last).sum(1, keepdim=True).detach()
    found = found.relu() if rectified else found
    return F.interpolate(found, inputs.shape[2:], mode=MODES[inputs.dim() - 3], align_corners=False)[:, 0]


def _holds_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, _ConvNd) for part in module.modules())


def _multiplies(module: nn.Module) -> TypeGuard[nn.Linear | _ConvNd]:
    return isinstance(module, nn.Linear | _ConvNd)


def _shape(put_out: Any) -> tuple[int, ...]:
    return tuple(put_out.shape) if isinstance(put_out, Tensor) else ()
