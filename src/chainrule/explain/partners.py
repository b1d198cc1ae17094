"""Masks that lie beside the images of a run about classes: what somebody marked, to be held against explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.mask.codes import Coded
from chainrule.data.mask.decode import Job, decode_pair, nearest
from chainrule.data.pairs import IMAGE_WORDS, MASK_WORDS, find_pairs
from chainrule.data.sources import PICTURES, open_source, suffix

MOST_PIXELS = 100_000_000  # of an image and its mask
MOST_LEVELS = 20  # of a mask beyond which they are the noise of a JPEG file about two
Mask = NDArray[np.bool_]  # (H, W) True where something is marked
Partner = Callable[[str], Mask | None]  # by the image's id


def partners(sources: Sequence[Any]) -> Partner:
    """The mask that lies beside an image of these sources, by the image's id; None where there is none.

    ``a_mask.png`` beside ``a.png``, or a folder of masks beside one of images; several masks of an image are united.
    """
    roots = [root for one in sources if isinstance(one, str | Path) and str(one) for root in _roots(one)]
    pairs = cache(find_pairs)

    def find(name: str) -> Mask | None:
        image = Path(name).expanduser().absolute()
        places = [(root, root / name) for root in roots] + [(image.parent, image)]
        for root, path in places:
            for folder in (root, root.parent) if path.is_file() and _paired(root) else (root,):
                pairing = pairs(folder) if path.is_file() else None
                if pairing is not None and path.is_relative_to(pairing.root):
                    masks = pairing.masks.get(path.relative_to(pairing.root).as_posix(), ())
                    if masks:
                        return _marked(Job(name, path, tuple(pairing.root / mask for mask in masks)))
        return None

    return find


def _roots(one: str | Path) -> list[Path]:
    """The folders that ids of a source are relative to, the test part's first."""
    if Path(one).expanduser().is_file() and suffix(Path(one)) in PICTURES:
        return []
    source = open_source(one)
    parts = sorted(source.parts.items(), key=lambda part: part[0] != "test")
    found = [part.path for _, part in parts] + [source.path]
    return [root.resolve() for root in found if root is not None and root.is_dir()]


def _paired(root: Path) -> bool:
    """Whether a folder of images has one of masks beside it; where not, what else lies there is not looked through."""
    if root.name.lower() not in IMAGE_WORDS:
        return False
    return any(child.is_dir() and child.name.lower() in MASK_WORDS for child in root.parent.iterdir())


def _marked(job: Job) -> Mask | None:
    """Where the mask is not black; None where it cannot be read or does not fit the image."""
    pair = decode_pair(job, max_pixels=MOST_PIXELS)
    if pair.error or len(pair.masks) != 1:
        return None
    (mask,) = pair.masks
    return _objects(mask)[mask.codes]


def _objects(mask: Coded) -> Mask:
    """Which codes stand for an object: levels that are not 0, or of very many those above the middle."""
    brightness = np.array([max(level) for level in mask.levels])
    floor = brightness.max() / 2 if len(brightness) > MOST_LEVELS else 0
    return np.asarray(brightness > floor)


def at_size(mask: Mask | None, size: tuple[int, int]) -> Mask | None:
    """The mask squeezed as its image is."""
    return None if mask is None else nearest(mask.astype(np.uint8), size) > 0


def share_inside(maps: Tensor, masks: Sequence[Mask | None]) -> tuple[float, float, int] | None:
    """How much of the maps (B H W) lies inside the masks, what share of the area these cover, and of how many images.

    Means over the images that have something marked and a map that is not empty; None without any.
    """
    found = []
    for values, mask in zip(maps.double().abs(), masks, strict=True):
        if mask is not None and mask.any() and float(values.sum()) > 0:
            inside = float(values[torch.from_numpy(mask)].sum() / values.sum())
            found.append((inside, float(mask.mean())))
    if not found:
        return None
    share, area = np.mean(found, axis=0).tolist()
    return share, area, len(found)
