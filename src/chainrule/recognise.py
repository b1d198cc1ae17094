"""From a source to its data kind and default model, with the reason. The order is literal: the first claim wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from chainrule.data.kind import DataKind
from chainrule.data.misplaced import refuse_missing, refuse_mixture
from chainrule.data.schema import InputTarget, TranscriptTarget
from chainrule.data.sources import Source
from chainrule.errors import InputError, nearest

KINDS = ("gates", "mask", "image", "audio", "video", "parallel", "text", "series", "table", "corpus")
KIND_OF_TASK = {
    "segment": "mask", "language": "corpus", "translate": "parallel", "forecast": "series", "transcribe": "audio",
    "verify": "faces",
}  # fmt: skip
ROW_TASKS = ("classify", "regress")  # of which each row of a table is one answer
PLACED = ("image", "audio", "video", "text")  # kinds whose rows get embeddings
WHOLE_TASKS = (*ROW_TASKS, "reconstruct", "embed")  # which pass over the masks of images


@dataclass(frozen=True)
class Recognised:
    """What a source is and why."""

    kind: DataKind
    reason: str


def find_kind(name: str) -> DataKind:
    """The data kind of that name; imported here, because reading tables costs half a second that gates need not pay.

    Raises:
        InputError: there is no such kind; names the nearest.
    """
    if name == "gates":
        from chainrule.data import gates as kind
    elif name == "mask":
        from chainrule.data import mask as kind  # type: ignore[no-redef]
    elif name == "image":
        from chainrule.data import image as kind  # type: ignore[no-redef]
    elif name == "audio":
        from chainrule.data import audio as kind  # type: ignore[no-redef]
    elif name == "video":
        from chainrule.data import video as kind  # type: ignore[no-redef]
    elif name == "parallel":
        from chainrule.data import parallel as kind  # type: ignore[no-redef]
    elif name == "text":
        from chainrule.data import text as kind  # type: ignore[no-redef]
    elif name == "table":
        from chainrule.data import table as kind  # type: ignore[no-redef]
    elif name == "series":
        from chainrule.data import series as kind  # type: ignore[no-redef]
    elif name == "corpus":
        from chainrule.data import corpus as kind  # type: ignore[no-redef]
    elif name == "faces":
        from chainrule.data import faces as kind  # type: ignore[no-redef]
    else:
        raise InputError(f"data.kind is {name!r}; {nearest(name, (*KINDS, 'faces'))}")
    return cast(DataKind, kind)


def recognise(source: Source, named: str = "", task: str = "", target: str = "") -> Recognised:
    """The data kind of a source, or the one the user named.

    Some tasks leave only one kind: masks for pixels, series for forecasts, and so on; one of whole images passes masks
    over, and one of rows, or a target alone, takes a series as a table.

    Raises:
        InputError: no kind claims the source, or not the one that the task needs; lists what is accepted.
    """
    refuse_second(source, named or KIND_OF_TASK.get(task, "") or "parallel")
    probe = next(iter(source.parts.values())) if source.parts else source
    if not named and probe.path is not None and probe.path.is_dir():
        refuse_mixture(probe.path)
    named = named or KIND_OF_TASK.get(task, "") or ("parallel" if source.second else "")
    for name in (named,) if named else KINDS:
        kind = find_kind(name)
        reason = kind.recognises(probe) or _labelled_series(name, probe, task, target)
        if reason and name == "mask" and not named and task in WHOLE_TASKS:
            return Recognised(find_kind("image"), f"{reason}, which --task {task} passes over")
        if reason and name == "series" and not named and (task in ROW_TASKS or (target and not task)):
            why = f"--task {task}" if task in ROW_TASKS else "--target without --horizon"
            return Recognised(find_kind("table"), f"{reason}, which {why} takes as rows of a table")
        if reason and not named and name == "table" and probe.path is not None:
            refuse_missing(probe.path)
        if reason or named:
            return Recognised(kind, reason or "you said so")
    raise InputError(
        f"{source.original or 'this data'} is not recognised. Expected a table (CSV, TSV, Parquet, JSONL; also .gz), "
        "a text (.txt; a folder of them, two files of sentences and their translations), a folder of class folders "
        "with images, sound, videos or texts, a folder of images and masks, arrays (.npz, idx), a "
        "truth table (or, and, nand, xor) or the name of a known data set (chainrule datasets)"
    )


def _labelled_series(kind: str, source: Source, task: str, target: str) -> str | None:
    """Why a source is a series beside the column of labels that judges what is built again; None where it is none."""
    if kind != "series" or task != "reconstruct" or not target:
        return None
    from chainrule.data import series

    return series.recognises(source, target)


def refuse_second(source: Source, kind: str) -> None:
    """Raise InputError where two sources were given to a kind of data that comes in one."""
    if source.second is not None and kind != "parallel":
        raise InputError(
            f"{source.original} and {source.second}: two sources are sentences and their translations, line by "
            f"line; of {kind} data give one"
        )


def refuse_unplaced(kind: DataKind, task: str) -> None:
    """Raise InputError where rows of this kind get no embeddings."""
    if task == "embed" and kind.NAME not in PLACED:
        raise InputError(
            f"--task embed serves {', '.join(PLACED[:-1])} and {PLACED[-1]} data, and this is {kind.NAME} data; where "
            "rows are texts say --set data.kind=text; of tables and series --task reconstruct learns a short code"
        )


def default_model(kind: DataKind, schema: Any) -> str:
    """The model that ``fit`` takes for this data where none is named."""
    if isinstance(schema.target, TranscriptTarget):
        return "lstm_ctc"
    if isinstance(schema.target, InputTarget):
        return "lstm_autoencoder" if kind.NAME in ("series", "text") else "autoencoder"
    if kind.NAME in ("image", "faces"):
        return "resnet9" if max(schema.size_px) <= 64 else "resnet18"
    if kind.NAME == "video":  # three-dimensional windows take hours on a processor: there each frame is seen by itself
        return "resnet18" if torch.cuda.is_available() else "resnet9"
    return {
        "gates": "mlp",
        "table": "tabm",
        "audio": "resnet9",
        "mask": "unet",
        "text": "bag_of_embeddings",
        "corpus": "lstm_lm",
        "parallel": "lstm_attention",
        "series": "dlinear",
    }[kind.NAME]
