"""Splits by hand: sizes, rare classes, time, given parts, and what is said about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.split import are_classes, codes_of, complete, folds, name_of, split
from chainrule.errors import InputError

Array = NDArray[Any]


class Rows:
    """Records that know nothing but labels, groups and times."""

    def __init__(
        self, count: int, labels: Array | None = None, groups: Array | None = None, times: Array | None = None
    ) -> None:
        self.count, self.labels, self.groups, self.times = count, labels, groups, times
        self.ids = tuple(map(str, range(count)))

    def __len__(self) -> int:
        return self.count

    def select(self, rows: Array) -> Rows:
        fields = (self.labels, self.groups, self.times)
        chosen = Rows(len(rows), *(None if values is None else values[rows] for values in fields))
        chosen.ids = tuple(self.ids[row] for row in rows)
        return chosen

    def fingerprint(self) -> str:
        return ""

    def hashes(self) -> Array:
        return np.arange(self.count, dtype=np.uint64)

    def near_hashes(self) -> Array | None:
        return None


CONFIG = DataConfig()
GOLDEN = [[8, 14, 19], [3, 10, 18]]  # rows of valid and test; drawn with torch 2.13
IRIS = np.repeat(["setosa", "versicolor", "virginica"], 50)


def test_seventy_fifteen_fifteen_with_class_shares() -> None:
    found = split(Rows(150, IRIS), CONFIG, stratify=True)
    assert [len(found.train), len(found.valid), len(found.test)] == [106, 22, 22]
    for rows in (found.train, found.valid, found.test):
        held = np.unique(IRIS[rows], return_counts=True)[1]
        assert held.max() - held.min() <= 1
    assert found.reason == "106 / 22 / 22 rows at random (split seed 0), class shares kept"


def test_golden_split() -> None:
    found = split(Rows(20), CONFIG, stratify=False)
    assert [found.valid.tolist(), found.test.tolist()] == GOLDEN


def test_three_rows_are_enough_and_two_are_not() -> None:
    found = split(Rows(3), CONFIG, stratify=False)
    assert [len(found.train), len(found.valid), len(found.test)] == [1, 1, 1]
    with pytest.raises(InputError, match=r"2 rows cannot be divided in 3 parts"):
        split(Rows(2), CONFIG, stratify=False)


def test_rare_classes_stay_in_train_and_are_named() -> None:
    labels = np.array(["common"] * 40 + ["pair"] * 2 + ["single"])
    found = split(Rows(43, labels), CONFIG, stratify=True)
    assert {40, 41, 42} <= set(found.train)
    assert "2 classes with fewer than 3 rows stay in train ('pair', 'single')" in found.reason


def test_a_class_of_three_is_in_every_part() -> None:
    labels = np.array(["common"] * 97 + ["rare"] * 3)
    found = split(Rows(100, labels), CONFIG, stratify=True)
    assert all("rare" in labels[rows] for rows in (found.train, found.valid, found.test))


def test_identifiers_as_classes_are_not_stratified() -> None:
    found = split(Rows(50, np.arange(50.0)), CONFIG, stratify=True)
    assert "class shares not kept: 50 classes have fewer than 3 rows" in found.reason
    assert len(found.test) == 8


def test_time_puts_the_oldest_in_train_and_divides_no_moment() -> None:
    days = np.random.default_rng(0).permutation(np.repeat(np.arange("2020-01", "2020-03", dtype="datetime64[D]"), 3))
    found = split(Rows(len(days), times=days), CONFIG, stratify=False)
    assert days[found.train].max() < days[found.valid].min()
    assert days[found.valid].max() < days[found.test].min()
    assert abs(len(found.test) - 0.15 * len(days)) <= 1.5
    assert "by time, oldest in train" in found.reason


def test_time_as_text_and_a_row_without_one() -> None:
    days = np.array([f"2021-{month:02d}" for month in range(1, 13)] + [None], object)[::-1]
    found = split(Rows(13, times=days), CONFIG, stratify=False)
    assert 0 in found.train
    assert sorted(days[found.test]) == ["2021-11", "2021-12"]
    assert "1 rows without a time are in train" in found.reason


def test_time_keeps_groups_whole() -> None:
    times = np.arange(30.0)
    groups = np.arange(30) // 3
    groups[0] = 9  # an old row of the newest patient
    found = split(Rows(30, groups=groups, times=times), CONFIG, stratify=False)
    assert 0 in found.test
    assert not set(groups[found.train]) & (set(groups[found.valid]) | set(groups[found.test]))


def test_a_class_only_among_the_newest_rows() -> None:
    labels = np.array(["old"] * 90 + ["new"] * 10)
    rows = Rows(100, labels, times=np.arange(100.0))
    assert "not by time: class 'new' stands only in the newest rows" in split(rows, CONFIG, stratify=True).reason
    with pytest.raises(InputError, match=r"cannot divide by time 'day': class 'new' stands only in the newest rows"):
        split(rows, DataConfig(time="day"), stratify=True)


def test_two_moments_do_not_make_three_parts() -> None:
    rows = Rows(100, times=np.arange(100) % 2)
    assert "not by time: 2 different moments are too few for 3 parts" in split(rows, CONFIG, stratify=False).reason


def test_groups_with_a_class_each_reach_train() -> None:
    groups = np.arange(60) // 5
    labels = np.array(["a", "b", "c", "d"])[groups % 4]
    found = split(Rows(60, labels, groups), CONFIG, stratify=True)
    assert set(labels[found.train]) == {"a", "b", "c", "d"}
    assert not set(groups[found.train]) & set(groups[found.test])
    assert "by group, none divided" in found.reason


def test_groups_that_are_the_classes_are_refused_where_asked_for() -> None:
    rows = Rows(150, IRIS, IRIS)
    with pytest.raises(InputError, match=r"cannot divide by group 'species': classes that stand in one group only"):
        split(rows, DataConfig(group="species"), stratify=True)
    assert "not by group" in split(rows, CONFIG, stratify=True).reason


def test_rows_without_a_group_stand_alone() -> None:
    groups = np.array(["p"] * 10 + [None] * 40, object)
    found = split(Rows(50, groups=groups), CONFIG, stratify=False)
    assert sum(bool((groups[rows] == "p").any()) for rows in (found.train, found.valid, found.test)) == 1
    assert len(found.test) in (7, 8)


def test_many_groups_are_dealt_out_by_class() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 30_000, 90_000)
    groups[:30_000] = 7  # one giant
    labels = np.array(["a", "b", "c"])[groups % 3]
    found = split(Rows(len(groups), labels, groups), CONFIG, stratify=True)
    held = [np.unique(groups[rows]) for rows in (found.train, found.valid, found.test)]
    assert sum(map(len, held)) == len(np.unique(groups))
    assert 7 in held[0]
    for rows in (found.valid, found.test):
        assert len(rows) == pytest.approx(13_500, rel=0.01)
        shares = np.unique(labels[rows], return_counts=True)[1] / len(rows)
        whole = np.unique(labels, return_counts=True)[1] / len(labels)
        assert shares == pytest.approx(whole, abs=0.01)


def test_given_parts_stay_as_they_are() -> None:
    parts = {"train": Rows(10), "valid": Rows(4), "test": Rows(5)}
    found, reason = complete(parts, CONFIG, stratify=False)
    assert found == parts
    assert reason == "valid and test as given"


def test_missing_parts_are_carved_from_train() -> None:
    train, test = Rows(100), Rows(20)
    found, reason = complete({"train": train, "test": test}, CONFIG, stratify=False)
    assert list(found) == ["train", "valid", "test"]
    assert found["test"] is test
    assert [len(found["train"]), len(found["valid"])] == [85, 15]
    assert not set(found["train"].ids) & set(found["valid"].ids)
    assert "test as given" in reason
    found, _ = complete({"train": train, "valid": Rows(9)}, CONFIG, stratify=False)
    assert [len(found["train"]), len(found["valid"]), len(found["test"])] == [85, 9, 15]
    found, _ = complete({"all": train}, CONFIG, stratify=False)
    assert [len(found["train"]), len(found["valid"]), len(found["test"])] == [70, 15, 15]


def test_a_test_part_without_labels_is_no_test() -> None:
    train = Rows(100, np.array(["a", "b"] * 50))
    for labels in (None, np.array([None] * 40, object)):
        found, reason = complete({"train": train, "test": Rows(40, labels)}, CONFIG, stratify=True)
        assert len(found["test"]) == 15
        assert "the test part (40 rows) has no labels to score on" in reason
    _, reason = complete({"train": train, "test": Rows(0)}, CONFIG, stratify=True)
    assert "the test part holds no rows" in reason


def test_parts_without_train_are_refused() -> None:
    with pytest.raises(InputError, match=r"no rows to train on: got the parts \['test'\]"):
        complete({"test": Rows(5)}, CONFIG, stratify=False)


def test_folds_in_time_train_on_older_rows() -> None:
    times = np.random.default_rng(0).permutation(60)
    found = folds(Rows(60, times=times), 5, CONFIG, stratify=False)
    assert [len(fold.test) for fold in found] == [10] * 5
    for fold in found:
        assert times[fold.train].max() < times[fold.valid].min()
        assert times[fold.valid].max() < times[fold.test].min()


def test_folds_are_refused_with_counts() -> None:
    with pytest.raises(InputError, match=r"--folds must be at least 2, got 1"):
        folds(Rows(10), 1, CONFIG, stratify=False)
    with pytest.raises(InputError, match=r"5 rows cannot be divided in 6 folds"):
        folds(Rows(5), 6, CONFIG, stratify=False)
    with pytest.raises(InputError, match=r"cannot divide by group 'id': 3 groups are too few for 5 parts"):
        folds(Rows(30, groups=np.arange(30) % 3), 5, DataConfig(group="id"), stratify=False)


def test_leave_one_out_of_many() -> None:
    found = folds(Rows(200), 200, CONFIG, stratify=False)
    assert sorted(int(fold.test[0]) for fold in found) == list(range(200))


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 3, 1]),
        np.array([3.5, 3.5, np.nan]),
        np.array(["2020-01-01", "2020-01-01", "NaT"], "datetime64[D]"),
        np.array(["b", "b", "a"]),
        np.array(["b", "b", None], object),
        np.array([True, True, False]),
        np.array([2**62, 2**62, -(2**62)]),
    ],
)
def test_codes_of_every_kind_of_value(values: Array) -> None:
    codes, uniques = codes_of(values)
    assert codes[0] == codes[1] != codes[2]
    assert codes.dtype == np.int64
    assert uniques[codes[0]] == values[:1].tolist()[0]
    assert len(uniques) == codes.max() + 1


def test_labels_are_named_as_written() -> None:
    assert [name_of(value) for value in (1.0, 0.5, "x", True)] == ["1", "0.5", "x", "True"]


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        (np.array(["a", "b"]), "", True),
        (np.array([0.0, 1.0, np.nan]), "", True),
        (np.array([0.5, 1.0]), "", False),
        (np.arange(200.0), "", False),
        (np.arange(200.0), "classify", True),
        (np.array([0, 1]), "regress", False),
        (None, "classify", False),
    ],
)
def test_labels_that_look_like_classes(labels: Array | None, task: str, expected: bool) -> None:
    assert are_classes(labels, task) is expected


def test_classes_are_found_where_nothing_is_said() -> None:
    assert split(Rows(150, IRIS), CONFIG).reason.endswith("class shares kept")
    assert split(Rows(150, np.arange(150) / 7), CONFIG).reason.endswith("(split seed 0)")
