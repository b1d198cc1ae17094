"""Parallel text: sentences and their translations, line by line.

The contract of data/kind.py. Sources are read in read.py and lines.py, tokenizers are learned in schema.py, batches
are made in samples.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data import delimited
from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding, Shown
from chainrule.data.parallel.lines import FEW, MOST_CHARACTERS, read_lines
from chainrule.data.parallel.read import TABLES, read, read_table, recognises
from chainrule.data.parallel.records import PairStore, ParallelRecords
from chainrule.data.parallel.samples import PairFront, ParallelSamples
from chainrule.data.parallel.schema import ParallelSchema, learn_schema, lengths_of, load_schema
from chainrule.data.samples import Batch
from chainrule.data.sources import path_or_text
from chainrule.data.tokens import END, UNKNOWN
from chainrule.errors import InputError

__all__ = [
    "AUGMENT", "GIVES", "NAME", "ParallelRecords", "ParallelSamples", "ParallelSchema", "aligned", "augment",
    "classical", "columns", "encode", "findings", "front", "input_names", "learn_schema", "load_schema", "mismatches",
    "picture", "pieces", "read", "read_inputs", "recognises", "show", "sizes", "target_of", "usual_settings",
]  # fmt: skip

NAME = "parallel"
GIVES = ("pair",)
AUGMENT = None


def target_of(records: ParallelRecords) -> str:
    """The language or column that is translated into."""
    return records.store.target_name


def read_inputs(inputs: Sequence[Any], schema: ParallelSchema) -> ParallelRecords:
    """Sentences to be translated, in their order: texts, files with one a line, tables with a column of the same name.

    Empty lines stay, so that answers are as many as lines.

    Raises:
        InputError: nothing came, a file that is not there, or a table without the column.
    """
    texts, notes = list[str](), list[Finding]()
    for one in inputs:
        if not isinstance(one, str | Path):
            raise InputError(f"a {type(one).__name__} is no sentence; give texts or files with a sentence a line")
        lines, more = _input_lines(one, schema)
        texts += lines
        notes += more
    if not texts:
        raise InputError("no sentence came; give texts or files with a sentence a line")
    long = [place + 1 for place, text in enumerate(texts) if len(text) > MOST_CHARACTERS]
    if long:
        where = tuple(f"sentence {place}" for place in long[:FEW])
        notes.append(Finding("warning", f"{len(long)} sentences are cut to {MOST_CHARACTERS:,} characters", where))
    numbers = np.arange(1, len(texts) + 1, dtype=np.int64)
    cut = [text[:MOST_CHARACTERS] for text in texts]
    target = "" if schema.target is None else schema.target.name
    return ParallelRecords.of(PairStore(schema.source, target, cut, None, numbers, "sentence", tuple(notes)))


def _input_lines(one: str | Path, schema: ParallelSchema) -> tuple[list[str], list[Finding]]:
    path = path_or_text(one)
    if path is None:
        return [line.strip() for line in str(one).split("\n")], []
    if not path.is_file():
        raise InputError(f"{path} is a folder; give the file with a sentence a line")
    if delimited.suffix(path) not in TABLES:
        return read_lines(path)
    frame, notes = read_table(path, DataConfig(source=schema.source))
    if schema.source not in frame.columns:
        raise InputError(f"{path.name} has no column {schema.source!r}; it has {', '.join(frame.columns[:20])}")
    return [" ".join(str(cell or "").split()) for cell in frame[schema.source].to_list()], notes


def findings(records: ParallelRecords) -> list[Finding]:
    """What was left out, replaced or odd when the sentences were read."""
    return list(records.store.notes)


def encode(records: ParallelRecords, schema: ParallelSchema) -> ParallelSamples:
    """Tokens of both sides, cut to the schema's length; the end stands after what is whole."""
    most = schema.max_tokens
    sources = [_ended(ids[:most]) for ids in schema.source_tokens.encode_all(records.sources)]
    if records.store.targets is None:
        return ParallelSamples(sources, None, [b""] * len(records), records.ids)
    encoded = schema.target_tokens.encode_all(records.targets)
    targets = [_ended(ids) if len(ids) <= most else ids[:most] for ids in encoded]
    references = [text.encode("utf-8", "replace") for text in records.targets]
    return ParallelSamples(sources, targets, references, records.ids)


def _ended(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.append(ids, np.int32(END))


def mismatches(records: ParallelRecords, schema: ParallelSchema) -> list[Finding]:
    """Tokens that the train split does not have, and sentences that are cut."""
    found = []
    sides = [(schema.source, schema.source_tokens, records.sources)]
    if schema.target is not None and records.store.targets is not None:
        sides.append((schema.target.name, schema.target_tokens, records.targets))
    for name, tokens, texts in sides:
        encoded = tokens.encode_all(texts)
        unknown = np.array([int((ids == UNKNOWN).sum()) for ids in encoded], dtype=np.int64)
        if unknown.any():
            total = sum(map(len, encoded))
            text = f"{unknown.sum():,} of {total:,} tokens in {name} ({unknown.sum() / total:.1%}) are unknown"
            found.append(Finding("note", text, _where(records, unknown > 0)))
        cut = lengths_of(tokens, texts) > schema.max_tokens
        if cut.any():
            text = f"{cut.sum():,} sentences in {name} are cut to {schema.max_tokens} tokens"
            found.append(Finding("warning", text, _where(records, cut)))
    return found


def _where(records: ParallelRecords, rows: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(records.ids[int(place)] for place in np.flatnonzero(rows)[:FEW])


def aligned(records: ParallelRecords, schema: ParallelSchema) -> ParallelRecords:
    """The records: sentences are spelt in one way."""
    return records


def columns(records: ParallelRecords, schema: ParallelSchema) -> dict[str, NDArray[Any]]:
    """Sentences have no columns."""
    return {}


def classical(batch: Batch, schema: ParallelSchema) -> dict[str, NDArray[Any]]:
    """Nothing: the baselines of translation read the tokens (evaluate/translation_baselines.py)."""
    return {}


def sizes(schema: ParallelSchema, takes: str) -> dict[str, Any]:
    """``source_vocab_size`` and ``vocab_size``."""
    return {"source_vocab_size": len(schema.source_tokens), "vocab_size": len(schema.target_tokens)}


def input_names(schema: ParallelSchema, takes: str) -> list[str]:
    """Tokens have no names as features."""
    return []


def front(schema: ParallelSchema, takes: str) -> nn.Module:
    """The module that gives the network source tokens, their numbers, and target tokens."""
    if takes not in GIVES:
        raise InputError(f"a network that takes {takes!r} cannot be given parallel text; choose one that takes pair")
    return PairFront()


def pieces(schema: ParallelSchema, takes: str) -> int:
    """1: a sentence is seen whole."""
    return 1


def usual_settings(schema: ParallelSchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the network's own are right."""
    return {}


def augment(batch: Batch, generator: torch.Generator, config: None) -> Batch:
    """The batch as it is."""
    return batch


def show(records: ParallelRecords, row: int) -> Shown:
    """The sentence and its translation."""
    one = records.select(np.array([row]))
    values = {one.store.source_name: one.sources[0]}
    return Shown(values | ({one.store.target_name: one.targets[0]} if one.targets else {}))


def picture(batch: Batch, row: int, schema: ParallelSchema) -> None:
    """None: sentences are no picture."""
    return
