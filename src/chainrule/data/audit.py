"""What is wrong between and inside the splits: copies, contradictions, missing classes, columns that give it away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.kind import Finding
from chainrule.data.order import generator_of
from chainrule.data.parts import Floats, Ints
from chainrule.data.samples import Records
from chainrule.data.split import are_classes, codes_of, name_of

Hashes = NDArray[np.uint64]
_NAMED = 5  # records named in a finding
_REPEATS = 0.25  # from this share of repeats in train on, rows of a table are not taken for accidental copies
_HEAVY_TAIL = 10  # most frequent row over the mean row
_NEAR_BITS = 3  # perceptual hashes this near belong to images that a person calls the same
_BANDS = 4  # of 16 bits: hashes that differ in 3 bits agree in one band at least
_NEAR_PAIRS = 40_000_000  # comparisons that the search for near copies may cost
_FLAT_BITS = 4  # fewer bits than this, set or unset, come from pictures without structure
_SMALL_TEST = 30  # rows below which a score says little
_IMBALANCE = 5  # largest class over smallest
_LEAK_ROWS = 50_000
_LEAK_CELLS = 4_000_000  # rows x columns looked at; wide tables are judged on fewer rows
_LEAK_LEAST = 30  # rows below which a perfect column may be chance
_LEAK_AUC = 0.995
_LEAK_GAIN = 0.98  # share of a majority answer's mistakes that one column removes
_LEAK_RANK = 0.999  # |Spearman|, or the explained share of variance
_MOST_BINS = 256


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The hashes of one part in ascending order, with the row of each."""

    hashes: Hashes
    rows: Ints
    same: NDArray[np.bool_]  # whether a hash equals the one before it

    @staticmethod
    def of(hashes: Hashes) -> _Sorted:
        """The hashes, sorted; equal ones keep the order of their rows."""
        rows = np.argsort(hashes, kind="stable")
        ordered = hashes[rows]
        return _Sorted(ordered, rows, np.concatenate(([False], ordered[1:] == ordered[:-1]))[: len(rows)])

    def find(self, asked: _Sorted) -> Ints:
        """For each row of ``asked`` the first row here with an equal hash, or -1."""
        found = np.full(len(asked.rows), -1, np.int64)
        if len(self.rows):
            places = np.minimum(np.searchsorted(self.hashes, asked.hashes), len(self.rows) - 1)
            found[asked.rows] = np.where(self.hashes[places] == asked.hashes, self.rows[places], -1)
        return found


def audit(
    parts: Mapping[str, Records], remove: bool, classes: bool | None = None
) -> tuple[list[Finding], dict[str, Ints]]:
    """What is wrong between and inside train, valid and test, and the rows of each part to keep.

    Rows of valid and test that also stand in train are left out of ``keep`` where ``remove`` says so, unless a quarter
    of a table's train rows are repeats themselves or nothing would be left to score on.
    ``classes``: the labels are classes (None: where they look like it).
    """
    keep: dict[str, Ints] = {name: np.arange(len(records)) for name, records in parts.items()}
    train = parts["train"]
    others = {name: parts[name] for name in ("valid", "test") if name in parts and len(parts[name])}
    if classes is None:
        classes = are_classes(train.labels)
    ordered = _Sorted.of(train.hashes())
    asked = {name: _Sorted.of(records.hashes()) for name, records in others.items()}
    repeats = int(ordered.same.sum())
    often = train.near_hashes() is None and repeats > _REPEATS * len(train)
    findings = [*_repeats(train, ordered), *_conflicts(train, ordered, classes)]
    for name, records in others.items():
        twins = ordered.find(asked[name])
        own = _own_repeats(ordered) if often else None
        finding, dropped = _across(name, records, train, twins, remove, own)
        findings += finding
        keep[name] = np.flatnonzero(~dropped)
        findings += _near(name, records, train, twins)
    findings += [*_shared_groups(train, others), *_shared_rows(others, asked)]
    if classes:
        findings += _classes(train, others)
    if "test" in others and len(keep["test"]) < _SMALL_TEST:
        text = f"test has only {len(keep['test'])} rows: its score is uncertain, judge by its interval or use --folds"
        findings.append(Finding("warning", text))
    return findings, keep


def _ids(records: Records, rows: Ints) -> tuple[str, ...]:
    return tuple(records.ids[int(row)] for row in rows[:_NAMED])


def _repeats(train: Records, ordered: _Sorted) -> list[Finding]:
    rows = np.sort(ordered.rows[ordered.same])
    if not len(rows):
        return []
    text = f"{len(rows)} of {len(train)} rows of train repeat an earlier one; they are kept"
    return [Finding("note", text, _ids(train, rows))]


def _conflicts(train: Records, ordered: _Sorted, classes: bool) -> list[Finding]:
    """Equal inputs with different labels: no network can answer them all."""
    if train.labels is None or not ordered.same.any():
        return []
    codes = codes_of(train.labels)[0][ordered.rows]
    differs = ordered.same & np.concatenate(([False], codes[1:] != codes[:-1]))
    run = np.cumsum(~ordered.same)
    contradicted = np.isin(run, run[differs])
    if not contradicted.any():
        return []
    rows = np.sort(ordered.rows[contradicted])
    text = f"{len(rows)} rows of train share {len(np.unique(run[differs]))} inputs whose targets differ"
    return [Finding("warning" if classes else "note", text + ": no answer can be right for all", _ids(train, rows))]


def _own_repeats(ordered: _Sorted) -> Finding:
    """Whether a train part of many repeats is a table of few values, or may have been copied before the split.

    Few values give few different rows, or doubles and triples below a heavy tail; oversampling gives neither.
    """
    total = len(ordered.rows)
    counts = np.diff(np.append(np.flatnonzero(~ordered.same), total))
    share = f"{1 - len(counts) / total:.0%} of train's own rows are repeats"
    tail = counts.max() >= _HEAVY_TAIL * total / len(counts)
    if len(counts) <= 2 * total**0.5 or (tail and np.isin(counts, (2, 3)).sum() >= (counts > 3).sum()):
        return Finding("note", f"equal rows are natural in this table, {share}")
    text = f"{share}; if rows were copied before the split (oversampling), the score flatters"
    return Finding("warning", text)


def _across(
    name: str, records: Records, train: Records, twins: Ints, remove: bool, own: Finding | None
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """What is said of the rows that also stand in train, and which rows are dropped."""
    found = twins >= 0
    count, nothing = int(found.sum()), np.zeros(len(records), np.bool_)
    if not count:
        return [], nothing
    rows = np.flatnonzero(found)
    other = _other_label(records, train, rows, twins[rows])
    said = f"{count} of {len(records)} rows of {name} also stand in train"
    said += f" ({other} of them with another target)" if other else ""
    if own:
        return [Finding(own.level, f"{said} and are kept: {own.text}")], nothing
    where = tuple(f"{records.ids[int(row)]} = {train.ids[int(twins[row])]}" for row in rows[:_NAMED])
    if count == len(records):
        text = f"all {count} rows of {name} also stand in train: a score on them says nothing about new data"
        return [Finding("error", text, where)], nothing
    if not remove:
        text = f"{said} and are kept (data.remove_duplicates is off): the score flatters"
        return [Finding("warning", text, where)], nothing
    return [Finding("warning", f"{said} and are removed: scores count the other {len(records) - count}", where)], found


def _other_label(records: Records, train: Records, rows: Ints, twins: Ints) -> int:
    if records.labels is None or train.labels is None:
        return 0
    mine, theirs = _common_codes(records.labels[rows], train.labels[twins])
    return int((mine != theirs).sum())


def _common_codes(first: NDArray[Any], second: NDArray[Any]) -> tuple[Ints, Ints]:
    """Codes in which values of both arrays can be compared; numbers and words are never equal."""
    if (first.dtype.kind in "biuf") != (second.dtype.kind in "biuf"):
        first, second = first.astype(object), second.astype(object)
    codes, _ = codes_of(np.concatenate((first, second)))
    return codes[: len(first)], codes[len(first) :]


def _near(name: str, records: Records, train: Records, twins: Ints) -> list[Finding]:
    known, asked = train.near_hashes(), records.near_hashes()
    if known is None or asked is None:
        return []
    near = near_rows(known, asked)
    near[twins >= 0] = -1
    rows = np.flatnonzero(near >= 0)
    if not len(rows):
        return []
    text = f"{len(rows)} of {len(records)} records of {name} look nearly like one of train (kept)"
    where = tuple(f"{records.ids[int(row)]} ~ {train.ids[int(near[row])]}" for row in rows[:_NAMED])
    return [Finding("warning" if len(rows) > 0.01 * len(records) else "note", text, where)]


def near_rows(known: Hashes, asked: Hashes) -> Ints:
    """For each hash asked the row of a known one that differs in at most 3 of 64 bits, or -1.

    Hashes that differ in 3 bits agree in one of 4 bands of 16 bits (pigeonhole), so only such pairs are compared.
    Hashes of pictures without structure are left out, and so are the fullest buckets once the pairs exceed a bound:
    values that common tell nothing.
    """
    found = np.full(len(asked), -1, np.int64)
    for row, asker in _close(known, asked):
        found[asker] = row
    return found


def near_pairs(hashes: Hashes) -> Ints:
    """(P, 2) pairs of rows whose hashes differ in at most 3 of 64 bits, as ``near_rows`` finds them."""
    found = [np.zeros((0, 2), np.int64)]
    found += [np.stack((row, asker), 1)[row < asker] for row, asker in _close(hashes, hashes)]
    return np.unique(np.concatenate(found), axis=0)


def _close(known: Hashes, asked: Hashes) -> Iterator[tuple[Ints, Ints]]:
    """Rows of known and of asked hashes that are near, in portions; a pair may come several times."""
    known_rows, asked_rows = _structured(known), _structured(asked)
    if not len(known_rows) or not len(asked_rows):
        return
    most = max(8, _NEAR_PAIRS // (_BANDS * len(asked_rows)))
    for band in range(_BANDS):
        keys = _band(known[known_rows], band)
        order = np.argsort(keys, kind="stable")
        wanted = _band(asked[asked_rows], band)
        first, last = (np.searchsorted(keys[order], wanted, side) for side in ("left", "right"))
        width = np.where(last - first <= most, last - first, 0)
        for chunk in _chunks(width):
            asker = np.repeat(chunk, width[chunk])
            step = np.arange(len(asker)) - np.repeat(np.cumsum(width[chunk]) - width[chunk], width[chunk])
            row = known_rows[order[first[asker] + step]]
            close = _bits(known[row] ^ asked[asked_rows[asker]]) <= _NEAR_BITS
            yield row[close], asked_rows[asker[close]]


def _structured(hashes: Hashes) -> Ints:
    bits = _bits(hashes)
    return np.flatnonzero((bits >= _FLAT_BITS) & (bits <= 64 - _FLAT_BITS))


def _band(hashes: Hashes, band: int) -> NDArray[np.uint16]:
    return ((hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)).astype(np.uint16)


def _chunks(width: Ints, size: int = 2_000_000) -> Iterator[Ints]:
    """Positions in runs whose widths add up to about ``size``."""
    ends = np.flatnonzero(np.diff(np.cumsum(width) // size)) + 1
    yield from np.split(np.arange(len(width)), ends)


def _bits(words: Hashes) -> Ints:
    """How many bits are set in each word."""
    table = np.array([number.bit_count() for number in range(1 << 16)], np.int64)
    count = np.zeros(len(words), np.int64)
    for band in range(_BANDS):
        count += table[_band(words, band)]
    return count


def _shared_groups(train: Records, others: Mapping[str, Records]) -> list[Finding]:
    findings = []
    for name, records in others.items():
        if train.groups is None or records.groups is None or _named_by_groups(records):
            continue
        mine, theirs = _common_codes(records.groups, train.groups)
        shared = np.flatnonzero(np.isin(mine, theirs) & (mine >= 0))
        if len(shared):
            groups = [name_of(value) for value in dict.fromkeys(records.groups[shared].tolist())]
            text = f"{len(groups)} groups of {name} ({len(shared)} rows) also stand in train: the score flatters"
            findings.append(Finding("warning", text, tuple(groups[:_NAMED])))
    return findings


def _named_by_groups(records: Records) -> bool:
    """Whether the groups are the labels, as people are; their kind tells of those that stand in two parts."""
    labels, groups = records.labels, records.groups
    return labels is not None and groups is not None and np.array_equal(labels, groups)


def _shared_rows(others: Mapping[str, Records], asked: Mapping[str, _Sorted]) -> list[Finding]:
    findings = []
    for first, second in combinations(others, 2):
        rows = np.flatnonzero(asked[first].find(asked[second]) >= 0)
        if len(rows):
            text = f"{len(rows)} of {len(others[second])} rows of {second} also stand in {first}"
            findings.append(Finding("note", text, _ids(others[second], rows)))
    return findings


def _classes(train: Records, others: Mapping[str, Records]) -> list[Finding]:
    assert train.labels is not None
    codes, values = codes_of(train.labels)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    names = [name_of(value) for value in values]
    if len(values) < 2:
        return [Finding("error", f"all {len(train)} rows of train have one target, {names}: there is nothing to learn")]
    findings = []
    alone = [name for name, count in zip(names, counts, strict=True) if count == 1]
    if alone:
        text = f"{len(alone)} classes have a single row in train: they can hardly be learned"
        findings.append(Finding("warning", text, tuple(alone[:_NAMED])))
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[many] > _IMBALANCE * counts[few]:
        text = (
            f"classes are imbalanced in train: {names[many]!r} {counts[many]} rows, {names[few]!r} {counts[few]}: "
            "accuracy alone misleads, read balanced_accuracy and macro_f1 as well; --set task.class_weight=balanced "
            "makes rare classes weigh as much as common ones"
        )
        findings.append(Finding("warning", text, (names[few],)))
    findings += _alike(train, codes, names)
    for name, records in others.items():
        if records.labels is None:
            continue
        held = {name_of(value) for value in codes_of(records.labels)[1]}
        unknown, missing = sorted(held - set(names)), sorted(set(names) - held)
        if unknown:
            text = f"{len(unknown)} classes of {name} do not stand in train and cannot be learned"
            findings.append(Finding("error", text, tuple(unknown[:_NAMED])))
        if missing:
            text = f"{len(missing)} classes have no row in {name}: nothing is known of their scores there"
            findings.append(Finding("note", text, tuple(missing[:_NAMED])))
    return findings


def _alike(train: Records, codes: Ints, names: list[str]) -> list[Finding]:
    """Classes that may be one class in two spellings, with the rows of the rarer spelling."""
    spellings: dict[str, list[int]] = {}
    for code, name in enumerate(names):
        spellings.setdefault(name.casefold().strip(" .,;:!?'\""), []).append(code)
    findings = []
    for same in spellings.values():
        if len(same) > 1:
            rows = {code: np.flatnonzero(codes == code) for code in same}
            rarer = min(same, key=lambda code: len(rows[code]))
            text = f"classes {' and '.join(repr(names[code]) for code in same)} may be one class in several spellings"
            findings.append(Finding("warning", text, _ids(train, rows[rarer])))
    return findings


def leaks(columns: Mapping[str, NDArray[Any]], labels: NDArray[Any], task: str) -> list[Finding]:
    """The columns that alone predict the target (nearly) perfectly: known only afterwards, or the target in disguise.

    Numbers are judged by ROC AUC of two classes (0.995), by the class of their bins, by |Spearman| (0.999) and, two or
    three together, as an exact sum; words by the target of each value. Bins and values answer for rows they were not
    learned from, so identifiers do not count. ``task`` is "classify" or "regress"; at most 50,000 rows are looked at.
    """
    most = min(_LEAK_ROWS, max(2000, _LEAK_CELLS // max(len(columns), 1)))
    rows = torch.randperm(len(labels), generator=generator_of(0, len(labels)))[:most].numpy()
    classes = codes_of(labels[rows])[0]
    rows, classes = rows[classes >= 0], classes[classes >= 0]
    if len(rows) < _LEAK_LEAST or len(columns) < 2:  # one column is all there is to learn from
        return []
    sampled = {name: values[rows] for name, values in columns.items()}
    findings = []
    for name, values in sampled.items():
        said = _gives_class(values, classes) if task == "classify" else _gives_number(values, labels[rows])
        if said:
            text = f"column {name!r} alone predicts the target ({said})"
            findings.append(Finding("warning", f"{text}: leave it out (data.drop) unless it is known before", (name,)))
    return findings if findings or task == "classify" else _exact_sum(sampled, labels[rows])


def _gives_class(values: NDArray[Any], codes: Ints) -> str:
    counts = np.bincount(codes)
    wrong = len(codes) - counts.max()  # mistakes of the majority answer
    if wrong < 5:
        return ""
    if values.dtype.kind in "biuf" and len(counts) == 2:
        known = np.flatnonzero(values == values)
        area = _auc(values[known], codes[known] == 1) if len(known) > 0.9 * len(values) else 0.5
        if area >= _LEAK_AUC:
            return f"ROC AUC {area:.3f}"
    mistakes, words = 0, _words(values)
    for learned, held in _halves(len(codes)):
        places = _bins(values, learned) if words is None else words
        cells = (int(places.max()) + 1) * len(counts)
        if cells > _LEAK_CELLS * 5:  # so many values and classes hardly repeat
            return ""
        table = np.bincount(places[learned] * len(counts) + codes[learned], minlength=cells).reshape(-1, len(counts))
        answers = np.where(table.any(1), table.argmax(1), counts.argmax())
        mistakes += int((answers[places[held]] != codes[held]).sum())
    gain = 1 - mistakes / wrong
    return f"{1 - mistakes / len(codes):.1%} right by its value" if gain >= _LEAK_GAIN else ""


def _gives_number(values: NDArray[Any], labels: NDArray[Any]) -> str:
    target = labels.astype(np.float64)
    if values.dtype.kind in "biuf":
        known = np.flatnonzero(values == values)
        if len(known) < max(_LEAK_LEAST, 0.5 * len(values)):
            return ""
        rank = abs(_correlation(_ranks(values[known]), _ranks(target[known])))
        return f"rank correlation {rank:.4f}" if rank >= _LEAK_RANK else ""
    left, words = 0.0, _words(values)
    for learned, held in _halves(len(target)):
        places = _bins(values, learned) if words is None else words
        count = np.bincount(places[learned], minlength=int(places.max()) + 1)
        total = np.bincount(places[learned], target[learned], minlength=len(count))
        answers = np.where(count > 0, total / np.maximum(count, 1), target[learned].mean())
        left += float(((answers[places[held]] - target[held]) ** 2).sum())
    spread = float(((target - target.mean()) ** 2).sum())
    return f"its value explains {1 - left / spread:.1%}" if spread and 1 - left / spread >= _LEAK_RANK else ""


def _halves(count: int) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Rows to learn from and rows to answer for, both ways; the rows came in random order."""
    rows = np.arange(count)
    first, second = rows[: count // 2], rows[count // 2 :]
    return (first, second), (second, first)


def _words(values: NDArray[Any]) -> Ints | None:
    """A place for each value that is no number, missing ones together."""
    return None if values.dtype.kind in "biuf" else codes_of(values)[0] + 1


def _bins(values: NDArray[Any], learned: Ints) -> Ints:
    """The value (of few numbers) or the bin of each row; missing values share one place."""
    numbers = values.astype(np.float64)
    edges = np.unique(numbers[learned][~np.isnan(numbers[learned])])
    bins = min(_MOST_BINS, max(8, len(learned) // 10))
    if len(edges) > bins:
        edges = edges[np.linspace(0, len(edges) - 1, bins).astype(np.int64)]
    return np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))


def _auc(values: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve from ranks (Mann-Whitney), in the better direction."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return 0.5
    above = _ranks(values)[positive].sum() - num_positive * (num_positive + 1) / 2
    area = float(above / (num_positive * num_negative))
    return max(area, 1 - area)


def _ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1, equal values share their mean."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def _correlation(first: Floats, second: Floats) -> float:
    first, second = first - first.mean(), second - second.mean()
    length = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / length if length else 0.0


def _exact_sum(columns: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> list[Finding]:
    """Two or three columns of which the target is an exact linear combination, others being there."""
    numbers = {
        name: values[:2000].astype(np.float64) for name, values in columns.items() if values.dtype.kind in "biuf"
    }
    numbers = {name: values for name, values in numbers.items() if np.isfinite(values).all() and values.std() > 0}
    target = labels[:2000].astype(np.float64)
    if len(numbers) < 3 or len(target) < 3 * len(numbers) or not target.std() > 0:
        return []
    matrix = np.stack([(values - values.mean()) / values.std() for values in numbers.values()], axis=1)
    scaled = (target - target.mean()) / target.std()
    weights = np.linalg.lstsq(matrix, scaled, rcond=None)[0]
    involved = [name for name, weight in zip(numbers, weights, strict=True) if abs(weight) > 1e-4]
    if np.abs(matrix @ weights - scaled).max() > 1e-5 or len(involved) not in (2, 3) or len(involved) == len(numbers):
        return []
    names = " and ".join(map(repr, involved))
    text = f"the target is an exact weighted sum of columns {names}: leave them out (data.drop) unless known before"
    return [Finding("warning", text, tuple(involved))]
