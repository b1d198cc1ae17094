"""How well answered regions cover the true ones: counts of pixels for each row and class, and scores made of them.

Source: Dice 1945 and Jaccard 1912; with tp, fp and fn the pixels of a class that are answered right, answered wrongly
and missed, dice = 2 tp / (2 tp + fp + fn) = F1 and iou = tp / (tp + fp + fn) = dice / (2 - dice).
Reference: sklearn.metrics over all pixels, compared in tests/parity/test_overlap.py.
Differs: a score that no row defines is nan without a warning. ``weights`` (... N) are multiplicities of rows, as in
``metrics``: one vector gives one score, a matrix one score per bootstrap draw.

Letters: ``N`` rows, ``K`` classes. ``hits``, ``answered`` and ``support`` (N K) count the pixels of a row that are
answered right, answered with the class, and truly of the class.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from chainrule.errors import InputError
from chainrule.functional.metrics import Array, Score, Scorer, Weights
from chainrule.functional.pixel_losses import IGNORE

CHUNK = 2**22  # pixels counted at once: some 50 megabytes


def region_counts(
    predicted: Integer[Tensor, " B *size"], targets: Integer[Tensor, " B *size"], num_classes: int
) -> Int[Tensor, "B 3 K"]:
    """The hits, answered and support of each row, over its pixels with a known target.

    Example:
        >>> region_counts(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, IGNORE]]), 2)[0]
        tensor([[1, 1],
                [1, 2],
                [2, 1]])
    """
    B, K = len(targets), num_classes
    answers, truths = predicted.reshape(B, -1), targets.reshape(B, -1)
    pixels = truths.shape[1]
    tall = max(1, CHUNK // max(1, pixels))
    table = torch.zeros((B, K, K), dtype=torch.int64, device=targets.device)  # [row, truth, answer]
    for top in range(0, B, tall):
        for left in range(0, pixels, CHUNK):
            part = slice(top, top + tall), slice(left, left + CHUNK)
            table[part[0]] += _confusion(answers[part], truths[part], K)
    return torch.stack((table.diagonal(dim1=1, dim2=2), table.sum(1), table.sum(2)), 1)


def overlap_scores(
    hits: Array, answered: Array, support: Array, foreground: tuple[int, ...], weights: Weights = None
) -> dict[str, Score]:
    """The scores of ``overlap_scorer`` for these weights.

    Example:
        >>> scores = overlap_scores(np.array([[1, 1]]), np.array([[1, 2]]), np.array([[2, 1]]), foreground=(1,))
        >>> round(float(scores["dice"]), 3), float(scores["iou"])
        (0.667, 0.5)
    """
    return overlap_scorer(hits, answered, support, foreground)(weights)


def overlap_scorer(hits: Array, answered: Array, support: Array, foreground: tuple[int, ...]) -> Scorer:
    """Every score of these rows, as a function of weights.

    ``dice`` and ``iou`` are pooled over the rows, then averaged over the foreground classes that occur or were
    answered; ``accuracy`` is the share of all pixels answered right. ``dice_per_image`` and ``iou_per_image`` are means
    over all pairs of a row and a foreground class that it truly has. Where classes stand for background, ``found`` is
    the share of rows with foreground in which some of it is hit, and ``clean_kept`` the share of rows without in which
    none is claimed; each only if there are such rows.

    Raises:
        InputError: no rows, or counts that do not belong together.
    """
    _check_counts(hits, answered, support)
    classes = list(foreground)
    right, claimed, true = (counts[:, classes].astype(np.float64) for counts in (hits, answered, support))
    pooled = [counts.astype(np.float64) for counts in (hits, answered, support)]

    present = true > 0
    means = {
        f"{name}_per_image": (np.where(present, values, 0).sum(1), present.sum(1))
        for name, values in _overlap(right, claimed, true).items()
    }
    ill = present.any(1)
    clean = ~ill & (support.sum(1) > 0)
    if len(classes) < support.shape[1]:
        if ill.any():
            means["found"] = ((right > 0).any(1), ill)
        if clean.any():
            means["clean_kept"] = (clean & ~(claimed > 0).any(1), clean)

    def score(weights: Weights = None) -> dict[str, Score]:
        mass = np.ones(len(hits)) if weights is None else weights.astype(np.float64)
        total = [mass @ counts for counts in pooled]
        by_class = _overlap(*(counts[..., classes] for counts in total))
        scores = {name: _mean_of_defined(values) for name, values in by_class.items()}
        scores["accuracy"] = _share(total[0].sum(-1), total[2].sum(-1))
        return scores | {name: _share(mass @ part, mass @ whole) for name, (part, whole) in means.items()}

    return score


def class_scores(hits: Array, answered: Array, support: Array) -> dict[str, Array]:
    """``dice`` and ``iou`` of every class (K), pooled over the rows; nan where it neither occurs nor was answered."""
    return _overlap(*(counts.sum(0) for counts in (hits, answered, support)))


def _confusion(answers: Tensor, truths: Tensor, K: int) -> Tensor:
    """(rows K K): how many pixels of each true class were given each answer."""
    rows = len(truths)
    first = torch.arange(rows, device=truths.device)[:, None] * K**2
    cells = (truths.long() * K).add_(answers).add_(first)
    cells = torch.where(truths == IGNORE, rows * K**2, cells)
    return torch.bincount(cells.flatten(), minlength=rows * K**2 + 1)[:-1].view(rows, K, K)


def _overlap(right: Array, answered: Array, true: Array) -> dict[str, Array]:
    """2 tp / (2 tp + fp + fn) and tp / (tp + fp + fn)."""
    return {"dice": _share(2 * right, answered + true), "iou": _share(right, answered + true - right)}


def _check_counts(hits: Array, answered: Array, support: Array) -> None:
    if not hits.shape == answered.shape == support.shape or hits.ndim != 2 or not len(hits):
        raise InputError(
            f"expected counts of the same rows and classes, one row or more, got {hits.shape}, {answered.shape} and "
            f"{support.shape}; check that the split has rows with masks"
        )


def _mean_of_defined(values: Array) -> Score:
    """The mean over the last axis without nan; nan where nothing is defined."""
    defined = np.isfinite(values)
    return _share(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def _share(part: Array, whole: Array) -> Array:
    """part / whole, nan where the whole is not above 0."""
    positive = whole > 0
    quotient: Array = np.where(positive, part / np.where(positive, whole, 1), np.nan)[()]
    return quotient
