"""Parts are disjoint and cover all rows, groups stay whole, class shares come near, equal seeds give equal parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.split import Split, codes_of, folds, split
from chainrule.errors import InputError

Array = NDArray[Any]


class Rows:
    """Records that know nothing but labels, groups and times."""

    def __init__(self, count: int, labels: Array | None = None, groups: Array | None = None) -> None:
        self.count, self.labels, self.groups = count, labels, groups
        self.times = None
        self.ids = tuple(map(str, range(count)))

    def __len__(self) -> int:
        return self.count

    def select(self, rows: Array) -> Rows:
        labels, groups = (None if values is None else values[rows] for values in (self.labels, self.groups))
        return Rows(len(rows), labels, groups)

    def fingerprint(self) -> str:
        raise AssertionError("a split does not read the data")

    def hashes(self) -> Array:
        raise AssertionError("a split does not read the data")

    def near_hashes(self) -> Array | None:
        raise AssertionError("a split does not read the data")


SEEDS = st.integers(0, 2**40)
SHARES = st.sampled_from([(0.15, 0.15), (0.1, 0.3), (0.4, 0.4), (0.0, 0.2), (0.25, 0.0)])


def letters(counts: list[int], seed: int) -> Array:
    values = np.repeat([f"class {number}" for number in range(len(counts))], counts)
    return np.random.default_rng(seed).permutation(values)


def parts(found: Split) -> list[Array]:
    return [found.train, found.valid, found.test]


def assert_covers(found: Split, count: int) -> None:
    together = np.concatenate(parts(found))
    assert np.array_equal(np.sort(together), np.arange(count))
    assert all(np.all(np.diff(rows) > 0) for rows in parts(found))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), SEEDS, SHARES)
def test_classes_keep_their_shares(counts: list[int], seed: int, shares: tuple[float, float]) -> None:
    valid_share, test_share = shares
    wanted = 1 + (valid_share > 0) + (test_share > 0)
    total = sum(counts)
    assume(total >= wanted)
    labels = letters(counts, 0)
    config = DataConfig(split_seed=seed, valid_share=valid_share, test_share=test_share)
    found = split(Rows(total, labels), config, stratify=True)
    assert_covers(found, total)
    assert all(len(rows) > 0 for rows, share in zip(parts(found), (1, *shares), strict=True) if share)
    rare = sum(count for count in counts if count < wanted)
    if rare * 2 > total:
        assert "class shares not kept" in found.reason
        return
    for number, count in enumerate(counts):
        in_part = [int((labels[rows] == f"class {number}").sum()) for rows in parts(found)]
        if count < wanted:
            assert in_part == [count, 0, 0]
            continue
        for held, share in zip(in_part[1:], shares, strict=True):
            assert (held >= 1) == (share > 0)
            assert abs(held - count * share) <= 1
    sizes = [len(rows) for rows in parts(found)]
    least = min(share for share in (1 - valid_share - test_share, *shares) if share)
    if min(counts) * least >= 1:  # no class needed more than its share, train's included
        assert [sizes[1], sizes[2]] == [round(total * share) for share in shares]


@given(st.integers(3, 300), SEEDS, SEEDS)
def test_seeds_decide(count: int, seed: int, other: int) -> None:
    first, again, second = (
        split(Rows(count), DataConfig(split_seed=number), stratify=False) for number in (seed, seed, other)
    )
    assert_covers(first, count)
    assert all(map(np.array_equal, parts(first), parts(again)))
    if count > 60 and seed != other:
        assert not np.array_equal(first.train, second.train)
    assert len(first.test) == max(1, round(count * 0.15))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=3, max_size=40), SEEDS, st.booleans())
def test_groups_stay_whole_and_sizes_come_near(sizes: list[int], seed: int, stratify: bool) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.array(["yes", "no"])[np.arange(len(groups)) % 2]
    found = split(Rows(len(groups), labels, groups), DataConfig(split_seed=seed), stratify)
    assert_covers(found, len(groups))
    held = [set(groups[rows]) for rows in parts(found)]
    assert sum(map(len, held)) == len(sizes)
    assert all(held)
    for rows in parts(found)[1:]:
        assert abs(len(rows) - 0.15 * len(groups)) <= max(sizes)
    if stratify and "not by group" not in found.reason:
        assert set(labels[found.train]) == set(labels)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(2, 7), SEEDS)
def test_folds_test_every_row_once(counts: list[int], k: int, seed: int) -> None:
    total = sum(counts)
    assume(total >= max(k, 4))
    labels = letters(counts, 1)
    found = folds(Rows(total, labels), k, DataConfig(split_seed=seed), stratify=True)
    tested = np.concatenate([fold.test for fold in found])
    alone = sum(count == 1 for count in counts)
    assert len(tested) == len(np.unique(tested)) == total - alone
    for fold in found:
        assert_covers(fold, total)
        if "class shares not kept" not in fold.reason:  # most rows in classes too small to divide
            assert set(labels[fold.train]) == set(labels)
        for number, count in enumerate(counts):
            if count > 1:
                assert abs((labels[fold.test] == f"class {number}").sum() - count / k) < 1
    assert max(len(fold.test) for fold in found) - min(len(fold.test) for fold in found) <= 1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=30), st.integers(2, 5), SEEDS)
def test_grouped_folds_keep_groups_whole(sizes: list[int], k: int, seed: int) -> None:
    groups = np.repeat([f"patient {number}" for number in range(len(sizes))], sizes)
    try:
        found = folds(Rows(len(groups), groups=groups), k, DataConfig(split_seed=seed), stratify=False)
    except InputError:  # one large group faces all the others, so that no group is left to validate on
        assume(max(sizes) * 2 < len(groups))
        raise
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in found])), np.arange(len(groups)))
    for fold in found:
        assert_covers(fold, len(groups))
        held = [set(groups[rows]) for rows in parts(fold)]
        assert sum(map(len, held)) == len(sizes)


@given(st.lists(st.one_of(st.none(), st.text(max_size=2), st.just(float("nan"))), min_size=1, max_size=20))
def test_codes_are_equal_where_values_are(values: list[Any]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    codes, uniques = codes_of(array)
    for code, value in zip(codes, values, strict=True):
        assert (code == -1) == (value is None or value != value)
        assert code == -1 or uniques[code] == value


@given(st.integers(0, 2))
def test_too_few_rows_are_refused_with_their_count(count: int) -> None:
    with pytest.raises(InputError, match=f"^{count} rows cannot be divided in 3 parts"):
        split(Rows(count), DataConfig(), stratify=False)
