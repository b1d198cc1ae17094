"""What stands in a mask, as codes: values, places in a palette or colours, from a picture or an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from chainrule.data.image.decode import Unreadable

Level = tuple[int, ...]  # what stands in a mask: (255,), or a colour (255, 0, 0)
Codes = NDArray[np.uint8]  # places in a table of levels, one for each pixel
MOST_CODES = 256
OBJECT_LEVEL = 255  # of what data.threshold makes of a mask
ALPHA = "masks on a transparent ground: transparent pixels count as black"


@dataclass(frozen=True, slots=True)
class Coded:
    """One mask: a code for every pixel, and what each code means."""

    codes: Codes  # (H, W) or (D, H, W)
    levels: tuple[Level, ...]
    palette: tuple[int, ...] = ()


class TooManyLevels(Unreadable):
    """A mask has more levels than can be classes."""

    def __init__(self, count: int, kind: str) -> None:
        super().__init__(f"{count} different {kind}")
        self.count, self.kind = count, kind


def level_name(level: Level) -> str:
    """A level as a person writes it: 255, or #ff0000."""
    return str(level[0]) if len(level) == 1 else "#" + "".join(f"{part:02x}" for part in level)


def recoded(mask: Coded, levels: Sequence[Level]) -> Codes:
    """The mask in codes of another table that has all its levels."""
    place = {level: code for code, level in enumerate(levels)}
    table = np.array([place[level] for level in mask.levels], dtype=np.uint8)
    return table[mask.codes]


def united(masks: Sequence[Coded]) -> Coded:
    """One mask of several with two levels each: the object of any.

    Raises:
        Unreadable: some have more levels, so that no one can tell which should win.
    """
    if len(masks) == 1:
        return masks[0]
    levels = tuple(sorted({level for mask in masks for level in mask.levels}))
    if len(levels) > 2 or len({mask.codes.shape for mask in masks}) > 1:
        shown = ", ".join(map(level_name, levels[:5]))
        raise Unreadable(
            f"its {len(masks)} masks have {len(levels)} levels together ({shown}) or sizes that differ; several masks "
            f"of one image are united where all are of two levels, background and object"
        )
    return Coded(np.maximum.reduce([recoded(mask, levels) for mask in masks]), levels, masks[0].palette)


def coded(image: Image.Image, threshold: int, remarks: list[str]) -> Coded:
    """A mask's picture as codes: its values, its places in a palette, or its colours.

    Raises:
        Unreadable: decimal or negative values.
        TooManyLevels: more than 256 of them.
    """
    ImageOps.exif_transpose(image, in_place=True)
    palette = tuple(image.getpalette() or ()) if image.mode == "P" else ()
    if palette and palette[::3] == palette[1::3] == palette[2::3]:
        image, palette = image.convert("L"), ()  # greys, which writers of GIF and PNG number as they come
    values: NDArray[Any]
    if image.mode in ("RGBA", "LA", "PA"):
        values, colour = _on_black(image), True
        remarks.append(ALPHA)
    elif image.mode in ("1", "L"):
        values, colour = np.asarray(image.convert("L")), False
    elif image.mode == "P" or image.mode.startswith("I") or image.mode == "F":
        values, colour = _whole(np.asarray(image)), False
    else:
        values, colour = np.asarray(image.convert("RGB")), True
    if colour:
        grey = (values == values[..., :1]).all()
        values, colour = values[..., 0] if grey else _packed(values), not grey
    if threshold:
        if colour or palette:
            raise Unreadable(
                f"has {'colours' if colour else 'indices into a palette'}, which data.threshold={threshold} cannot "
                f"compare; leave the setting out"
            )
        over = values >= threshold
        return Coded(over.astype(np.uint8), ((0,), (OBJECT_LEVEL,)))
    found = coded_values(values, "colours" if colour else "levels")
    levels = tuple(_unpacked(level) for (level,) in found.levels) if colour else found.levels
    return Coded(found.codes, levels, palette)


def _on_black(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3): the colours, black where transparent; where all are black, how opaque each pixel is."""
    pixels = np.asarray(image.convert("RGBA"))
    alpha = pixels[..., 3:]
    colours = pixels[..., :3] * (alpha > 0)
    return colours if colours.any() else np.repeat(alpha, 3, axis=2)


def _whole(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Values as whole numbers from 0 on.

    Raises:
        Unreadable: fractions, negative or endless ones.
    """
    numbers = np.asarray(values)
    if numbers.dtype.kind == "f" and not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
        raise Unreadable("holds numbers with fractions; a mask has whole levels, save it with those")
    whole = numbers.astype(np.int64)
    if whole.min() < 0:
        raise Unreadable(f"holds the negative level {whole.min()}; a mask has levels from 0 on")
    return whole


def _packed(colours: NDArray[Any]) -> NDArray[Any]:
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def _unpacked(colour: int) -> Level:
    return narrow((colour >> 16, (colour >> 8) & 255, colour & 255))


def narrow(level: Level) -> Level:
    """A grey colour as its level, so that black is the same in a grey mask and in a coloured one."""
    return level[:1] if len(set(level)) == 1 else level


def coded_values(values: NDArray[Any], noun: str = "levels") -> Coded:
    """Values from 0 on as codes; only the first of equal neighbours is sorted, since masks have few edges.

    Raises:
        TooManyLevels: more than 256 of them; ``noun`` says of what.
    """
    flat = values.reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    distinct, places = np.unique(flat[starts], return_inverse=True)
    if len(distinct) > MOST_CODES:
        raise TooManyLevels(len(distinct), noun)
    codes = np.repeat(places.astype(np.uint8), np.diff(starts, append=len(flat)))
    return Coded(codes.reshape(values.shape), tuple((int(value),) for value in distinct))
