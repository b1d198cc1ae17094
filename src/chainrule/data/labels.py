"""Labels of files and arrays that hold one each: the target they ask for, as tensors, and what is odd about them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.media import label_reason
from chainrule.data.schema import (
    ClassTarget,
    EmbeddingTarget,
    IdentityTarget,
    InputTarget,
    NumberTarget,
    Target,
    class_names,
    infer_target,
)
from chainrule.data.transcripts import are_texts
from chainrule.errors import InputError

FEW = 5


def target_of_labels(
    labels: NDArray[Any] | None, label_name: str, task: str, first_id: str, noun: str, accepted: str,
    label_pattern: str = "",
) -> tuple[Target, str]:  # fmt: skip
    """The target of a train split and why, in words; numbers that count classes are classes.

    Args:
        first_id: the first record, named where there are no labels.
        noun: what is labelled, plural: "images".
        accepted: the forms of source that have labels, for the message.
        label_pattern: what found the labels in file names, if that is where they come from.

    Raises:
        InputError: no labels, one class only, or labels the task cannot be done on.
    """
    if task == "embed":
        return embedding_target(labels, label_name)
    if labels is None:
        raise InputError(f"the {noun}, the first {first_id!r}, have no labels or class folders; {accepted}")
    names = class_names(labels)
    if len(set(names.tolist())) == 1:
        raise InputError(
            f"all {len(labels)} {noun} to learn from are of one class, {str(names[0])!r}; at least two are needed: one "
            f"folder, or one value of the label, per class"
        )
    if label_pattern and task == "regress":
        labels = numbers_of(labels, label_pattern)
    target, reason = infer_target(labels, label_name, task or ("classify" if are_class_numbers(labels) else ""))
    return target, "; ".join(filter(None, (reason, label_reason(label_pattern))))


def counted(labels: NDArray[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of labels, numbers in their order, and how many of each; missing ones are passed over."""
    counts = Counter(name for name in class_names(labels).tolist() if name)
    numbers = all(name.lstrip("+-").isdigit() for name in counts)
    names = sorted(counts, key=int) if numbers else sorted(counts)
    return tuple(names), tuple(counts[name] for name in names)


def embedding_target(labels: NDArray[Any] | None, label_name: str) -> tuple[EmbeddingTarget, str]:
    """A place near to what has the same label, or what looks alike where there are none; and why, in words."""
    if labels is None:
        return EmbeddingTarget(), "no labels: what is alike is found by how things look"
    classes, counts = counted(labels)
    if len(classes) < 2:
        return EmbeddingTarget(), "one class only: what is alike is found by how things look"
    return EmbeddingTarget(name=label_name, classes=classes, counts=counts), "alike is what has the same label"


def input_target(labels: NDArray[Any] | None, label_name: str, options: DataConfig, **what: Any) -> InputTarget:
    """The input itself; labels, where there are any, only judge. ``what``: fields of the target, ``form`` among them.

    Raises:
        InputError: data.normal names classes, but there are no labels.
    """
    if labels is None:
        return InputTarget(**what)
    classes = options.normal or counted(labels)[0]
    return InputTarget(label=label_name, classes=classes, normal=bool(options.normal), **what)


def numbers_of(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Labels as numbers, those that came as words read.

    Raises:
        InputError: words that are no numbers.
    """
    if labels.dtype.kind in "biuf":
        return labels
    try:
        return labels.astype(np.float64)
    except (TypeError, ValueError):
        words = [str(label) for label in labels.tolist() if not _is_number(label)]
        raise InputError(
            f"a number is to be learned, but {where!r} gives {', '.join(map(repr, words[:FEW]))}; use --task classify"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def are_class_numbers(labels: NDArray[Any]) -> bool:
    """Whether whole numbers count classes: 0 (or 1) to K without a gap, five records of each on average."""
    if labels.dtype.kind not in "iu":
        return False
    distinct = np.unique(labels)
    return (
        distinct[0] in (0, 1)
        and int(distinct[-1] - distinct[0]) == len(distinct) - 1
        and len(labels) >= 5 * len(distinct)
    )


def encode_targets(labels: NDArray[Any] | None, target: Target | None) -> Tensor | None:
    """Class indices (int64) or numbers (float32) as the schema has them; None where there is nothing to answer.

    Where labels only say what is alike (embeddings, people, inputs) unknown ones get the next indices, in order.

    Raises:
        InputError: a label the schema does not know.
    """
    if labels is None or target is None:
        return None
    if isinstance(target, NumberTarget):
        return torch.from_numpy(numbers_of(labels, target.name).astype(np.float32))
    if isinstance(target, InputTarget | EmbeddingTarget) and not target.classes:
        return None
    assert isinstance(target, ClassTarget | InputTarget | EmbeddingTarget | IdentityTarget)
    names = class_names(labels)
    index = {name: place for place, name in enumerate(target.classes)}
    unknown = sorted({str(name) for name in names} - set(index))
    if unknown and not isinstance(target, ClassTarget):
        index |= {name: len(index) + place for place, name in enumerate(unknown)}
    elif unknown:
        raise InputError(
            f"unknown class {', '.join(map(repr, unknown[:FEW]))} in {target.name!r}; known classes: "
            f"{', '.join(map(repr, target.classes[:50]))}"
        )
    return torch.tensor([index[name] for name in names.tolist()], dtype=torch.int64)


def label_findings(labels: NDArray[Any] | None, noun: str) -> list[Finding]:
    """Classes with a single record; ``noun`` names one: "image"."""
    if labels is None or (labels.dtype.kind in "iuf" and not are_class_numbers(labels)) or are_texts(labels):
        return []
    lone = [name for name, count in Counter(class_names(labels).tolist()).items() if name and count == 1]
    return [Finding("warning", f"{len(lone)} classes with a single {noun}", tuple(lone[:FEW]))] if lone else []
