"""What a report shows of masks: the best, middle and worst images, and each class with its overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.functional.overlap import class_scores
from chainrule.tasks.task import Rows

EACH = 3  # images of each sort
COUNTS = ("hits", "answered", "support")
CLASS_COLUMNS = ("dice", "iou", "precision", "recall", "pixels")  # of a class, after its name


def dice_of_rows(rows: Rows, foreground: Sequence[int]) -> NDArray[np.float64]:
    """Each image's Dice, mean over the classes of objects that it has or that are claimed; 1 where there is nothing."""
    hits, answered, support = (rows[name][:, list(foreground)].astype(np.float64) for name in COUNTS)
    there = (answered + support) > 0
    dice = np.where(there, 2 * hits / np.maximum(answered + support, 1), 0).sum(1) / np.maximum(there.sum(1), 1)
    return np.where(there.any(1), dice, 1.0)


def telling_rows(dice: NDArray[np.float64], each: int = EACH) -> list[tuple[str, list[int]]]:
    """Rows of the best, middle and worst images, each once; fewer where there are few.

    Example:
        >>> telling_rows(np.array([0.9, 0.1, 0.5]), each=1)
        [('worst', [1]), ('middle', [2]), ('best', [0])]
    """
    order = np.argsort(dice, kind="stable").tolist()
    each = min(each, max(1, len(order) // 3))
    middle = max(0, (len(order) - each) // 2)
    found: list[tuple[str, list[int]]] = []
    taken: set[int] = set()
    sorts = (("worst", order[:each]), ("middle", order[middle : middle + each]), ("best", order[::-1][:each]))
    for name, rows in sorts:
        rows = [row for row in rows if row not in taken]
        taken |= set(rows)
        found.append((name, rows))
    return [(name, rows) for name, rows in found if rows]


def class_table(rows: Rows, classes: Sequence[str]) -> list[tuple[str, float, float, float, float, int]]:
    """Name, Dice, IoU, precision, recall and true pixels of every class, pooled over the images."""
    counts: list[NDArray[Any]] = [rows[name] for name in COUNTS]
    scores = class_scores(counts[0], counts[1], counts[2])
    hits, answered, support = (part.sum(0) for part in counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / answered, hits / support
    columns = [column.tolist() for column in (scores["dice"], scores["iou"], precision, recall, support)]
    return list(zip(classes, *columns, strict=True))
