"""From what stands in masks to classes: which levels or colours are classes, background, or mean an unknown answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.mask.codes import Level, level_name, narrow
from chainrule.data.mask.soft import refuse_instances, refuse_soft
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.errors import InputError, nearest

MOST_CLASSES = 255
VOID = {"void", "ignore", "ignored", "unlabelled", "unlabeled", "unknown", "dontcare", "don't care"}
BACKGROUND = {"background", "bg", "_background_"}
NO_BACKGROUND = "none"
OBJECT_NAMES = ("background", "object")
WHITE = (255,)
SHOWN = 6  # classes named in a note


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the train split's masks hold."""

    levels: tuple[Level, ...]  # of the table
    counts: NDArray[np.int64]  # (N, levels) pixels
    ids: Sequence[str]  # of the images
    names: tuple[tuple[Level, str], ...] = ()  # that a file beside the data tells
    palette: tuple[int, ...] = ()
    jpeg: tuple[str, ...] = ()  # masks that are JPEG files, the first few


def learn_target(seen: Seen, options: DataConfig) -> tuple[MaskTarget, str]:
    """The classes of the train split's masks, and how they were found, in words.

    Raises:
        InputError: one class only, levels that are noise or numbers of objects, more than 255 classes, or a setting
            that names a class there is not.
    """
    total = seen.counts.sum(axis=0)
    coloured = any(len(level) == 3 for level in seen.levels)
    pixels = {_wide(level, coloured): int(count) for level, count in zip(seen.levels, total, strict=True) if count}
    if not coloured:
        refuse_instances(seen.levels, seen.counts)
    refuse_soft(pixels, seen.counts, seen.ids, seen.jpeg)
    names = _names(seen, pixels, coloured)
    ignored = _ignored(pixels, names, options)
    levels = tuple(sorted(level for level in pixels if level not in ignored))
    _refuse_few(levels, pixels, seen.counts)
    if len(levels) > MOST_CLASSES:
        raise InputError(f"the masks have {len(levels)} levels; at most {MOST_CLASSES} classes are expected")
    classes = _class_names(levels, names)
    background, why = _background(levels, classes, pixels, options)
    target = MaskTarget(
        classes=classes, levels=levels, pixels=tuple(pixels[level] for level in levels),
        ignore=tuple(sorted(ignored)), background=background, palette=() if coloured else seen.palette,
    )  # fmt: skip
    return target, _told(target, why, pixels)


def lookup(target: MaskTarget, levels: Sequence[Level]) -> tuple[NDArray[np.uint8], list[int]]:
    """The class of each level of a table, IGNORE where the answer is not known, and the places of unknown levels."""
    known = {narrow(level): number for number, level in enumerate(target.levels)}
    known |= {narrow(level): IGNORE for level in target.ignore}
    unknown = [place for place, level in enumerate(levels) if level not in known]
    return np.array([known.get(level, IGNORE) for level in levels], dtype=np.uint8), unknown


def _wide(level: Level, coloured: bool) -> Level:
    """A grey level among colours as the colour it is."""
    return level * 3 if coloured and len(level) == 1 else level


def _names(seen: Seen, pixels: dict[Level, int], coloured: bool) -> dict[Level, str]:
    """The names that a file tells, by level; a mere list that does not fit the levels by number fits them in order.

    A list with one name less leaves out the background.
    """
    told = {_wide(level, coloured): name for level, name in seen.names}
    listed = sorted(told) == [(place,) for place in range(len(told))]
    beside_unknown = len(pixels) != 2 and set(pixels) - {WHITE} <= set(told)
    if not listed or beside_unknown or set(pixels) <= set(told):
        return told
    names = list(told.values())
    names = names if len(names) == len(pixels) else [OBJECT_NAMES[0], *names]
    return dict(zip(sorted(pixels), names, strict=True)) if len(names) == len(pixels) else {}


def _ignored(pixels: dict[Level, int], names: dict[Level, str], options: DataConfig) -> set[Level]:
    if options.ignore:
        return {_named_level(word, pixels, names, "data.ignore") for word in options.ignore}
    found = {level for level, name in names.items() if name.lower() in VOID and level in pixels}
    others = [level[0] for level in pixels if level != WHITE]
    if WHITE in pixels and len(others) >= 2 and all(len(level) == 1 for level in pixels) and WHITE not in names:
        indices = max(others) < min(255, 3 * len(others))  # 0, 128, 255 are three grey classes; 0, 1, 255 are not
        found |= {WHITE} if indices else set()
    return found


def _named_level(word: str, pixels: dict[Level, int], names: dict[Level, str], setting: str) -> Level:
    """The level that a person names, by its number, colour or class.

    Raises:
        InputError: there is none.
    """
    for level in (*pixels, *names):
        if word in (level_name(level), names.get(level), level_name(narrow(level))):
            return level
    known = [names.get(level, level_name(level)) for level in sorted(pixels)]
    raise InputError(f"{setting} names {word!r}, which no mask of the train split has; {nearest(word, known)}")


def _refuse_few(levels: tuple[Level, ...], pixels: dict[Level, int], counts: NDArray[np.int64]) -> None:
    if len(levels) >= 2:
        return
    total = sum(pixels.values())
    held = ", ".join(f"{level_name(level)} in {count:,}" for level, count in pixels.items()) or "none"
    raise InputError(
        f"all {len(counts)} masks to learn from have a single level ({held} of {total:,} pixels), so that every pixel "
        f"has the same answer; expected two levels or more, such as 0 for the background and 255 for the object"
    )


def _class_names(levels: tuple[Level, ...], names: dict[Level, str]) -> tuple[str, ...]:
    if len(levels) == 2 and not any(level in names for level in levels):
        return OBJECT_NAMES
    found = tuple(names.get(level, level_name(level)) for level in levels)
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InputError(f"the file of class names has {twice!r} for several levels; give each class a name of its own")
    return found


def _background(
    levels: tuple[Level, ...], classes: tuple[str, ...], pixels: dict[Level, int], options: DataConfig
) -> tuple[int, str]:
    """The class that is no object, or -1, and why."""
    if options.background == NO_BACKGROUND:
        return -1, f"data.background={NO_BACKGROUND}"
    if options.background:
        level = _named_level(options.background, pixels, dict(zip(levels, classes, strict=True)), "data.background")
        if level not in levels:
            raise InputError(f"data.background names {options.background!r}, which data.ignore leaves out")
        return levels.index(level), f"as data.background={options.background}"
    named = [number for number, name in enumerate(classes) if name.lower() in BACKGROUND]
    if len(named) == 1:
        return named[0], "by its name"
    if len(levels) == 2:
        return 0, "the first of two levels"
    counted = [pixels[level] for level in levels]
    black = set(levels[0]) == {0}
    if len(levels[0]) == 3:
        common = black and counted[0] == max(counted)
        return (0, "the commonest colour") if common else (-1, "black is not the commonest colour (data.background)")
    half = black and 2 * counted[0] > sum(counted)
    return (0, "in more than half of the pixels") if half else (-1, "no 0 in half of the pixels (data.background)")


def _told(target: MaskTarget, why: str, pixels: dict[Level, int]) -> str:
    total = sum(pixels.values())
    parts = []
    for level, name, count in zip(target.levels, target.classes, target.pixels, strict=True):
        known = level_name(level)
        parts.append(f"{known if name == known else f'{known} = {name}'} ({share(count, total)})")
    shown = ", ".join(parts[:SHOWN]) + (f", and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")
    ignored = "".join(f"; {level_name(level)} = not known, ignored" for level in target.ignore)
    noun = "colours" if len(target.levels[0]) == 3 else "indices" if target.palette else "levels"
    if target.background < 0:
        return f"mask {noun}: {shown}{ignored}; no background, so every class counts: {why}"
    ground = f"; background: {target.classes[target.background]}, {why}" if len(target.classes) > 2 else ""
    return f"mask {noun}: {shown}{ignored}{ground}"


def share(count: int, total: int) -> str:
    """A share in per cent, small ones with the digits that tell them from none."""
    percent = 100 * count / max(1, total)
    return f"{percent:.1f}%" if percent >= 0.1 or not count else f"{percent:.1g}%"
