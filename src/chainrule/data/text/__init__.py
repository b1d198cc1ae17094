"""Texts with labels: sentences, reviews, messages, each with a class, a number, or any number of labels.

The contract of data/kind.py. Reading lives in read.py, tables.py and files.py, the tokenizer and the length in
schema.py, batches in samples.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW, encode_targets, label_findings
from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget, InputTarget, LabelsTarget
from chainrule.data.text.read import read, read_inputs, recognises
from chainrule.data.text.records import TextRecords
from chainrule.data.text.samples import TextSamples, TokensFront
from chainrule.data.text.schema import TextSchema, learn_schema, load_schema
from chainrule.data.tokens import BEGIN, PAD, UNKNOWN, words_of
from chainrule.errors import InputError

__all__ = [
    "AUGMENT", "GIVES", "NAME", "TextAugmentConfig", "TextRecords", "TextSamples", "TextSchema", "aligned", "augment",
    "classical", "columns", "encode", "findings", "front", "input_names", "learn_schema", "load_schema", "mismatches",
    "picture", "pieces", "read", "read_inputs", "recognises", "show", "sizes", "target_of", "usual_settings",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextAugmentConfig:
    """What happens to a training batch of texts."""

    word_dropout: float = 0.3  # share of tokens that are read as an unknown one

    def __post_init__(self) -> None:
        if not 0 <= self.word_dropout < 1:
            raise InputError(f"augment.word_dropout is a share from 0 to below 1, got {self.word_dropout}")


NAME = "text"
GIVES = ("tokens",)
AUGMENT = TextAugmentConfig
SHOWN = 600  # characters of a text in the report
EVEN = 0.5  # of an equal share that the rarest class has where accuracy chooses the weights
MANY_UNKNOWN = 0.3  # share of unknown tokens from which a text's answer means little


def target_of(records: TextRecords) -> str:
    """The label's column; "" where folders or files are the labels."""
    return records.store.label_name if records.store.columns else ""


def findings(records: TextRecords) -> list[Finding]:
    """How it was read, how long texts are, empty ones, and classes with a single text."""
    sizes = np.array([len(words_of(text)) for text in records.texts], dtype=np.int64)
    low, middle, high = np.percentile(sizes, (0, 50, 100)).astype(int).tolist()
    found = [*records.store.notes]
    found.append(Finding("note", f"texts of {low:,} to {high:,} words, half of them up to {middle:,}"))
    if isinstance(records.labels, np.ndarray) and records.labels.dtype.kind == "U":
        found += label_findings(records.labels, "text")
    return found


def encode(records: TextRecords, schema: TextSchema) -> TextSamples:
    """Ids of each text, at most ``schema.max_tokens``, and targets; a text without tokens is one unknown token.

    What is to be built again begins with BEGIN.

    Raises:
        InputError: a label the schema does not know.
    """
    nothing = np.array([UNKNOWN], np.int32)
    texts = records.texts
    encoded = [ids[: schema.max_tokens] if len(ids) else nothing for ids in schema.tokenizer.encode_all(texts)]
    if isinstance(schema.target, InputTarget):
        encoded = [np.append(np.int32(BEGIN), ids) for ids in encoded]
    return TextSamples(encoded, _targets(records, schema), records.ids, texts)


def _targets(records: TextRecords, schema: TextSchema) -> Tensor | None:
    if not isinstance(schema.target, LabelsTarget):
        return encode_targets(records.labels, schema.target)
    if records.labels is None:
        return None
    index = {name: place for place, name in enumerate(schema.target.classes)}
    targets = torch.zeros(len(records), len(index))
    for row, cell in enumerate(records.labels.tolist()):
        for name in filter(None, str(cell).split(schema.separator)):
            if name not in index:
                known = ", ".join(map(repr, schema.target.classes[:50]))
                raise InputError(f"unknown label {name!r} in {records.ids[row]}; known labels: {known}")
            targets[row, index[name]] = 1
    return targets


def mismatches(records: TextRecords, schema: TextSchema) -> list[Finding]:
    """Texts that are cut, and texts of which the network knows few words."""
    encoded = schema.tokenizer.encode_all(records.texts)
    cut = [place for place, ids in enumerate(encoded) if len(ids) > schema.max_tokens]
    strange = [place for place, ids in enumerate(encoded) if not len(ids) or (ids == UNKNOWN).mean() > MANY_UNKNOWN]
    found, ids = [], records.ids
    if cut:
        most = max(len(one) for one in encoded)
        text = f"{len(cut):,} texts are cut after {schema.max_tokens} tokens; the longest has {most:,}"
        found.append(Finding("warning" if len(cut) > 0.05 * len(records) else "note", text, _first(ids, cut)))
    if strange:
        text = f"{len(strange):,} texts hold more than {MANY_UNKNOWN:.0%} words that do not stand in train"
        found.append(Finding("warning" if len(strange) > 0.1 * len(records) else "note", text, _first(ids, strange)))
    return found


def _first(ids: list[str], places: list[int]) -> tuple[str, ...]:
    return tuple(ids[place] for place in places[:FEW])


def aligned(records: TextRecords, schema: TextSchema) -> TextRecords:
    """The records: labels are spelt in one way."""
    return records


def columns(records: TextRecords, schema: TextSchema) -> dict[str, NDArray[Any]]:
    """Texts have no single columns."""
    return {}


def classical(batch: Batch, schema: TextSchema) -> dict[str, NDArray[Any]]:
    """Nothing: the baselines see the texts themselves."""
    return {}


def sizes(schema: TextSchema, takes: str) -> dict[str, Any]:
    """``vocab_size``, the number of different tokens; ``steps`` of a row that is built again, BEGIN among them."""
    built = {"steps": schema.max_tokens + 1} if isinstance(schema.target, InputTarget) else {}
    return {"vocab_size": len(schema.tokenizer), **built}


def input_names(schema: TextSchema, takes: str) -> list[str]:
    """Tokens stand at no fixed place."""
    return []


def front(schema: TextSchema, takes: str) -> nn.Module:
    """The module that hands ids and lengths on."""
    if takes not in GIVES:
        raise InputError(f"a network that takes {takes!r} cannot be given texts; choose one that takes tokens")
    return TokensFront()


def pieces(schema: TextSchema, takes: str) -> int:
    """1: a text is seen whole."""
    return 1


def usual_settings(schema: TextSchema, takes: str, rows: int) -> dict[str, Any]:
    """Averaged weights; the best ones by accuracy where classes are even: nats of few texts turn up long before it.

    What is to be built again is read as it is.
    """
    if isinstance(schema.target, InputTarget):
        return {"augment.word_dropout": 0.0}
    found: dict[str, Any] = {"train.average": 0.99}
    target = schema.target
    if isinstance(target, ClassTarget) and min(target.counts) * len(target.classes) >= EVEN * sum(target.counts):
        found["task.monitor"] = "accuracy"
    return found


def augment(batch: Batch, generator: torch.Generator, config: TextAugmentConfig) -> Batch:
    """The batch with a share of its tokens turned into unknown ones, which also teaches what an unknown one means."""
    if not config.word_dropout:
        return batch
    ids, lengths = batch.inputs
    draws = torch.rand(ids.shape, generator=generator, device=generator.device).to(ids.device)
    hidden = (draws < config.word_dropout) & (ids != PAD)
    return Batch((torch.where(hidden, UNKNOWN, ids), lengths), batch.targets, batch.ids, batch.mask, batch.mixed)


def show(records: TextRecords, row: int) -> Shown:
    """The text, shortened, and its label."""
    text, labels = records.store.texts[int(records.rows[row])], records.labels
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return Shown({"text": shown} | ({} if labels is None else {records.store.label_name: str(labels[row])}))


def picture(batch: Batch, row: int, schema: TextSchema) -> None:
    """None: texts are no picture."""
    return
