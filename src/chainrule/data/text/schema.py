"""What is remembered of labelled texts: the tokenizer, the length and the labels, learned on the train split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.labels import embedding_target, input_target
from chainrule.data.schema import (
    ClassTarget,
    EmbeddingTarget,
    InputTarget,
    LabelsTarget,
    NumberTarget,
    from_json,
    infer_target,
)
from chainrule.data.text.records import TextRecords
from chainrule.data.tokens import SPECIALS, Tokenizer, learn_tokenizer, words_of
from chainrule.errors import InputError

WORDS, PIECES = 30_000, 8_000  # tokens at most, of words and of bpe
FEW_WORDS = 200  # known words below which those that come once are kept as well
LONG_WORDS = 15  # letters; a text that mostly has such long words has no spaces between its words
SPREAD = 99  # of a hundred texts are not cut
FEWEST, MOST = 16, 1000  # tokens up to which a text is read, unless data.max_tokens says it
BUILT_TOKENS, BUILT_WORDS = (
    64,
    8_000,
)  # the same of a text that is built again, and words: each place has a logit of each
LEAST_RARE = 2  # how often a word must come to be known
MANY, LONE = 20, 0.5  # texts from which on so large a share of classes with one text is a mistake


@dataclass(frozen=True, kw_only=True)
class TextSchema:
    """How a text becomes ids, and outputs answers."""

    kind: Literal["text"] = "text"
    format: int = 1
    names: tuple[str, ...]  # the source's columns that are used: texts, then the label
    columns: tuple[str, ...]  # of texts; (): they came from files or lists
    header: bool
    files: bool  # whether each text was a file of its own
    rows: int  # of the train split
    tokenizer: Tokenizer
    max_tokens: int  # longer texts are cut
    separator: str = ""  # between the labels of a cell
    target: ClassTarget | NumberTarget | LabelsTarget | InputTarget | EmbeddingTarget | None
    notes: tuple[str, ...] = ()


def learn_schema(train: TextRecords, options: DataConfig) -> TextSchema:
    """The words, the length and the labels of the train split.

    Raises:
        InputError: no labels, labels the task cannot be done on, or a setting out of range.
    """
    store, labels = train.store, train.labels
    built = options.task == "reconstruct"
    target: ClassTarget | NumberTarget | LabelsTarget | InputTarget | EmbeddingTarget | None
    target, why = None, ""
    if options.task == "embed":
        target, why = embedding_target(labels, store.label_name)
    elif labels is not None and not built:
        target, why = _target(labels, store.label_name, options)
    texts = train.texts
    tokenizer, told = _tokenizer(texts, options)
    sizes = np.array([len(ids) for ids in tokenizer.encode_all(texts)], dtype=np.int64)
    longest, cut = _longest(sizes, options.max_tokens, BUILT_TOKENS if built else MOST)
    if built:
        target = input_target(
            labels, store.label_name, options, name="the text", form="tokens", vocab_size=len(tokenizer)
        )
    names = tuple(n for n in (*store.columns, store.label_name) if n) if store.columns else ()
    return TextSchema(
        names=names, columns=store.columns, header=store.header, files=not store.columns and not store.lines,
        rows=len(train), tokenizer=tokenizer, max_tokens=longest, separator=options.labels, target=target,
        notes=tuple(filter(None, (why, told, cut))),
    )  # fmt: skip


def _target(
    labels: NDArray[Any], name: str, options: DataConfig
) -> tuple[ClassTarget | NumberTarget | LabelsTarget, str]:
    if options.labels:
        return labels_target(labels, name, options.labels)
    if options.task == "multilabel":
        raise InputError(
            f"--task multilabel: say what stands between the labels of {name!r} with --set data.labels=';'"
        )
    target, why = infer_target(labels, name, options.task)
    assert isinstance(target, ClassTarget | NumberTarget)
    if isinstance(target, ClassTarget) and len(labels) >= MANY and target.counts.count(1) > LONE * len(labels):
        raise InputError(
            f"{target.counts.count(1):,} of {len(labels):,} texts to learn from have a {name!r} of their own, such as "
            f"{target.classes[0]!r}; a class is learned from several texts. Name the column of classes with --target; "
            "where a cell holds several labels, say what stands between them with --set data.labels=';'"
        )
    return target, why


def labels_target(labels: NDArray[Any], name: str, separator: str) -> tuple[LabelsTarget, str]:
    """The names that cells of several labels hold, in alphabetical order.

    Raises:
        InputError: fewer than two names, or no cell that holds several.
    """
    counts = Counter(label for cell in labels.tolist() for label in str(cell).split(separator) if label)
    if len(counts) < 2:
        raise InputError(f"the target {name!r} holds {len(counts)} labels ({', '.join(counts)}); expected two or more")
    several = sum(separator in str(cell).strip(separator) for cell in labels.tolist())
    if not several:
        raise InputError(
            f"data.labels is {separator!r}, but no cell of {name!r} holds several labels with it between them, such as "
            f"{str(labels[0])!r}; leave data.labels out where each row has one label"
        )
    classes = tuple(sorted(counts))
    target = LabelsTarget(name=name, classes=classes, counts=tuple(counts[c] for c in classes))
    return target, f"{len(classes)} labels, several of them in {several:,} of {len(labels):,} rows"


def _tokenizer(texts: list[str], options: DataConfig) -> tuple[Tokenizer, str]:
    scheme, why = options.tokenizer, ""
    if not scheme:
        some = [word for text in texts[:: max(1, len(texts) // 1000)] for word in words_of(text)]
        long = 2 * sum(len(word) for word in some if len(word) >= LONG_WORDS) > sum(map(len, some))
        scheme = "bpe" if long else "words"
        why = "there are hardly any spaces between words" if long else ""
    words = BUILT_WORDS if options.task == "reconstruct" else WORDS
    size = options.vocab_size or {"words": words, "bpe": PIECES}.get(scheme, 0)
    tokenizer = learn_tokenizer(texts, scheme, size, lower=True, least=LEAST_RARE if scheme == "words" else 1)
    rare = f"words that come in train {LEAST_RARE} times or more"
    if scheme == "words" and len(tokenizer) < FEW_WORDS:
        tokenizer, rare = learn_tokenizer(texts, scheme, size, lower=True), "words, all of train"
    known = f"{len(tokenizer) - len(SPECIALS):,}"
    of = {"words": f"{known} {rare}", "bpe": f"{known} pieces of words", "characters": f"{known} characters"}[scheme]
    told = f"texts are read as {of}, in small letters{', because ' + why if why else ''}"
    return tokenizer, f"{told} (change: --set data.tokenizer=words, bpe or characters)"


def _longest(sizes: NDArray[np.int64], wanted: int, most: int) -> tuple[int, str]:
    if wanted < 0:
        raise InputError(f"data.max_tokens must be 0 (found) or more, got {wanted}")
    if wanted:
        return wanted, ""
    longest = int(np.clip(np.percentile(sizes, SPREAD, method="lower"), FEWEST, most))
    cut = int((sizes > longest).sum())
    if not cut:
        return longest, ""
    of = f"{cut:,} of {len(sizes):,} texts to learn from are longer, up to {int(sizes.max()):,}"
    return longest, f"texts are read up to {longest} tokens (data.max_tokens): {of}"


def load_schema(data: Mapping[str, Any]) -> TextSchema:
    """The schema back from JSON.

    Raises:
        InputError: an unknown or absent key, or a newer format.
    """
    return from_json(TextSchema, data)
