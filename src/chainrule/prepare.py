"""From a source to divided, audited records and a schema. Trains nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.audit import audit, leaks
from chainrule.data.config import UNLABELLED, DataConfig
from chainrule.data.kind import DataKind, Finding
from chainrule.data.labels import counted
from chainrule.data.normal import normal_rows
from chainrule.data.samples import Records
from chainrule.data.schema import ClassTarget, InputTarget, LabelsTarget, NumberTarget, Target
from chainrule.data.sources import Source, lone_folder, open_source
from chainrule.data.split import answerable, complete, folds
from chainrule.errors import InputError, MissingTargetError
from chainrule.recognise import recognise, refuse_second, refuse_unplaced

Parts = dict[str, Records]  # "train", "valid", "test"
LABELLED = (ClassTarget, NumberTarget, LabelsTarget, type(None))  # targets that stand in the data as a label each row
MEDIA = ("image", "audio", "video")  # kinds of files, whose folders are classes
FEW = 5  # classes that are named


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be learned from."""

    kind: DataKind
    name: str  # a short name for the run
    recognised: str  # what the source is, and why
    divided: str  # how it was split, and why
    parts: Parts
    schema: Any
    findings: tuple[Finding, ...]
    fingerprint: str
    config: DataConfig  # with the kind and the target that were found
    fold: tuple[int, int] | None = None  # this is fold i of k

    def recognised_line(self) -> str:
        """What was recognised, why, and how to override it."""
        return f"recognised  {self.kind.NAME}: {self.recognised} (change: --set data.kind=)"

    def divided_line(self) -> str:
        """How it was divided, and why."""
        rows = ", ".join(f"{name} {len(records):,}" for name, records in self.parts.items())
        return f"divided     {rows}: {self.divided}"

    def decided_lines(self) -> list[str]:
        """What was decided about the target and the input, and why; not the mere list of classes."""
        listed = f"{len(getattr(self.schema.target, 'classes', ()))} classes: "
        notes = [note for note in self.schema.notes if note and (not note.startswith(listed) or ";" in note)]
        return [f"decided     {note}" for note in notes]

    def findings_lines(self, most: int = 0) -> list[str]:
        """What the audit found, a line each; at most so many, where mere notes give way and are counted. 0: all."""
        warned = sum(f.level != "note" for f in self.findings)
        room = max(0, most - warned) if most else len(self.findings)
        told, lines = 0, []
        for finding in self.findings:
            if finding.level == "note":
                told += 1
                if told > room:
                    continue
            lines.append(f"audit       {finding.text}{_where(finding)}")
        return lines + ([f"audit       {told - room} more notes: chainrule look"] if told > room else [])

    def summary(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "name": self.name,
            "kind": self.kind.NAME,
            "recognised": self.recognised,
            "divided": self.divided,
            "target": asdict(self.schema.target),
            "rows": {name: len(records) for name, records in self.parts.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }


def _where(finding: Finding) -> str:
    return f" [{', '.join(finding.where[:5])}]" if finding.where else ""


def prepare(value: Any, config: DataConfig, schema: Any = None, fold: tuple[int, int] | None = None) -> Prepared:
    """Read, divide and audit ``value``; learn the schema on the train split unless one is given.

    ``fold`` (i, k) takes the i-th of k folds of what is there to train on instead of the usual division.

    Raises:
        InputError: the data cannot be read, divided or understood.
    """
    source = open_source(value)
    read = read_parts(source, config)
    kind = read.kind
    _refuse_one_class(source, read)
    once = {id(records): name for name, records in read.parts.items()}  # a truth table stands in all three parts
    findings = list(read.findings)
    for name in once.values():
        found = kind.findings(read.parts[name])
        findings += found if len(once) == 1 else _told_of(name, found)
    usable, dropped = _labelled(read.parts, config)
    if fold is None:
        parts, divided = complete(usable, config)
    else:
        parts, divided = _fold(usable, fold, config)
    findings += dropped
    absent = [name for name in ("valid", "test") if name not in parts]
    if absent:
        raise InputError(
            f"there is no {absent[0]} part: data.{absent[0]}_share is 0; set it above 0, or give --{absent[0]} SOURCE"
        )
    train = parts["train"]
    if train is parts["test"]:
        divided = "a truth table is its own train, validation and test set"
    if config.normal:
        parts, told = normal_rows(parts, config)
        train = parts["train"]
        findings += told
    if schema is None:
        schema = kind.learn_schema(train, config)
    classes = isinstance(schema.target, ClassTarget)
    for name in [name for name, records in parts.items() if records is not train]:
        findings += _told_of(name, kind.mismatches(parts[name], schema))
        parts[name] = kind.aligned(parts[name], schema)
    if train is not parts["test"]:  # a truth table is its own train and test set
        audited, keep = audit(parts, config.remove_duplicates, classes)
        parts = {name: records.select(keep[name]) for name, records in parts.items()}
        findings += audited
    findings += _judging_only(schema.target, train.labels)
    if train.labels is None and isinstance(schema.target, LABELLED):
        raise InputError(f"{source.original or 'this data'} has no target to learn; name it with --target")
    if train.labels is not None and isinstance(schema.target, LABELLED):
        findings += leaks(kind.columns(train, schema), train.labels, "classify" if classes else "regress")
    return Prepared(
        kind=kind, name=source.name, recognised=read.reason, divided=divided, parts=parts, schema=schema,
        findings=tuple(findings), fingerprint=_fingerprint(read.parts), config=read.config, fold=fold,
    )  # fmt: skip


def _judging_only(target: Target | None, labels: NDArray[Any] | None) -> list[Finding]:
    """That labels could tell anomalies, where nobody said what is normal."""
    if labels is None or not isinstance(target, InputTarget) or target.normal or len(target.classes) < 2:
        return []
    shown = ", ".join(target.classes[:FEW]) + (", ..." if len(target.classes) > FEW else "")
    classes, rows = counted(labels)
    commonest = classes[int(np.argmax(rows))]
    text = (
        f"the labels ({shown}) are not learned, and no anomalies are scored: all rows count as normal; "
        f"--set data.normal={commonest} learns from that class alone and scores the others as anomalies"
    )
    return [Finding("note", text)]


def _refuse_one_class(source: Source, read: Read) -> None:
    """Raise InputError where files without labels lie in the only folder there is: a single class."""
    if read.config.task in UNLABELLED:
        return
    above = lone_folder(source)
    count = sum(map(len, read.parts.values()))
    if above and read.kind.NAME in MEDIA and all(records.labels is None for records in read.parts.values()):
        raise InputError(
            f"{above} holds a single folder with {count:,} {read.kind.NAME} files, and one class is nothing to tell "
            "apart; expected two class folders or more. Files named after their class are labelled by --target 'REGEX'"
        )


def prepare_again(saved: Mapping[str, Any], config: DataConfig, schema: Any, value: Any = None) -> Prepared:
    """A run's data divided as its data.json says, fold and all; read from ``value`` where that is given."""
    fold = tuple(saved["fold"]) if saved["fold"] else None
    return prepare(saved["source"] if value is None else value, config, schema, fold)


def _fold(parts: Parts, fold: tuple[int, int], config: DataConfig) -> tuple[Parts, str]:
    records = parts.get("all", parts.get("train"))
    if records is None:
        raise InputError(f"folds need rows to train on, got the parts {sorted(parts)}")
    number, k = fold
    cut = folds(records, k, config)[number]
    rows = {"train": cut.train, "valid": cut.valid, "test": cut.test}
    return {name: records.select(chosen) for name, chosen in rows.items()}, cut.reason


@dataclass(frozen=True)
class Read:
    """A source as it was read: not divided by us, not audited."""

    kind: DataKind
    reason: str  # why it is of this kind
    parts: Parts  # under the names they came with: "all", or the splits it was divided into
    findings: list[Finding]
    config: DataConfig  # with the kind and the target that were found


def read_parts(source: Source, config: DataConfig) -> Read:
    """The records of a source, of its parts and of what --valid and --test name."""
    task = config.task or ("forecast" if config.horizon else "")
    recognised = recognise(source, config.kind, task, config.target)
    kind = recognised.kind
    refuse_unplaced(kind, task)
    findings = [Finding("note", note) for note in source.notes]
    if source.parts:
        if "train" not in source.parts:
            raise InputError(f"{source.original} holds {', '.join(source.parts)} but no train part; add one")
        parts = {"train": _only(kind.read(source.parts["train"], config))}
    else:
        parts = dict(kind.read(source, config))
    config = replace(config, kind=kind.NAME, target=kind.target_of(next(iter(parts.values()))) or config.target)
    if source.parts:
        for name in [name for name in source.parts if name != "train"]:
            try:
                parts[name] = _only(kind.read(source.parts[name], config))
            except MissingTargetError as error:
                findings.append(Finding("note", f"the {name} part is left out: {error}"))
    for name in ("valid", "test"):
        given = getattr(config, name)
        if given:
            changed: dict[str, Any] = {name: absolute(given)}  # a run may be continued from another folder
            config = replace(config, **changed)
            parts = {"train" if part == "all" else part: records for part, records in parts.items()}
            opened = open_source(given)
            parts[name] = _only(kind.read(opened.parts.get(name, opened), config))
    return Read(kind, recognised.reason, parts, findings, config)


def absolute(source: str | Path) -> str:
    """A path from the root; the name of a known set as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def read_for_scoring(value: Any, config: DataConfig, kind: DataKind, target: Target | None) -> Records:
    """The records of a new source that a run is judged on: its test part where it has one, otherwise all of it.

    A folder in a folder of its own that is named after one of the target's classes is that class, all others being
    absent.
    """
    classes = target.classes if isinstance(target, ClassTarget) else ()
    source = open_source(value)
    refuse_second(source, kind.NAME)
    above = lone_folder(source)
    if above and source.path and source.path.name in classes:
        source = replace(source, path=above)
    options = replace(config, valid="", test="")
    try:
        parts = _read_all(source, options, kind)
    except MissingTargetError:
        if isinstance(target, LABELLED):
            raise
        parts = _read_all(source, replace(options, target="", normal=(), polluted=0.0), kind)  # labels only judge
    chosen = next(parts[name] for name in ("test", "all", "valid", "train") if name in parts)
    if chosen.labels is None and isinstance(target, LABELLED):
        raise InputError(f"{source.original or 'this data'} has no target, so it cannot be scored; use predict")
    if isinstance(target, InputTarget) and target.normal:
        chosen = _labelled({"": chosen}, options)[0][""]
    return answerable(chosen)


def _read_all(source: Source, options: DataConfig, kind: DataKind) -> Mapping[str, Records]:
    if source.parts:
        return {name: _only(kind.read(part, options)) for name, part in source.parts.items()}
    return kind.read(source, options)


def _told_of(part: str, findings: list[Finding]) -> list[Finding]:
    """The findings with the part that they are about."""
    return [replace(finding, text=f"{part}: {finding.text}") for finding in findings]


def _only(parts: Parts) -> Records:
    return next(iter(parts.values()))


def _labelled(parts: Parts, config: DataConfig) -> tuple[Parts, list[Finding]]:
    """The parts without records whose target is missing, and what was left out; all of them where labels only judge."""
    if config.task == "reconstruct" and not config.normal:
        return parts, []
    kept, findings = {}, []
    for name, records in parts.items():
        missing = None if records.labels is None else missing_labels(records.labels)
        if missing is not None and missing.any() and not missing.all():
            rows = np.flatnonzero(missing)
            where = tuple(records.ids[int(row)] for row in rows[:5])
            findings.append(Finding("warning", f"{len(rows)} records of {name} have no target and are left out", where))
            records = records.select(np.flatnonzero(~missing))
        kept[name] = records
    # the same records object in several parts stays one object: a truth table is its own test set
    same = {id(parts[name]): kept[name] for name in parts}
    return {name: same[id(parts[name])] for name in parts}, findings


def missing_labels(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a target is missing: NaN, None or empty text."""
    if labels.dtype.kind == "f":
        return np.asarray(np.isnan(labels), dtype=bool)
    if labels.dtype.kind == "U":
        return np.asarray(labels == "", dtype=bool)
    if labels.dtype.kind == "O":
        return np.array([label is None or label == "" or label != label for label in labels], dtype=bool)
    return np.zeros(len(labels), dtype=bool)


def _fingerprint(parts: Parts) -> str:
    digest = hashlib.sha256()
    for name, records in sorted(parts.items()):
        digest.update(f"{name}:{records.fingerprint()};".encode())
    return digest.hexdigest()
