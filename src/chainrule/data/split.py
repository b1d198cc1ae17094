"""Train, valid and test: disjoint, by a seed of their own, with classes, groups and time respected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.normal import with_anomalies
from chainrule.data.parts import (
    PLACED_CELLS,
    PLACED_GROUPS,
    Impossible,
    Ints,
    Shares,
    dealt,
    one_row_in_train,
    placed,
    quotas_of,
    shuffled_by,
)
from chainrule.data.samples import NEVER, Records
from chainrule.data.transcripts import are_texts
from chainrule.errors import InputError

Parted = tuple[Ints, str]  # the part of each row, and how it was found
_NUMBER_TASKS = ("regress", "forecast", "transcribe")  # and texts, which hardly repeat
_PEOPLE_TASK = "verify"  # whose labels are the groups: nobody stands in two parts
_FEWEST_PEOPLE = 2  # of a part, so that there are two to be told apart
_FEW_CLASSES = 50  # so many whole numbers may be classes; keeping their shares does a regression no harm
_LOOKED_AT = 10_000  # rows that rule most numbers out
_NAMED = 3  # classes named in a message


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of each part, ascending, and in words how they were chosen."""

    train: Ints
    valid: Ints
    test: Ints
    reason: str


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a division looks at: codes from 0, one per row."""

    count: int
    classes: Ints | None
    groups: Ints | None
    times: Ints | None  # rank of the moment; -1 where unknown
    names: tuple[str, ...]  # of the classes
    numbers: bool = False  # the classes are whole numbers, which may as well be amounts

    def of(self, rows: Ints) -> _Facts:
        """The facts of these rows."""
        classes, groups, times = (None if x is None else x[rows] for x in (self.classes, self.groups, self.times))
        return _Facts(len(rows), classes, groups, times, self.names, self.numbers)


def split(records: Records, config: DataConfig, stratify: bool | None = None) -> Split:
    """Divide records in train, valid and test (by default 70 / 15 / 15) by ``config.split_seed``.

    Moments, where the records have them, come first: oldest rows train, newest test, no moment divided. Groups stand in
    one part each. With ``stratify`` (None: where ``are_classes``) the shares of the labels are kept; a class with three
    rows or more is in every part, smaller ones stay in train.

    Raises:
        InputError: too few rows; or the named group or time column leaves no such division.
    """
    shares = (1 - config.valid_share - config.test_share, config.valid_share, config.test_share)
    return _cut(records, _widened(records, shares, config.task), config, stratify)


def complete(
    parts: Mapping[str, Records], config: DataConfig, stratify: bool | None = None
) -> tuple[dict[str, Records], str]:
    """The parts train, valid and test, those that the source does not give carved from train; and in words how.

    ``parts`` is what a kind read: "all", or some of "train", "valid" and "test". A given part without rows, or without
    the labels that train has, is no part to score on: it is left out and said. With ``data.normal`` a test part that
    is carved gets the anomalies that nothing is learned from, unless rows are divided by time.

    Raises:
        InputError: no train part, or too few rows to carve from.
    """
    train = parts.get("train", parts.get("all"))
    if train is None or not len(train):
        raise InputError(f"no rows to train on: got the parts {sorted(parts)}, expected 'train' with rows in it")
    given, notes = _usable(parts, train)
    valid_share = 0.0 if "valid" in given else config.valid_share
    test_share = 0.0 if "test" in given else config.test_share
    found = {"train": train, **given}
    if valid_share or test_share:
        shares = (1 - valid_share - test_share, valid_share, test_share)
        cut = _cut(train, _widened(train, shares, config.task), config, stratify)
        if config.normal and test_share and train.labels is not None and train.times is None:
            cut = _tested_on_anomalies(train, cut, config)
        carved = {"train": cut.train} | ({"valid": cut.valid} if valid_share else {})
        carved |= {"test": cut.test} if test_share else {}
        found |= {name: train.select(rows) for name, rows in carved.items()}
        notes.insert(0, cut.reason)
    if given:
        notes.insert(0, f"{' and '.join(given)} as given")
    return {name: answerable(found[name]) for name in ("train", "valid", "test") if name in found}, "; ".join(notes)


def folds(records: Records, k: int, config: DataConfig, stratify: bool | None = None) -> list[Split]:
    """K divisions whose test parts are disjoint; valid is ``config.valid_share`` of the rows that are left.

    Groups stay whole and, with ``stratify``, class shares are kept. Together the tests cover all rows, apart from
    classes of one row, which stay in train. Where the records have moments, fold i tests on block i + 1 of k + 1 blocks
    in order of time and trains on the older rows alone.

    Raises:
        InputError: fewer than two folds, or more folds than the rows or groups allow.
    """
    if k < 2:
        raise InputError(f"--folds must be at least 2, got {k}")
    facts = _facts(records, config, stratify)
    if facts.count < max(k, 4):
        raise InputError(f"{facts.count} rows cannot be divided in {k} folds; give fewer folds or more rows")
    shares = (1 - config.valid_share, config.valid_share, 0.0)
    tests, words = _tests(facts, k, config)
    found = []
    for number, (rest, test) in enumerate(tests):
        part, how = _divide(facts.of(rest), shares, config, strict=True)
        part_of_all = np.full(facts.count, -1, np.int64)
        part_of_all[rest] = part
        part_of_all[test] = 2
        kept, gap = _with_gaps(records, part_of_all)
        found.append(_split_of(kept, f"fold {number + 1} of {k} {words}; valid {how}{gap}"))
    return found


def _cut(records: Records, shares: Shares, config: DataConfig, stratify: bool | None) -> Split:
    part, words = _divide(_facts(records, config, stratify), shares, config)
    kept, gap = _with_gaps(records, part)
    return _split_of(kept, words + gap)


def _tested_on_anomalies(records: Records, cut: Split, config: DataConfig) -> Split:
    """The cut with the anomalies that nothing is learned from in its test part."""
    assert records.labels is not None
    groups = _group_codes(records)
    train, valid, test, words = with_anomalies(records.labels, groups, cut.train, cut.valid, cut.test, config)
    how = cut.reason.partition(" rows ")[2]
    return Split(train, valid, test, f"{len(train)} / {len(valid)} / {len(test)} rows {how}{words}")


def _spans(records: Records) -> Ints | None:
    """(N, 2) first and last moments of what is to be answered, where the records have such."""
    times = records.times
    return None if times is None or times.ndim == 1 else times


def answerable(records: Records) -> Records:
    """The records without those that only count as time that passes."""
    spans = _spans(records)
    if spans is None or (spans[:, 1] < NEVER).all():
        return records
    return records.select(np.flatnonzero(spans[:, 1] < NEVER))


def _widened(records: Records, shares: Shares, task: str = "") -> Shares:
    """The shares, valid and test wide enough for one whole answer, or for two people."""
    spans = _spans(records)
    if task == _PEOPLE_TASK and records.groups is not None:
        fewest = _FEWEST_PEOPLE / len(set(records.groups.tolist()))
        wide = tuple(max(share, min(fewest, 1 / 3)) if share else 0.0 for share in shares[1:])
        return (1 - sum(wide), *wide)
    if spans is None or not (spans[:, 1] < NEVER).any():
        return shares
    whole = spans[spans[:, 1] < NEVER]
    least = int((whole[:, 1] - whole[:, 0]).max() + 1) / len(np.unique(spans[:, 0]))
    wide = tuple(max(share, least) if share else 0.0 for share in shares[1:])
    return (1 - sum(wide), *wide)


def _with_gaps(records: Records, part: Ints) -> tuple[Ints, str]:
    """The parts without records whose answer would reach into the next one, and without those that have no answer."""
    spans = _spans(records)
    if spans is None:
        return part, ""
    kept = np.where(spans[:, 1] == NEVER, -1, part)
    for number in (0, 1):
        later = spans[part > number, 0]
        if len(later):
            kept[(part == number) & (spans[:, 1] >= later.min())] = -1
    for number, name in enumerate(("train", "valid", "test")):
        if (part == number).any() and not (kept == number).any():
            raise InputError(
                f"no whole forecast fits into the {name} part of {int((part == number).sum())} times: give more of "
                f"them, values where they are missing, a smaller horizon or window, or other shares (data.valid_share, "
                f"data.test_share)"
            )
    return kept, "; none reaches into the next part"


def codes_of(values: NDArray[Any]) -> tuple[Ints, list[Any]]:
    """Equal values as equal codes from 0, with -1 for a missing one (None, NaN, NaT); and the value of each code."""
    if values.dtype.kind in "biu" and len(values) and int(values.max()) - int(values.min()) < 4 * len(values):
        lowest = int(values.min())
        places = values.astype(np.int64) - lowest
        present = np.bincount(places) > 0
        ranks = np.cumsum(present) - 1
        return ranks[places], (np.flatnonzero(present) + lowest).astype(values.dtype).tolist()
    if values.dtype.kind in "biufmM":
        uniques, codes = np.unique(values, return_inverse=True)
        known = uniques == uniques
        codes = codes.astype(np.int64, copy=False)
        if not known.all():  # NaN and NaT sort last
            codes[codes >= known.sum()] = -1
        return codes, uniques[known].tolist()
    listed = values.tolist()
    found = [value for value in dict.fromkeys(listed) if value is not None and value == value]
    code_of = dict.fromkeys(listed, -1)
    code_of.update(zip(found, range(len(found)), strict=True))
    return np.fromiter(map(code_of.__getitem__, listed), np.int64, len(listed)), found


def are_classes(labels: NDArray[Any] | None, task: str = "") -> bool:
    """Whether labels look like classes: words, or a few whole numbers; the task, where it is named, decides."""
    if labels is None or task in (*_NUMBER_TASKS, _PEOPLE_TASK):
        return False
    if task != "classify" and are_texts(labels):
        return False
    if task == "classify" or labels.dtype.kind not in "iuf":
        return labels.dtype.kind not in "mM"
    known = labels[labels == labels]
    whole = bool((known == np.floor(known)).all())
    return whole and len(np.unique(known[:_LOOKED_AT])) <= _FEW_CLASSES and len(np.unique(known)) <= _FEW_CLASSES


def name_of(value: Any) -> str:
    """A label as a person writes it: 1.0 read from a file is 1."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _usable(parts: Mapping[str, Records], train: Records) -> tuple[dict[str, Records], list[str]]:
    given, notes = {}, []
    for name in ("valid", "test"):
        part = parts.get(name)
        if part is None:
            continue
        if not len(part):
            notes.append(f"the {name} part holds no rows and is left out")
        elif train.labels is not None and (part.labels is None or codes_of(part.labels)[0].max() < 0):
            notes.append(f"the {name} part ({len(part)} rows) has no labels to score on and is left out")
        else:
            given[name] = part
    return given, notes


def _facts(records: Records, config: DataConfig, stratify: bool | None) -> _Facts:
    classes = times = None
    names: list[Any] = []
    spans = _spans(records)
    if stratify is None:
        stratify = spans is None and are_classes(records.labels, config.task)
    if stratify and records.labels is not None:
        classes, names = codes_of(records.labels)
        classes[classes < 0] = len(names)
        names = [*names, "(none)"]
    groups = _group_codes(records)
    if records.times is not None:
        times, moments = codes_of(records.times if spans is None else spans[:, 0])
        if records.times.dtype.kind not in "biufmM":  # those are in order already
            rank = np.full(len(moments) + 1, -1, np.int64)
            rank[sorted(range(len(moments)), key=moments.__getitem__)] = np.arange(len(moments))
            times = rank[times]
    numbers = config.task != "classify" and records.labels is not None and records.labels.dtype.kind in "iuf"
    return _Facts(len(records), classes, groups, times, tuple(map(name_of, names)), numbers)


def _group_codes(records: Records) -> Ints | None:
    """A code for each row's group; a row without one is a group of its own."""
    if records.groups is None:
        return None
    groups, known = codes_of(records.groups)
    alone = np.flatnonzero(groups < 0)
    groups[alone] = len(known) + np.arange(len(alone))
    return groups


def _split_of(part: Ints, words: str) -> Split:
    train, valid, test = (np.flatnonzero(part == number) for number in range(3))
    return Split(train, valid, test, f"{len(train)} / {len(valid)} / {len(test)} rows {words}")


def _divide(facts: _Facts, shares: Shares, config: DataConfig, strict: bool = False) -> Parted:
    wanted = sum(share > 0 for share in shares)
    if facts.count < wanted:
        raise InputError(
            f"{facts.count} rows cannot be divided in {wanted} parts; give more rows, or parts of their own "
            f"(--valid, --test)"
        )

    def by_time() -> Parted:
        part = _time_parts(facts, shares)
        _check_seen(facts, part == 0, part > 0, "the newest rows")
        unknown = 0 if facts.times is None else int((facts.times < 0).sum())
        return part, "by time, oldest in train" + (f"; {unknown} rows without a time are in train" if unknown else "")

    def by_group() -> Parted:
        part = _with_all_classes(facts, _group_parts(facts, shares, config.split_seed))
        kept = "" if facts.classes is None else ", class shares kept as well as groups allow"
        return part, f"by group, none divided (split seed {config.split_seed}){kept}"

    def by_row() -> Parted:
        return _row_parts(facts, shares, config.split_seed)

    return _respecting(facts, config, by_time, by_group, by_row, strict)


def _tests(facts: _Facts, k: int, config: DataConfig) -> tuple[list[tuple[Ints, Ints]], str]:
    """For each fold the rows to train on and the rows to test on."""

    def by_time() -> Parted:
        part = _time_parts(facts, (1 / (k + 1),) * (k + 1))
        for block in range(1, k + 1):
            _check_seen(facts, part < block, part == block, f"block {block + 1} of {k + 1} in time")
        return part, "by time, tested on rows newer than train"

    def by_group() -> Parted:
        part = _group_parts(facts, (1 / k,) * k, config.split_seed)
        for block in range(k):
            _check_seen(facts, part != block, part == block, "one fold's groups")
        return part, f"by group, none divided (split seed {config.split_seed})"

    part, words = _respecting(facts, config, by_time, by_group, lambda: _dealt_rows(facts, k, config.split_seed))
    if part.max() == k:  # one block more than folds: in order of time
        blocks = [(part < block, part == block) for block in range(1, k + 1)]
    else:
        blocks = [(part != block, part == block) for block in range(k)]
    return [(np.flatnonzero(rest), np.flatnonzero(test)) for rest, test in blocks], words


def _respecting(
    facts: _Facts,
    config: DataConfig,
    by_time: Callable[[], Parted],
    by_group: Callable[[], Parted],
    by_row: Callable[[], Parted],
    strict: bool = False,
) -> Parted:
    """By time or else by group, where the records have them; what cannot be is an error if it was asked for."""
    notes = []
    for codes, asked, setting, divide in (
        (facts.times, config.time, "time", by_time),
        (facts.groups, config.group, "group", by_group),
    ):
        if codes is None:
            continue
        try:
            part, words = divide()
        except Impossible as reason:
            if asked or strict:
                fix = f"leave data.{setting} out" + (", or ask for fewer folds" if strict else "")
                column = f" {asked!r}" if asked else ""
                raise InputError(f"cannot divide by {setting}{column}: {reason}; {fix}") from None
            notes.append(f"not by {setting}: {reason}")
        else:
            return part, "; ".join([words, *notes])
    part, words = by_row()
    return part, "; ".join([words, *notes])


def _check_seen(facts: _Facts, train: NDArray[np.bool_], other: NDArray[np.bool_], where: str) -> None:
    if facts.classes is None:
        return
    unseen = np.setdiff1d(facts.classes[other], facts.classes[train])
    if len(unseen):
        raise Impossible(f"class {facts.names[unseen[0]]!r} stands only in {where}")


def _time_parts(facts: _Facts, shares: Shares) -> Ints:
    """Parts in order of time; a group counts as its newest row, and cuts fall only where the moment changes."""
    assert facts.times is not None
    keys = facts.times
    if facts.groups is not None:
        newest = np.full(facts.groups.max() + 1, -1, np.int64)
        np.maximum.at(newest, facts.groups, keys)
        keys = newest[facts.groups]
    order = np.argsort(keys, kind="stable")
    changes = np.flatnonzero(np.diff(keys[order])) + 1
    wanted = [number for number, share in enumerate(shares) if share > 0]
    if len(changes) < len(wanted) - 1:
        raise Impossible(f"{len(changes) + 1} different moments are too few for {len(wanted)} parts")
    cuts, first = [], 0
    for left, end in zip(range(len(wanted) - 1, 0, -1), np.cumsum(shares)[wanted] * facts.count, strict=False):
        free = changes[first : len(changes) - left + 1]
        nearest = int(np.abs(free - end).argmin())
        cuts.append(int(free[nearest]))
        first += nearest + 1
    part = np.empty(facts.count, np.int64)
    part[order] = np.repeat(wanted, np.diff([0, *cuts, facts.count]))
    return part


def _row_parts(facts: _Facts, shares: Shares, seed: int) -> Parted:
    words = f"at random (split seed {seed})"
    classes = np.zeros(facts.count, np.int64) if facts.classes is None else facts.classes
    counts = np.bincount(classes)
    wanted = sum(share > 0 for share in shares)
    rare = np.flatnonzero((counts > 0) & (counts < wanted))
    if facts.classes is not None:
        if counts[rare].sum() * 2 > facts.count:  # most rows would have to stay in train
            classes, counts = np.zeros_like(classes), np.array([facts.count])
            words += f"; class shares not kept: {len(rare)} classes have fewer than {wanted} rows"
        else:
            words += ", class shares kept"
            if len(rare):
                named = ", ".join(repr(facts.names[code]) for code in rare[:_NAMED])
                words += f"; {len(rare)} classes with fewer than {wanted} rows stay in train ({named})"
    quotas = quotas_of(counts, shares)
    part = np.empty(facts.count, np.int64)
    part[shuffled_by(classes, seed)] = np.repeat(np.tile(np.arange(len(shares)), len(counts)), quotas.ravel())
    if facts.classes is not None and classes is not facts.classes and not facts.numbers:
        part = one_row_in_train(facts.classes, part)
    return part, words


def _dealt_rows(facts: _Facts, k: int, seed: int) -> Parted:
    """Rows dealt out to k folds class by class, -1 for classes of one row."""
    classes = np.zeros(facts.count, np.int64) if facts.classes is None else facts.classes
    order = shuffled_by(classes, seed)
    order = order[np.bincount(classes)[classes[order]] > 1]
    part = np.full(facts.count, -1, np.int64)
    part[order] = np.arange(len(order)) % k
    alone = facts.count - len(order)
    kept = "" if facts.classes is None else ", class shares kept"
    return part, f"at random (split seed {seed}){kept}" + (
        f"; {alone} classes of one row stay in train" if alone else ""
    )


def _group_parts(facts: _Facts, shares: Shares, seed: int) -> Ints:
    """Whole groups in parts whose sizes and class shares come near."""
    assert facts.groups is not None
    present = np.bincount(facts.groups) > 0
    groups, count = (np.cumsum(present) - 1)[facts.groups], int(present.sum())
    wanted = [number for number, share in enumerate(shares) if share > 0]
    if count < len(wanted):
        raise Impossible(f"{count} groups are too few for {len(wanted)} parts")
    classes = np.zeros(facts.count, np.int64) if facts.classes is None else facts.classes
    num_classes = int(classes.max()) + 1
    active = np.array([shares[number] for number in wanted])
    if count <= PLACED_GROUPS and count * num_classes <= PLACED_CELLS:
        cells = np.bincount(groups * num_classes + classes, minlength=count * num_classes)
        part = placed(cells.reshape(count, num_classes).astype(np.float64), active, seed)
    else:
        part = dealt(groups, classes, active, seed)
    part_of_row: Ints = np.array(wanted)[part][groups]
    return part_of_row


def _with_all_classes(facts: _Facts, part: Ints) -> Ints:
    """The parts after the smallest group of each class that train lacks has moved to train."""
    assert facts.groups is not None
    if facts.classes is None:
        return part
    wanted = len(np.unique(part))
    sizes = np.bincount(facts.groups)
    for code in np.setdiff1d(facts.classes, facts.classes[part == 0]):
        holders = facts.groups[facts.classes == code]
        part[facts.groups == holders[sizes[holders].argmin()]] = 0
    if len(np.unique(part)) < wanted:
        raise Impossible("classes that stand in one group only leave nothing to score on")
    return part
