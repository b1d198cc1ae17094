"""What a target is: classes in index order, a number, a text, a class for every pixel; and schemas back from JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError, nearest

T = TypeVar("T")
FORMAT = 1  # of schema.json
MAX_LEVELS = 20  # whole numbers with more distinct values are quantities
POSITIVE = {"yes", "y", "true", "positive", "pos", "malignant", ">50k", "present", "abnormal", "churn", "spam", "fraud",
            "default", "died", "disease", "sick"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClassTarget:
    """A target with names. ``classes`` are in index order and are matched by name, never by position."""

    kind: Literal["classes"] = "classes"
    name: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # rows of each class in the train split
    positive: str = ""  # of two classes, the one that roc_auc and sensitivity speak of
    threshold: float = 0.5  # of two classes, the share from which the positive one is answered


@dataclass(frozen=True, kw_only=True)
class NumberTarget:
    """A number, learned in standard units and answered in its own."""

    kind: Literal["number"] = "number"
    name: str
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class MaskTarget:
    """A class for every pixel, and how masks write each class down."""

    kind: Literal["mask"] = "mask"
    name: str = "mask"
    classes: tuple[str, ...]
    levels: tuple[tuple[int, ...], ...]  # what stands in a mask for each class: (255,), or a colour (255, 0, 0)
    pixels: tuple[int, ...]  # of each class in the train split
    ignore: tuple[tuple[int, ...], ...] = ()  # what stands where the answer is not known
    background: int = -1  # the class that is no object; -1: every class is one
    palette: tuple[int, ...] = ()  # red, green, blue of each index, where masks are indices into a palette

    @property
    def foreground(self) -> tuple[int, ...]:
        """The classes that scores are averaged over."""
        return tuple(k for k in range(len(self.classes)) if k != self.background)


@dataclass(frozen=True, kw_only=True)
class LabelsTarget:
    """Any number of names for each row."""

    kind: Literal["labels"] = "labels"
    name: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # rows of each class in the train split
    threshold: float = 0.5  # the share from which a name is answered


@dataclass(frozen=True, kw_only=True)
class TokensTarget:
    """The next token of a text, at every place."""

    kind: Literal["tokens"] = "tokens"
    name: str = "next token"
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class SentenceTarget:
    """A sentence in other words, or in another language."""

    kind: Literal["sentence"] = "sentence"
    name: str
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class TranscriptTarget:
    """What is said, letter by letter. Class 0 of the network's outputs is the blank of CTC, k + 1 is character k."""

    kind: Literal["transcript"] = "transcript"
    name: str
    characters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SeriesTarget:
    """The next values of one or more series, in their own units."""

    kind: Literal["series"] = "series"
    name: str
    names: tuple[str, ...]  # of the columns that are forecast
    horizon: int  # steps ahead
    mean: tuple[float, ...]  # of each column in the train split
    std: tuple[float, ...]
    scale: tuple[float, ...]  # mean absolute error of the seasonal naive forecast on the train split, for MASE
    season: int = 1  # steps of a period; 1: none
    quantiles: tuple[float, ...] = ()  # that are forecast beside the point
    stretch: tuple[float, float] = (0.0, 0.0)  # of the interval's width, added below and above; from the valid split


@dataclass(frozen=True, kw_only=True)
class InputTarget:
    """The input itself, to be built again from a short code. Labels, where there are any, only judge the answers.

    Targets of rows are indices into ``classes``; what is not among them gets the next ones (``encode_targets``).
    """

    kind: Literal["input"] = "input"
    name: str = "the input"
    form: Literal["numbers", "pixels", "tokens"]  # what is built again
    names: tuple[str, ...] = ()  # of the numbers, where they have names
    columns: tuple[str, ...] = ()  # of a table the source's column that each number is from
    mean: tuple[float, ...] = ()  # of a series' columns, or of pixels per channel, in 0..1:
    std: tuple[float, ...] = ()  # network input = (pixel - mean) / std
    vocab_size: int = 0  # of tokens
    window: int = 0  # steps of a series' windows, which overlap
    label: str = ""  # what the labels are called; "": there are none
    classes: tuple[str, ...] = ()  # of the labels in the train split
    normal: bool = False  # only rows of ``classes`` are normal, all others are anomalies
    threshold: float = 0.0  # the score from which a row is called an anomaly; 0: not settled
    false_alarms: float = 0.0  # the share of normal rows that the threshold was set to call so
    moment_threshold: float = 0.0  # the same for single moments of a series
    usual: tuple[float, ...] = ()  # misfit of a number of the train split, of each column that has a name
    code_mean: tuple[float, ...] = ()  # of the train split; (): codes are no part of the score
    code_precision: tuple[tuple[float, ...], ...] = ()  # the inverse of their covariance


@dataclass(frozen=True, kw_only=True)
class EmbeddingTarget:
    """A place among all others, near to what is alike: by their classes, or without any by how things look."""

    kind: Literal["embedding"] = "embedding"
    name: str = "what is alike"
    classes: tuple[str, ...] = ()  # of the train split; (): there are no labels
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IdentityTarget:
    """Who it is. The people of the train split are only examples: others are told apart as well."""

    kind: Literal["identity"] = "identity"
    name: str = "person"
    classes: tuple[str, ...]  # the people of the train split
    counts: tuple[int, ...]  # photos of each
    threshold: float = 0.0  # the likeness (cosine) from which two photos are of one person; from the valid split
    false_accept: float = 0.0  # share of pairs of different people that reach it there
    false_reject: float = 0.0  # share of pairs of one person that do not
    people: int = 0  # of the valid split, on which these were measured; 0: not settled
    photos: int = 0


IGNORE = 255  # among encoded targets of pixels: the answer is not known
Target = (
    ClassTarget | NumberTarget | MaskTarget | LabelsTarget | TokensTarget | SentenceTarget | TranscriptTarget
    | SeriesTarget | InputTarget | EmbeddingTarget | IdentityTarget
)  # fmt: skip


def describe_target(target: Target) -> str:
    """A target in words."""
    if isinstance(target, NumberTarget):
        return f"{target.name!r} (a number, {target.mean:.4g} +- {target.std:.4g})"
    if isinstance(target, TokensTarget):
        return f"the next of {target.vocab_size:,} tokens"
    if isinstance(target, SentenceTarget):
        return f"sentences in {target.name!r} ({target.vocab_size:,} tokens)"
    if isinstance(target, TranscriptTarget):
        return f"{target.name!r} (text of {len(target.characters)} characters)"
    if isinstance(target, SeriesTarget):
        steps = "step" if target.horizon == 1 else f"{target.horizon} steps"
        return f"the next {steps} of {_few(target.names)}"
    if isinstance(target, InputTarget):
        normal = f"; normal is {_few(target.classes)}" if target.normal else ""
        return f"{target.name} itself, through a short code{normal}"
    if isinstance(target, EmbeddingTarget):
        return f"{target.name}{f' ({len(target.classes)} classes: {_few(target.classes)})' if target.classes else ''}"
    if isinstance(target, IdentityTarget):
        return f"{target.name!r} ({len(target.classes)} people to learn from)"
    sort = "labels, several a row" if isinstance(target, LabelsTarget) else "classes"
    return f"{target.name!r} ({len(target.classes)} {sort}: {_few(target.classes)})"


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def class_names(values: NDArray[Any]) -> NDArray[np.str_]:
    """Canonical names of raw labels: 0.0 is "0", True is "True", spaces at the ends go, a missing one is "".

    Example:
        >>> class_names(np.array([0.0, 2.5])).tolist()
        ['0', '2.5']
    """
    if values.dtype.kind in "OUS":
        plain = [v.item() if isinstance(v, np.generic) else v for v in values.tolist()]
        names = {(type(v), v): _class_name(v) for v in plain}
        return np.array([names[type(v), v] for v in plain], dtype=np.str_)
    distinct, place = np.unique(values, return_inverse=True)
    return np.array([_class_name(v) for v in distinct.tolist()], dtype=np.str_)[place.reshape(-1)]


def _class_name(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def infer_target(values: NDArray[Any], name: str, task: str = "") -> tuple[Target, str]:
    """What a target column is, and why in words; missing values are passed over.

    Words, truth values and two distinct values are classes; numbers with fractions are numbers; up to 20 whole numbers
    are classes unless they look like a rating: six or more consecutive levels, few at both ends.

    Args:
        task: "classify" or "regress" decides; anything else leaves it to the values.

    Raises:
        InputError: nothing to learn (no or one value), or values that the task cannot be done on.
    """
    numeric = values.dtype.kind in "iuf"
    values = values if numeric else class_names(values)
    known = values[np.isfinite(values)] if numeric else values[values != ""]
    if not len(known):
        raise InputError(f"the target {name!r} has no known values; expected a label or number in each row")
    distinct, counts = np.unique(known, return_counts=True)
    if len(distinct) == 1:
        only = str(class_names(distinct)[0])
        raise InputError(
            f"all {len(known)} rows to learn from have the target {name!r} = {only!r}; expected at least two values"
        )
    if task == "regress":
        if not numeric:
            found = ", ".join(repr(v) for v in distinct[:5].tolist())
            raise InputError(
                f"--task regress needs numbers, but the target {name!r} holds {found}; use --task classify"
            )
        return _number_target(known, name), "numbers, as asked"
    if task != "classify" and numeric:
        reason = _why_number(distinct, counts)
        if reason:
            return _number_target(known, name), reason
    if numeric and task == "classify" and len(distinct) > max(MAX_LEVELS, len(known) // 2):
        raise InputError(
            f"the target {name!r} has {len(distinct)} distinct numbers in {len(known)} rows, too many to be classes; "
            f"use --task regress"
        )
    return _class_target(distinct, counts, name)


def _number_target(known: NDArray[Any], name: str) -> NumberTarget:
    known = known.astype(np.float64)
    with np.errstate(over="ignore"):
        mean, std = float(known.mean()), float(known.std())
    if not np.isfinite(std):
        raise InputError(f"the target {name!r} reaches {np.abs(known).max():.3g}; expected numbers below 1e30")
    return NumberTarget(name=name, mean=mean, std=std)


def _why_number(distinct: NDArray[Any], counts: NDArray[np.int64]) -> str:
    """Why distinct numbers are no classes; "" where they are."""
    if len(distinct) == 2:
        return ""
    if (distinct != np.round(distinct)).any():
        return f"{len(distinct)} distinct numbers, some with fractions"
    if len(distinct) > MAX_LEVELS:
        return f"{len(distinct)} distinct whole numbers"
    peak = int(counts.argmax())
    consecutive = len(distinct) >= 6 and distinct[-1] - distinct[0] == len(distinct) - 1
    rising = (np.diff(counts[: peak + 1]) >= 0).all() and (np.diff(counts[peak:]) <= 0).all()
    if consecutive and rising and max(counts[0], counts[-1]) < counts[peak] / 2:
        low, high = int(distinct[0]), int(distinct[-1])
        return f"whole numbers {low} to {high}, few at both ends: it looks like a rating; --task classify to override"
    if counts.min() < 2 and len(distinct) > 3:
        return f"{len(distinct)} distinct whole numbers, some of them in a single row; --task classify to override"
    return ""


def _class_target(distinct: NDArray[Any], counts: NDArray[np.int64], name: str) -> tuple[ClassTarget, str]:
    names = class_names(distinct).tolist()
    rows = counts.tolist()
    if distinct.dtype.kind not in "iuf" and all(n.lstrip("+-").isdigit() for n in names):
        names, rows = map(list, zip(*sorted(zip(names, rows, strict=True), key=lambda c: int(c[0])), strict=True))
    positive = ""
    if len(names) == 2:
        positive = _positive(names, rows)
    target = ClassTarget(name=name, classes=tuple(names), counts=tuple(rows), positive=positive)
    reason = f"{len(names)} classes: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    single = [n for n, count in zip(names, rows, strict=True) if count == 1]
    if single:
        reason += f"; with a single row: {', '.join(single[:5])}"
    return target, reason


def _positive(names: list[str], rows: list[int]) -> str:
    """Of two classes the one with the usual name ("1" beside "0", yes, malignant, ...), otherwise the rarer one."""
    usual = [n for n in names if n.lower() in POSITIVE or (n == "1" and set(names) <= {"0", "1", "-1"})]
    if len(usual) == 1:
        return usual[0]
    return names[0] if rows[0] < rows[1] else names[1]


def from_json(kind: type[T], data: Mapping[str, Any]) -> T:
    """A schema (a frozen dataclass) back from the JSON of its fields.

    Raises:
        InputError: an unknown key (the nearest is named), an absent one, a value of another type, a newer format.
    """
    from pydantic import TypeAdapter, ValidationError

    if data.get("format", FORMAT) > FORMAT:
        raise InputError(f"the schema has format {data['format']}, this version reads {FORMAT}; use a newer chainrule")
    try:
        schema = TypeAdapter(kind).validate_python(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InputError(f"the schema is broken at {place}: {first['msg']}; restore the file from the run") from None
    _refuse_unknown(data, asdict(cast(Any, schema)), "schema")
    return schema


def _refuse_unknown(given: Any, known: Any, place: str) -> None:
    if isinstance(given, Mapping):
        for key, value in given.items():
            if key not in known:
                raise InputError(f"{place} has an unknown key {key!r}; {nearest(str(key), list(known))}")
            _refuse_unknown(value, known[key], f"{place}.{key}")
    elif isinstance(given, list | tuple):
        for i, (value, same) in enumerate(zip(given, known, strict=True)):
            _refuse_unknown(value, same, f"{place}[{i}]")
