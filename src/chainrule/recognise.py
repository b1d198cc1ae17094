"""From a source to its data kind and default model, with the reason. The order is literal: the first claim wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from chainrule.data import gates, image, table
from chainrule.data.kind import DataKind
from chainrule.data.sources import Source
from chainrule.errors import InputError, nearest

KINDS: dict[str, DataKind] = {
    "gates": cast(DataKind, gates),
    "image": cast(DataKind, image),
    "table": cast(DataKind, table),
}


@dataclass(frozen=True)
class Recognised:
    """What a source is and why."""

    kind: DataKind
    reason: str


def recognise(source: Source, named: str = "") -> Recognised:
    """The data kind of a source, or the one the user named.

    Raises:
        InputError: no kind claims the source; lists what is accepted.
    """
    if named:
        if named not in KINDS:
            raise InputError(f"data.kind is {named!r}; {nearest(named, tuple(KINDS))}")
        return Recognised(KINDS[named], "you said so")
    probe = next(iter(source.parts.values())) if source.parts else source
    for kind in KINDS.values():
        reason = kind.recognises(probe)
        if reason:
            return Recognised(kind, reason)
    raise InputError(
        f"{source.original or 'this data'} is not recognised. Expected a table (CSV, TSV, Parquet, JSONL; also .gz), "
        "a folder of class folders with images, arrays (.npz, idx), a truth table (or, and, nand, xor) or the name of "
        "a known data set (chainrule datasets)"
    )


def default_model(kind: DataKind, schema: Any) -> str:
    """The model that ``fit`` takes for this data where none is named."""
    if kind.NAME == "image":
        return "resnet9" if max(schema.size_px) <= 64 else "resnet18"
    return {"gates": "mlp", "table": "tabm"}[kind.NAME]
