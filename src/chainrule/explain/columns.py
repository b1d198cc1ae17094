"""Which place of a table's tensors belongs to which column that a person knows."""

from __future__ import annotations

from typing import Any

from chainrule.data.table.front import MAX_ONE_HOT

Places = dict[str, tuple[tuple[int, int], ...]]  # column -> (input, index in its axis 1) of all its parts
Owners = tuple[tuple[str, ...], ...]  # per tensor the column that owns each index of axis 1


def places_of(schema: Any) -> Places:
    """Where each column of a table stands in a batch's inputs (numbers, codes); a date's parts stand together."""
    places: dict[str, list[tuple[int, int]]] = {}
    for index, number in enumerate(schema.numbers):
        places.setdefault(number.source, []).append((0, index))
    for index, category in enumerate(schema.categories):
        places.setdefault(category.name, []).append((1, index))
    return {name: tuple(found) for name, found in places.items()}


def owners_of(schema: Any, takes: str) -> Owners:
    """The columns behind each tensor of a table's front: ("vector",) or (numbers, encoded numbers, codes)."""
    numbers = tuple(number.source for number in schema.numbers)
    flags = tuple(number.source for number in schema.numbers if number.missing)
    if takes == "columns":
        return numbers, numbers, (*(category.name for category in schema.categories), *flags)
    one_hot: list[str] = []
    for category in schema.categories:
        known = len(category.categories)
        one_hot += [category.name] * (min(known, MAX_ONE_HOT) + category.missing + (known > MAX_ONE_HOT))
    return ((*numbers, *flags, *one_hot),)
