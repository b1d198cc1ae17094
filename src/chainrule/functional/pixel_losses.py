"""Losses of a class for every pixel, as sums over pixels or rows, never means, and weights for single pixels.

The caller divides by a count taken over the whole batch, so that micro-batches, short last batches and several devices
agree. Logits are (B, K, *size) with any number of axes, in float32 or better; targets (B, *size) are class indices, or
``IGNORE`` where no answer is known: such a pixel adds nothing to any sum.

Source: cross-entropy, Bishop 2006, Pattern Recognition and Machine Learning, section 4.3.4; the others name theirs.
Reference: torch.nn.functional and segmentation-models-pytorch, compared in tests/parity/test_pixel_losses.py.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from numpy.typing import NDArray
from torch import Tensor

IGNORE = 255  # a target that says: no answer is known here
REACH = 4  # standard deviations beyond which two borders no longer count as near: e^-8 of the largest weight is left


def pixel_cross_entropy_sum(
    logits: Float[Tensor, "B K *size"],
    targets: Integer[Tensor, " B *size"],
    weights: Float[Tensor, " K"] | None = None,
    pixel_weights: Float[Tensor, " B *size"] | None = None,
) -> Float[Tensor, ""]:
    """L = - sum_x v(x) w_t log p_t(x) over the known pixels x with target t and p = softmax(logits).

    ``weights`` are w, one for each class, ``pixel_weights`` v, as in equation 1 of arXiv:1505.04597.

    Example:
        >>> pixel_cross_entropy_sum(torch.zeros(1, 4, 1, 2), torch.tensor([[[2, IGNORE]]])).exp().round().item()
        4.0
    """
    if pixel_weights is None:
        return F.cross_entropy(logits, targets.long(), weights, ignore_index=IGNORE, reduction="sum")
    each = F.cross_entropy(logits, targets.long(), weights, ignore_index=IGNORE, reduction="none")
    return (each * pixel_weights).sum()


def known_pixels(targets: Integer[Tensor, " B *size"], weights: Float[Tensor, " K"] | None = None) -> Float[Tensor, ""]:
    """How many pixels have a target, or the sum of w_t over them: what divides the cross-entropy."""
    if weights is None:
        return (targets != IGNORE).sum().to(torch.get_default_dtype())
    return _weight_of(targets, weights).sum()


def focal_sum(
    logits: Float[Tensor, "B K *size"],
    targets: Integer[Tensor, " B *size"],
    gamma: float = 2.0,
    weights: Float[Tensor, " K"] | None = None,
) -> Float[Tensor, ""]:
    """L = - sum_x w_t (1 - p_t(x))^gamma log p_t(x): the more certain a right answer, the less it counts.

    Source: Lin, Goyal, Girshick, He, Dollar 2017, arXiv:1708.02002, equation 5, with a softmax for K classes; gamma = 0
    is the cross-entropy.
    """
    surprise = F.cross_entropy(logits, targets.long(), ignore_index=IGNORE, reduction="none")
    doubt = -torch.expm1(-surprise)  # 1 - p_t, exact where p_t is almost 1
    each = doubt.clamp(min=torch.finfo(doubt.dtype).tiny) ** gamma * surprise  # a root of 0 would have no slope
    return (each if weights is None else each * _weight_of(targets, weights)).sum()


def dice_loss_sum(
    logits: Float[Tensor, "B K *size"],
    targets: Integer[Tensor, " B *size"],
    foreground: tuple[int, ...],
    smooth: float = 1.0,
) -> Float[Tensor, ""]:
    """L = sum_b 1/C sum_c (1 - (2 sum_x p_c y_c + s) / (sum_x p_c + sum_x y_c + s)) over the C foreground classes.

    The inner sums run over the known pixels x of row b; p = softmax(logits), y is the one-hot target and s is
    ``smooth``, above 0, which lets a row without the class be right. Each row has its own loss, so batches add up.

    Source: Milletari, Navab, Ahmadi 2016, arXiv:1606.04797, section 3, with sums instead of sums of squares below.
    Differs: the smoothing of segmentation-models-pytorch counts twice, and there a class that is absent costs nothing.
    """
    classes = list(foreground)
    probs = torch.softmax(logits.flatten(2), 1)[:, classes]  # (B, C, pixels)
    flat = targets.flatten(1).unsqueeze(1)
    wanted = flat == torch.tensor(classes, device=targets.device, dtype=targets.dtype)[:, None]
    common = torch.where(wanted, probs, 0).sum(-1)
    claimed = torch.where(flat != IGNORE, probs, 0).sum(-1)
    dice = (2 * common + smooth) / (claimed + wanted.sum(-1) + smooth)
    return (1 - dice).mean(-1).sum()


def boundary_weights(
    targets: Integer[Tensor, "B H W"], background: int, w0: float = 10.0, sigma: float = 5.0
) -> Float[Tensor, "B H W"]:
    """w(x) = 1 + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)): narrow gaps between objects count more.

    d1 and d2 are the distances in pixels from a background pixel to the nearest pixel of the nearest and of the second
    nearest object. An object is a set of pixels of other classes than the background that touch by their sides. On
    objects, on unknown pixels and where there are fewer than two objects the weight is 1.

    Source: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, equation 2, without its class weights.
    Differs: distances beyond 4 sigma count as infinite, so weights are too small by up to w0 e^-8.
    """
    rows = targets.cpu().numpy()
    weights = np.stack([_boundary_weights(row, background, w0, sigma) for row in rows])
    return torch.from_numpy(weights).to(targets.device)


def _boundary_weights(targets: NDArray[np.integer], background: int, w0: float, sigma: float) -> NDArray[np.float32]:
    from scipy import ndimage  # its import takes a quarter of a second

    is_background = targets == background
    objects, count = ndimage.label(~is_background & (targets != IGNORE))
    weights = np.ones(targets.shape, np.float32)
    if count < 2:
        return weights
    nearest = np.full(targets.shape, np.inf)
    second = nearest.copy()
    reach = int(np.ceil(REACH * sigma))
    for number, box in enumerate(ndimage.find_objects(objects), 1):
        window = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
        distance = ndimage.distance_transform_edt(objects[window] != number)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    near = is_background & np.isfinite(second)
    weights[near] += w0 * np.exp(-((nearest[near] + second[near]) ** 2) / (2 * sigma**2))
    return weights


def _weight_of(targets: Tensor, weights: Tensor) -> Tensor:
    """The weight of each pixel's class, 0 where it is unknown."""
    nothing = weights.new_zeros(IGNORE + 1 - len(weights))
    return torch.cat((weights, nothing))[targets.long()]
