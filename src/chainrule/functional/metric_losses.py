"""Losses that learn likeness, as sums over rows or pairs, never means.

Each takes embeddings of any length unless it says otherwise, and works in the precision it is given.

Source: ArcFace: Deng, Guo, Xue, Zafeiriou 2018, arXiv:1801.07698, equation 3; triplets: Schroff, Kalenichenko, Philbin
2015, arXiv:1503.03832, equation 3, the hardest of the batch as Hermans, Beyer, Leibe 2017, arXiv:1703.07737, equation
5; contrastive: Hadsell, Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100, equation 4; NT-Xent: Chen, Kornblith, Norouzi,
Hinton 2020, arXiv:2002.05709, equation 1.
Reference: plain loops in float64, compared in tests/parity/test_metric_losses.py.
Differs: where theta + m would pass pi, ArcFace's target cosine goes on as cos(theta) - m sin(m), as in the authors'
code (insightface), so that it falls all the way; anchors without another row of their class, or without one of another
class, have no triplet.

Letters: ``B`` rows, ``D`` numbers in an embedding, ``K`` classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def cosines(embeddings: Float[Tensor, "B D"], others: Float[Tensor, "K D"]) -> Float[Tensor, "B K"]:
    """The cosine of the angle between each embedding and each of the others."""
    return F.normalize(embeddings, dim=-1) @ F.normalize(others, dim=-1).T


def distances(embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    """The Euclidean distance of each pair of rows; its slope is 0 where two rows are the same."""
    squares = (embeddings[:, None] - embeddings[None]).square().sum(-1)
    apart = squares > 0
    return torch.where(apart, squares, 1).sqrt() * apart


def arcface_logits(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    targets: Int[Tensor, " B"],
    margin: float,
    scale: float,
) -> Float[Tensor, "B K"]:
    """s cos(theta_j) for each class j, and s cos(theta_j + m) for a row's own: logits for the cross-entropy.

    theta_j is the angle between a row and the centre of class j; only directions count. ``margin`` m is in radians,
    from 0 to pi.

    Example:
        >>> rows, centres = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
        >>> arcface_logits(rows, centres, torch.tensor([1]), margin=0.5, scale=10.0).round(decimals=2)
        tensor([[10.0000, -4.7900]])
    """
    cosine = cosines(embeddings, centres)
    own = cosine.gather(1, targets[:, None])
    sine = (1 - own * own).clamp(min=torch.finfo(own.dtype).eps).sqrt()  # never 0: its slope would be infinite
    moved = own * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(own > -math.cos(margin), moved, own - margin * math.sin(margin))
    return scale * cosine.scatter(1, targets[:, None], moved)


def triplet_anchors(targets: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """The rows that are anchors of a triplet: their class has another row in the batch, and so has another class."""
    count = (targets[:, None] == targets[None]).sum(1)
    return (count > 1) & (count < len(targets))


def triplet_sum(embeddings: Float[Tensor, "B D"], targets: Int[Tensor, " B"], margin: float) -> Float[Tensor, ""]:
    """sum_a max(0, m + max_p d(a, p) - min_n d(a, n)): the farthest row of a's class, the nearest of another one.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
        >>> triplet_sum(rows, torch.tensor([0, 0, 1]), margin=1.5)  # 1.5 + 1 - 3 is below 0; 1.5 + 1 - 2 = 0.5
        tensor(0.5000)
    """
    away = distances(embeddings)
    same = targets[:, None] == targets[None]
    farthest = torch.where(same, away, -torch.inf).amax(1)
    nearest = torch.where(same, torch.inf, away).amin(1)
    return ((margin + farthest - nearest).clamp(min=0) * triplet_anchors(targets)).sum()


def contrastive_sum(embeddings: Float[Tensor, "B D"], targets: Int[Tensor, " B"], margin: float) -> Float[Tensor, ""]:
    """sum over pairs of d^2 / 2 where both rows are of one class, otherwise of max(0, m - d)^2 / 2.

    Example:
        >>> contrastive_sum(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]), margin=2.5)  # 1/2 + 0.5^2/2
        tensor(0.6250)
    """
    away = distances(embeddings)
    same = targets[:, None] == targets[None]
    each = torch.where(same, away, (margin - away).clamp(min=0)).square() / 2
    return each.triu(1).sum()


def nt_xent(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, " 2B"]:
    """Of each version - ln softmax at its other version, of cos / t over all other 2B - 1: the first ones, the second.

    With two versions that are the same, far from all others, it is near 0; with all rows alike it is ln(2B - 1).
    """
    B = len(first)
    both = torch.cat((first, second))
    logits = cosines(both, both) / temperature
    logits = logits.masked_fill(torch.eye(2 * B, dtype=torch.bool, device=logits.device), -torch.inf)
    partners = torch.arange(2 * B, device=logits.device).roll(B)
    return F.cross_entropy(logits, partners, reduction="none")


def nt_xent_sum(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """The sum of ``nt_xent``, over the 2B versions of B rows; only directions count.

    Example:
        >>> rows = torch.eye(2)
        >>> nt_xent_sum(rows, rows, temperature=1.0) / 4  # ln(e + 2) - 1
        tensor(0.5514)
    """
    return nt_xent(first, second, temperature).sum()
