"""Text to continue: running text, or documents, of which a network learns the next token.

The contract of data/kind.py. Reading lives in read.py, records in records.py, the vocabulary in schema.py, windows in
samples.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data.corpus.read import read, recognises
from chainrule.data.corpus.records import CorpusRecords, lines, running
from chainrule.data.corpus.samples import CorpusSamples, StreamFront
from chainrule.data.corpus.schema import NAME, CorpusSchema, learn_schema, load_schema
from chainrule.data.kind import Finding, Shown
from chainrule.data.order import generator_of, iterations_per_epoch
from chainrule.data.samples import Batch
from chainrule.data.tokens import END, UNKNOWN
from chainrule.errors import InputError

__all__ = [
    "AUGMENT", "GIVES", "NAME", "CorpusRecords", "CorpusSamples", "CorpusSchema", "aligned", "augment", "classical",
    "columns", "encode", "findings", "front", "input_names", "learn_schema", "load_schema", "mismatches", "picture",
    "pieces", "read", "read_inputs", "recognises", "show", "sizes", "target_of", "usual_settings",
]  # fmt: skip

GIVES = ("stream",)
AUGMENT = None
FEW = 5  # things named in a finding
SHOWN = 400  # characters of a record in the report
SEEN = 16_000_000  # tokens that a usual run sees, one epoch after the other
FEWEST_EPOCHS, MOST_EPOCHS = 1, 50
FEWEST_STEPS, MOST_OF_SHORT = 1000, 300  # steps that a short text is learned in as well, and epochs that it may take
BATCHES = ((2_000_000, 16), (20_000_000, 32))  # windows of a batch below so many tokens of train
LARGE_BATCH = 64


def target_of(records: CorpusRecords) -> str:
    """A text names no target."""
    return ""


def read_inputs(inputs: Sequence[Any], schema: CorpusSchema) -> CorpusRecords:
    """A language model does not answer for a text, it goes on with it.

    Raises:
        InputError: always, with the verb that is meant.
    """
    raise InputError(
        "a language model goes on with a text instead of answering for it: chainrule generate RUN --prompt TEXT; how "
        "well it expects a text is told by: chainrule evaluate RUN FILE.txt"
    )


def findings(records: CorpusRecords) -> list[Finding]:
    """How much text it is, how it was read, and documents that occur more than once."""
    notes = [Finding("note", note) for note in records.store.notes]
    size = f"{records.num_characters:,} characters, {len(set().union(*records.texts())):,} different"
    if not records.documents:
        text = records.joined()
        longest = max(map(len, text.split("\n")))
        return [*notes, Finding("note", f"{size}, in {text.count(chr(10)) + 1:,} lines of up to {longest:,}")]
    notes.append(Finding("note", f"{size}, in {len(records):,} documents"))
    often = [(one, count) for one, count in Counter(records.texts()).most_common() if count > 1]
    if often:
        again = sum(count - 1 for _, count in often)
        told = tuple(one[:40] for one, _ in often[:FEW])
        text = f"{again:,} of {len(records):,} documents repeat another one; short ones do so by nature and are kept"
        notes.append(Finding("note", text, told))
    return notes


def encode(records: CorpusRecords, schema: CorpusSchema) -> CorpusSamples:
    """One row of ids, begun by the end of what came before; documents in one shuffled order, an end after each."""
    records = aligned(records, schema)
    found = schema.tokenizer.encode_all(records.texts())
    end = np.array([END], np.int32)
    if schema.documents:
        places = torch.randperm(len(found), generator=generator_of(0, len(found))).tolist()
        found = [part for place in places for part in (found[place], end)]
    dtype = np.uint16 if len(schema.tokenizer) <= 1 << 16 else np.int32
    return CorpusSamples(np.concatenate((end, *found)).astype(dtype), schema.window, schema.tokenizer.sizes())


def mismatches(records: CorpusRecords, schema: CorpusSchema) -> list[Finding]:
    """Characters that the vocabulary does not have."""
    if schema.tokenizer.scheme != "characters":
        return []
    text = "".join(records.texts())
    unknown = Counter({character: text.count(character) for character in set(text) - set(schema.tokenizer.tokens)})
    if not unknown:
        return []
    told = tuple(repr(character) for character, _ in unknown.most_common(FEW))
    count = f"{unknown.total():,} characters, {len(unknown):,} different, do not stand in train"
    return [Finding("warning", f"{count}: the network knows them as {schema.tokenizer.tokens[UNKNOWN]}", told)]


def aligned(records: CorpusRecords, schema: CorpusSchema) -> CorpusRecords:
    """Records of the schema's form: a text read as lines that runs on, or the other way round, is cut anew."""
    if records.documents == schema.documents:
        return records
    text, notes = records.joined(), records.store.notes
    return lines(text, notes) if schema.documents else running(text, notes)


def columns(records: CorpusRecords, schema: CorpusSchema) -> dict[str, NDArray[Any]]:
    """Texts have no columns."""
    return {}


def classical(batch: Batch, schema: CorpusSchema) -> dict[str, NDArray[Any]]:
    """Nothing: counts of n-grams see the tokens themselves."""
    return {}


def sizes(schema: CorpusSchema, takes: str) -> dict[str, Any]:
    """``vocab_size``."""
    return {"vocab_size": len(schema.tokenizer)}


def input_names(schema: CorpusSchema, takes: str) -> list[str]:
    """Places in a text have no names."""
    return []


def front(schema: CorpusSchema, takes: str) -> nn.Module:
    """The module from a batch's inputs to (ids (B T), rows (B,))."""
    return StreamFront()


def pieces(schema: CorpusSchema, takes: str) -> int:
    """Windows are whole."""
    return 1


def usual_settings(schema: CorpusSchema, takes: str, rows: int) -> dict[str, Any]:
    """Windows of a batch, and epochs by which some 16 million tokens are seen: 1 to 50, up to 300 of a short text."""
    batch_size = next((size for most, size in BATCHES if schema.tokens < most), LARGE_BATCH)
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(SEEN / max(1, schema.tokens))))
    per_epoch = iterations_per_epoch(-(-schema.tokens // schema.window), batch_size)
    epochs = max(epochs, min(MOST_OF_SHORT, FEWEST_STEPS // max(1, per_epoch)))
    return {"train.batch_size": batch_size, "train.epochs": epochs}


def augment(batch: Batch, generator: torch.Generator, config: Any) -> Batch:
    """The batch as it is."""
    return batch


def show(records: CorpusRecords, row: int) -> Shown:
    """The beginning of a record."""
    text = records.text(row)
    return Shown({"text": text[:SHOWN] + (" ..." if len(text) > SHOWN else "")})


def picture(batch: Batch, row: int, schema: CorpusSchema) -> None:
    """There is nothing to see."""
