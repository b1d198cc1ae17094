"""Losses as sums over rows, never means, and their gradients with respect to the logits, derived by hand.

The caller divides by a count taken over the whole batch, so that micro-batches, short last batches and several
devices agree. Logits are (B, K), or (B, E, K) where E members of an ensemble share weights: their losses are averaged.
``rows`` weighs the rows' losses, as blended rows ask (mixup, cutmix).

Source: Bishop 2006, Pattern Recognition and Machine Learning, sections 4.3.4 and 5.2; label smoothing:
arXiv:1512.00567, section 7.
Reference: torch.nn.functional and autograd, compared in tests/parity/test_losses.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def target_shares(
    targets: Int[Tensor, " B"], num_classes: int, label_smoothing: float, dtype: torch.dtype
) -> Float[Tensor, "B K"]:
    """What the network should answer: q_k = (1 - s) [k = target] + s / K with label smoothing s."""
    return F.one_hot(targets, num_classes).to(dtype) * (1 - label_smoothing) + label_smoothing / num_classes


def cross_entropy_sum(
    logits: Float[Tensor, "B *members K"],
    targets: Int[Tensor, " B"],
    weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
    rows: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """L = - sum_rows sum_k w_k q_k log p_k with p = softmax(logits); equal logits give ln K a row.

    Example:
        >>> cross_entropy_sum(torch.zeros(1, 4), torch.tensor([2])).exp().round().item()
        4.0
    """
    if logits.ndim == 2 and rows is None:
        return F.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=label_smoothing)
    members = _members(logits)
    flat, repeated = logits.reshape(-1, logits.shape[-1]), targets.repeat_interleave(members)
    if rows is not None:
        each = F.cross_entropy(flat, repeated, weights, reduction="none", label_smoothing=label_smoothing)
        return (each * rows.repeat_interleave(members)).sum() / members
    return F.cross_entropy(flat, repeated, weights, reduction="sum", label_smoothing=label_smoothing) / members


def cross_entropy_equation(
    logits: Float[Tensor, "B *members K"],
    targets: Int[Tensor, " B"],
    weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The equation of ``cross_entropy_sum``, written out: its slow twin."""
    shares = _weighted_shares(logits, targets, weights, label_smoothing)
    log_probs = logits - torch.logsumexp(logits, -1, keepdim=True)
    return -(shares * log_probs).sum() / _members(logits)


def cross_entropy_gradient(
    logits: Float[Tensor, "B *members K"],
    targets: Int[Tensor, " B"],
    weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, "B *members K"]:
    """dL/dz_k = p_k sum_j w_j q_j - w_k q_k; without weights softmax minus one-hot, p_k - q_k."""
    shares = _weighted_shares(logits, targets, weights, label_smoothing)
    probs = torch.softmax(logits, -1)
    return (probs * shares.sum(-1, keepdim=True) - shares) / _members(logits)


def binary_cross_entropy_sum(
    logits: Float[Tensor, "B *members 1"],
    targets: Int[Tensor, " B"],
    weights: Float[Tensor, " 2"] | None = None,
    label_smoothing: float = 0.0,
    rows: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """L = - sum_rows (w_1 q_1 log p + w_0 q_0 log(1 - p)) with p = sigmoid(z): the cross-entropy over (0, z)."""
    shares = target_shares(targets, 2, label_smoothing, logits.dtype)
    if rows is not None:
        weights = rows[:, None] if weights is None else rows[:, None] * weights
    if weights is None:
        wanted = shares[:, 1].reshape(-1, *[1] * (logits.ndim - 1)).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / _members(logits)
    shares = _align(shares * weights, logits)
    total = shares[..., 1:] * F.softplus(-logits) + shares[..., :1] * F.softplus(logits)
    return total.sum() / _members(logits)


def binary_cross_entropy_gradient(
    logits: Float[Tensor, "B *members 1"],
    targets: Int[Tensor, " B"],
    weights: Float[Tensor, " 2"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, "B *members 1"]:
    """dL/dz = p (w_0 q_0 + w_1 q_1) - w_1 q_1; without weights p - q_1."""
    shares = target_shares(targets, 2, label_smoothing, logits.dtype)
    shares = _align(shares if weights is None else shares * weights, logits)
    return (torch.sigmoid(logits) * shares.sum(-1, keepdim=True) - shares[..., 1:]) / _members(logits)


def squared_error_sum(
    predictions: Float[Tensor, "B *members 1"], targets: Float[Tensor, " B"], rows: Float[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    """L = sum_rows (o - y)^2; divided by the rows it is the mean squared error."""
    squares = (predictions - _align(targets[:, None], predictions)) ** 2
    return _weighed(squares, rows).sum() / _members(predictions)


def squared_error_gradient(
    predictions: Float[Tensor, "B *members 1"], targets: Float[Tensor, " B"]
) -> Float[Tensor, "B *members 1"]:
    """dL/do = 2 (o - y)."""
    return 2 * (predictions - _align(targets[:, None], predictions)) / _members(predictions)


def probability_error_sum(
    logits: Float[Tensor, "B *members K"], targets: Int[Tensor, " B"], rows: Float[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    """L = sum_rows 1/K sum_k (p_k - y_k)^2: a classification judged by MSE, as the textbook does.

    p is the softmax of K logits and y the one-hot target; one logit (K = 1) means p = sigmoid(z) and y = 0 or 1.
    """
    probs, wanted = _probabilities(logits, targets)
    squares = ((probs - wanted) ** 2).mean(-1, keepdim=True)
    return _weighed(squares, rows).sum() / _members(logits)


def probability_error_gradient(
    logits: Float[Tensor, "B *members K"], targets: Int[Tensor, " B"]
) -> Float[Tensor, "B *members K"]:
    """dL/dz_k = 2/K p_k (e_k - sum_j p_j e_j) with the errors e = p - y; one logit: dL/dz = 2 (p - y) p (1 - p)."""
    probs, wanted = _probabilities(logits, targets)
    error = probs - wanted
    if logits.shape[-1] == 1:
        return 2 * error * probs * (1 - probs) / _members(logits)
    spread = error - (probs * error).sum(-1, keepdim=True)
    return 2 / logits.shape[-1] * probs * spread / _members(logits)


def _probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What is answered and what was wanted, per class."""
    if logits.shape[-1] == 1:
        return torch.sigmoid(logits), _align(targets[:, None].to(logits.dtype), logits)
    return torch.softmax(logits, -1), _align(target_shares(targets, logits.shape[-1], 0.0, logits.dtype), logits)


def _weighted_shares(logits: Tensor, targets: Tensor, weights: Tensor | None, label_smoothing: float) -> Tensor:
    shares = target_shares(targets, logits.shape[-1], label_smoothing, logits.dtype)
    return _align(shares if weights is None else shares * weights, logits)


def _align(rows: Float[Tensor, "B K"], logits: Tensor) -> Tensor:
    """Rows (B, K) beside logits (B, E, K): the same for each member."""
    return rows if logits.ndim == 2 else rows.unsqueeze(1)


def _weighed(losses: Float[Tensor, "B *members 1"], rows: Float[Tensor, " B"] | None) -> Tensor:
    """Losses times the weights of their rows."""
    return losses if rows is None else losses * _align(rows[:, None], losses)


def _members(logits: Tensor) -> int:
    return 1 if logits.ndim == 2 else logits.shape[1]


@dataclass(frozen=True, slots=True)
class LossFunction:
    """A loss of (outputs, targets) as a sum over rows, its gradient, and both as text for one row."""

    total: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    formula: str
    gradient_formula: str


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": LossFunction(
        cross_entropy_sum, cross_entropy_gradient, "- sum_k y_k log p_k, p = softmax(o)", "p_k - y_k"
    ),
    "binary_cross_entropy": LossFunction(
        binary_cross_entropy_sum, binary_cross_entropy_gradient,
        "- (y log p + (1 - y) log(1 - p)), p = 1 / (1 + e^-o)", "p - y",
    ),
    "probability_error": LossFunction(
        probability_error_sum, probability_error_gradient,
        "1/K sum_k (p_k - y_k)^2", "2/K p_k ((p_k - y_k) - sum_j p_j (p_j - y_j))",
    ),
    "squared_error": LossFunction(squared_error_sum, squared_error_gradient, "(o - y)^2", "2 (o - y)"),
}  # fmt: skip
