"""Occlusion: how much of the answer is lost when a window of the input is blanked.

Source: Zeiler, Fergus 2014, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chainrule.errors import InputError
from chainrule.explain.cam import Output

PARTS = ((48,), (8, 8), (4, 5, 5))  # strides along each axis of a signal, an image, a clip


def windows(size: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sides and strides of the window for inputs of this size: neighbours overlap by half.

    Example:
        >>> windows((128, 96))
        ((32, 24), (16, 12))
    """
    strides = tuple(-(-side // parts) for side, parts in zip(size, PARTS[len(size) - 1], strict=True))
    return tuple(min(side, 2 * stride) for side, stride in zip(size, strides, strict=True)), strides


def occlusion(
    output: Output, inputs: Tensor, target: Tensor, rows_at_once: int, fixed: tuple[Tensor, ...] = ()
) -> Tensor:
    """The maps (B, ...): output ``target`` (B,) at ``inputs`` (B C ...) minus that with a window at zero.

    Zero is the mean level in standard units, of a signal silence. A place has the mean of all windows that hold it.
    ``fixed`` (B, ...) is handed to the network as it is.

    Raises:
        InputError: Captum is not installed.
    """
    try:
        from captum.attr import Occlusion
    except ImportError:
        raise InputError("occlusion needs Captum; install it with: pip install 'chainrule[explain]'") from None
    sides, strides = windows(inputs.shape[2:])
    channels = inputs.shape[1]
    with torch.no_grad():
        found: Tensor = Occlusion(output).attribute(
            inputs.detach(),
            sliding_window_shapes=(channels, *sides),
            strides=(channels, *strides),
            baselines=0.0,
            target=target,
            additional_forward_args=fixed or None,
            perturbations_per_eval=max(1, rows_at_once // len(inputs)),
        )
    return found[:, 0]
