"""Levels in masks that are no classes: noise of compression, smoothed edges, numbers of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chainrule.data.mask.codes import Level, level_name
from chainrule.errors import InputError

SOFT_ADVICE = (
    "Masks that were resized, smoothed or saved as JPEG have levels between the true ones: save them as PNG without "
    "smoothing, or set data.threshold (such as 128) where a mask is one object on a background"
)
FEW_LEVELS = 8  # that noise and smoothed edges have more of
MANY_LEVELS = 64  # of classes that are not numbered without a gap
RARE = 0.05  # of all pixels: what lies between the true levels together
SHOWN = 3  # masks named in a message
LEAST_COUNTS = 5  # different numbers of objects in an image, from which on levels are taken for these
NUMBERED = 0.9  # of the images with objects in which these are numbered from 1 without a gap


def refuse_soft(
    pixels: Mapping[Level, int], counts: NDArray[np.int64], ids: Sequence[str], jpeg: Sequence[str]
) -> None:
    """Raise InputError where levels are noise about, or steps between, the true ones.

    Args:
        pixels: of each level in the train split.
        counts: (N, levels) pixels of each in every mask.
        ids: of the images.
        jpeg: masks that are JPEG files.
    """
    count, total = len(pixels), sum(pixels.values())
    if count <= FEW_LEVELS:
        return
    coloured = len(next(iter(pixels))) == 3
    values = sorted(level[0] for level in pixels)
    numbered = not coloured and values[0] in (0, 1) and values[-1] - values[0] == count - 1
    rest = sorted(pixels.values())[: count - (FEW_LEVELS if coloured else 2)]
    rare = sum(rest) < RARE * total and (not coloured or len(rest) > FEW_LEVELS)
    if not jpeg and (numbered or (count <= MANY_LEVELS and not rare)):
        return
    noun = "colours" if coloured else "levels"
    held = (counts > 0).sum(axis=1)
    worst = np.argsort(-held, kind="stable")[:SHOWN].tolist()
    named = ", ".join(f"{ids[row]} {held[row]}" for row in worst)
    shown = ", ".join(level_name(level) for level in sorted(pixels)[:FEW_LEVELS])
    reason = (
        f"JPEG files such as {jpeg[0]} blur the edges" if jpeg
        else f"{len(rest)} of them hold {sum(rest) / total:.2g} of all pixels together" if rare
        else f"more than {MANY_LEVELS}, and not numbered without a gap"
    )  # fmt: skip
    raise InputError(
        f"the masks have {count} {noun} ({shown}, ...; most in {named}), which are no classes: {reason}. {SOFT_ADVICE}"
    )


def refuse_instances(levels: Sequence[Level], counts: NDArray[np.int64]) -> None:
    """Raise InputError where each image numbers its objects from 1 on, whatever they are.

    Args:
        counts: (N, levels) pixels.
    """
    values = np.array([level[0] for level in levels])
    held = (counts > 0) & (values > 0)
    most = np.where(held, values, 0).max(axis=1, initial=0)
    with_objects = most > 0
    if not with_objects.any():
        return
    numbered = held.sum(axis=1)[with_objects] == most[with_objects]
    different = np.unique(most[with_objects])
    if numbered.mean() < NUMBERED or len(different) < LEAST_COUNTS:
        return
    raise InputError(
        f"the masks seem to number the objects of each image: levels 1 to n without a gap, with n from {different[0]} "
        f"to {different[-1]} and different from image to image; classes are expected. Set data.threshold=1 to learn "
        f"object and background"
    )
