"""Each fault that the audit is there for is found, named and counted; clean data stays without a finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chainrule.data.audit import audit, leaks, near_rows
from chainrule.data.kind import Finding

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


class Rows:
    """Records whose inputs are their hashes."""

    def __init__(
        self,
        inputs: Sequence[int] | Array,
        labels: Sequence[Any] | Array | None = None,
        name: str = "row",
        groups: Array | None = None,
        near: Array | None = None,
    ) -> None:
        self.inputs = np.asarray(inputs, np.uint64)
        self.labels = None if labels is None else np.asarray(labels)
        self.groups, self.near, self.times = groups, near, None
        self.ids = tuple(f"{name} {row}" for row in range(len(self.inputs)))

    def __len__(self) -> int:
        return len(self.inputs)

    def slice(self, count: int) -> Rows:
        """The first rows, as records of their own."""
        assert self.labels is not None
        return Rows(self.inputs[:count], self.labels[:count])

    def select(self, rows: Array) -> Rows:
        raise AssertionError("the audit leaves selecting to its caller")

    def fingerprint(self) -> str:
        return ""

    def hashes(self) -> Array:
        return self.inputs

    def near_hashes(self) -> Array | None:
        return self.near


def labels_for(count: int) -> Array:
    return np.array(["a", "b"])[np.arange(count) % 2]


def clean(**parts: Rows) -> dict[str, Rows]:
    given = {
        "train": Rows(range(100), labels_for(100)),
        "valid": Rows(range(100, 140), labels_for(40)),
        "test": Rows(range(200, 240), labels_for(40)),
    }
    return given | parts


def said(findings: list[Finding], level: str, text: str) -> Finding:
    found = [finding for finding in findings if finding.level == level and text in finding.text]
    assert len(found) == 1, findings
    return found[0]


def test_clean_parts_have_no_findings() -> None:
    findings, keep = audit(clean(), remove=True)
    assert findings == []
    assert {name: len(rows) for name, rows in keep.items()} == {"train": 100, "valid": 40, "test": 40}


def test_rows_of_test_that_stand_in_train_are_removed_and_counted() -> None:
    test = Rows([7, 200, 8, *range(201, 238)], ["b", "a", "b", *labels_for(37)], name="test")
    findings, keep = audit(clean(test=test), remove=True)
    finding = said(findings, "warning", "2 of 40 rows of test also stand in train (1 of them with another target)")
    assert "removed: scores count the other 38" in finding.text
    assert finding.where == ("test 0 = row 7", "test 2 = row 8")
    assert keep["test"].tolist() == [1, *range(3, 40)]
    assert len(keep["train"]) == 100


def test_they_are_kept_where_the_setting_says_so() -> None:
    findings, keep = audit(clean(test=Rows([7, *range(200, 239)], labels_for(40))), remove=False)
    assert "1 of 40 rows of test also stand in train" in said(findings, "warning", "data.remove_duplicates is off").text
    assert len(keep["test"]) == 40


def test_a_test_that_is_train_again_is_an_error_and_kept() -> None:
    findings, keep = audit(clean(test=Rows(range(100), labels_for(100))), remove=True)
    said(findings, "error", "all 100 rows of test also stand in train")
    assert len(keep["test"]) == 100


def test_equal_rows_are_natural_in_a_table_of_few_values() -> None:
    train = Rows(np.arange(100) % 8, labels_for(100))
    findings, keep = audit(clean(train=train, test=Rows(np.arange(40) % 9, labels_for(40))), remove=True)
    assert (
        "equal rows are natural in this table, 92% of train's own rows are repeats"
        in said(findings, "note", "of test").text
    )
    assert len(keep["test"]) == 40


def test_equal_rows_of_a_heavy_tail_are_natural_and_oversampled_ones_are_suspect() -> None:
    tail = Rows(np.arange(1000) ** 3 // 700_000, labels_for(1000))
    findings, keep = audit({"train": tail, "test": tail.slice(500)}, remove=True)
    said(findings, "note", "equal rows are natural in this table")
    assert len(keep["test"]) == 500
    rare = np.repeat(np.arange(1000, 1010), 90)
    copied = Rows([*range(900), *rare], ["a"] * 900 + ["b"] * 900)
    findings, keep = audit({"train": copied, "test": copied.slice(100)}, remove=True)
    assert "if rows were copied before the split (oversampling)" in said(findings, "warning", "of test also stand").text
    assert len(keep["test"]) == 100


def test_equal_images_are_never_natural() -> None:
    near = np.full(100, 0xFFFFFFFF, np.uint64)
    train = Rows(np.arange(100) % 8, labels_for(100), near=near)
    _, keep = audit(clean(train=train, test=Rows(np.arange(40) % 9, labels_for(40), near=near[:40])), remove=True)
    assert keep["test"].tolist() == [8, 17, 26, 35]


def test_repeats_inside_train_are_counted_and_kept() -> None:
    findings, keep = audit(clean(train=Rows([0, 0, *range(2, 100)], ["a"] * 50 + ["b"] * 50)), remove=True)
    assert said(findings, "note", "1 of 100 rows of train repeat an earlier one").where == ("row 1",)
    assert len(keep["train"]) == 100


def test_equal_inputs_with_different_labels_are_named() -> None:
    labels = labels_for(100)
    labels[:4] = ["a", "b", "a", "a"]
    train = Rows([0, 0, 1, 1, *range(4, 100)], labels)
    finding = said(audit(clean(train=train), remove=True)[0], "warning", "2 rows of train share 1 inputs")
    assert finding.where == ("row 0", "row 1")


def test_numbers_that_differ_for_equal_inputs_are_only_noted() -> None:
    train = Rows([0, 0, *range(2, 100)], np.arange(100) / 7)
    findings, _ = audit({"train": train}, remove=True)
    said(findings, "note", "2 rows of train share 1 inputs whose targets differ")


def test_classes_missing_alone_and_imbalanced() -> None:
    train = Rows(range(100), ["many"] * 90 + ["few"] * 8 + ["one", "gone"])
    test = Rows(range(200, 240), ["many"] * 38 + ["few", "new"])
    findings, _ = audit({"train": train, "test": test}, remove=True)
    assert said(findings, "error", "1 classes of test do not stand in train").where == ("new",)
    assert said(findings, "note", "2 classes have no row in test").where == ("gone", "one")
    assert said(findings, "warning", "2 classes have a single row in train").where == ("one", "gone")
    imbalanced = said(findings, "warning", "classes are imbalanced")
    assert "'many' 90 rows, 'one' 1" in imbalanced.text or "'many' 90 rows, 'gone' 1" in imbalanced.text
    assert "task.class_weight=balanced" in imbalanced.text


@pytest.mark.parametrize(("rare", "told"), [(10, False), (9, True)])
def test_five_times_the_rows_are_told(rare: int, told: bool) -> None:
    train = Rows(range(50 + rare), ["many"] * 50 + ["few"] * rare)
    assert told == any("imbalanced" in finding.text for finding in audit({"train": train}, remove=True)[0])


def test_one_class_only_is_an_error() -> None:
    findings, _ = audit({"train": Rows(range(50), ["yes"] * 50)}, remove=True)
    said(findings, "error", "all 50 rows of train have one target, ['yes']")


def test_classes_read_as_numbers_and_as_words_match_by_name() -> None:
    train, test = Rows(range(100), np.arange(100) % 2), Rows(range(200, 240), np.arange(40) % 2 * 1.0)
    assert audit({"train": train, "test": test}, remove=True)[0] == []


def test_a_small_test_is_said() -> None:
    findings, _ = audit(clean(test=Rows(range(200, 212), labels_for(12))), remove=True)
    said(findings, "warning", "test has only 12 rows")


def test_groups_in_both_parts_are_said() -> None:
    train = Rows(range(100), labels_for(100), groups=np.array([f"p{row // 10}" for row in range(100)]))
    test = Rows(range(200, 240), labels_for(40), groups=np.array([f"p{9 + row // 10}" for row in range(40)]))
    findings, _ = audit({"train": train, "test": test}, remove=True)
    assert said(findings, "warning", "1 groups of test (10 rows) also stand in train").where == ("p9",)


def test_rows_shared_by_valid_and_test_are_noted() -> None:
    findings, _ = audit(clean(test=Rows([100, *range(200, 239)], labels_for(40))), remove=True)
    said(findings, "note", "1 of 40 rows of test also stand in valid")


def test_near_images_across_splits_are_found_and_kept() -> None:
    hashes = RANDOM.integers(0, 2**64, 140, dtype=np.uint64)
    hashes[100] = hashes[5] ^ np.uint64(0b1011)
    train, test = Rows(range(100), near=hashes[:100]), Rows(range(200, 240), near=hashes[100:], name="test")
    findings, keep = audit({"train": train, "test": test}, remove=True)
    assert said(findings, "warning", "1 of 40 records of test look nearly like one of train").where == (
        "test 0 ~ row 5",
    )
    assert len(keep["test"]) == 40


def test_near_search_equals_all_pairs() -> None:
    known = RANDOM.integers(0, 2**64, 3000, dtype=np.uint64)
    asked = known[RANDOM.integers(0, 3000, 500)]
    for _ in range(4):
        asked = asked ^ (np.uint64(1) << RANDOM.integers(0, 64, 500, dtype=np.uint64))
    distance = np.unpackbits((known[None] ^ asked[:, None]).view(np.uint8), axis=1).reshape(500, 3000, 64).sum(2)
    found = near_rows(known, asked)
    assert np.array_equal(found >= 0, distance.min(1) <= 3)
    assert 0 < (found >= 0).sum() < 500
    rows = np.flatnonzero(found >= 0)
    assert (distance[rows, found[rows]] <= 3).all()


def test_pictures_without_structure_are_not_near_each_other() -> None:
    blank = np.array([0, 1, 2**64 - 1], np.uint64)
    assert near_rows(blank, blank).tolist() == [-1, -1, -1]


def test_near_search_is_bounded_where_all_hashes_are_alike() -> None:
    base = np.uint64(0x0123456789ABCDEF)
    alike = base ^ RANDOM.integers(0, 2**16, 100_000, dtype=np.uint64)
    assert len(near_rows(alike, alike)) == 100_000  # 10 billion pairs agree in three bands


def noise(count: int = 1000) -> dict[str, Array]:
    return {f"noise {number}": RANDOM.normal(size=count) for number in range(3)}


CLASSES = np.array(["no", "yes"], object)[RANDOM.integers(0, 2, 1000)]
NUMBERS = RANDOM.gamma(2.0, size=1000)
ONE_OF_FOUR = RANDOM.integers(0, 4, 1000)


@pytest.mark.parametrize(
    ("leak", "labels", "task", "text"),
    [
        (np.where(CLASSES == "yes", 1.0, 0.0) + RANDOM.random(1000), CLASSES, "classify", "ROC AUC 1.000"),
        (np.where(CLASSES == "yes", "paid", "open"), CLASSES, "classify", "100.0% right by its value"),
        (np.where(CLASSES == "yes", RANDOM.random(1000), np.nan), CLASSES, "classify", "right by its value"),
        (np.array(["d", "c", "b", "a"])[ONE_OF_FOUR], ONE_OF_FOUR, "classify", "100.0% right by its value"),
        ((ONE_OF_FOUR * 7) % 4 + 0.0, ONE_OF_FOUR, "classify", "100.0% right by its value"),
        (np.log(NUMBERS), NUMBERS, "regress", "rank correlation 1.0000"),
        (np.array([f"grade {n}" for n in ONE_OF_FOUR]), ONE_OF_FOUR * 1.5, "regress", "its value explains 100.0%"),
    ],
)
def test_a_column_that_gives_the_target_away(leak: Array, labels: Array, task: str, text: str) -> None:
    found = leaks({**noise(), "leak": leak}, labels, task)
    assert [finding.where for finding in found] == [("leak",)]
    assert text in found[0].text


def test_two_columns_whose_sum_is_the_target() -> None:
    columns = {**noise(), "casual": RANDOM.poisson(30, 1000) * 1.0, "registered": RANDOM.poisson(100, 1000)}
    found = leaks(columns, columns["casual"] + columns["registered"], "regress")
    assert [finding.where for finding in found] == [("casual", "registered")]


def test_good_columns_and_identifiers_are_no_leaks() -> None:
    count = 1000
    columns = {
        **noise(),
        "id": np.array([f"id {row}" for row in range(count)], object),
        "number": RANDOM.permutation(count),
        "strong": (CLASSES == "yes") + RANDOM.normal(size=count) * 0.35,
    }
    assert leaks(columns, CLASSES, "classify") == []
    assert leaks(columns, NUMBERS, "regress") == []


def test_rare_positives_do_not_make_every_column_a_leak() -> None:
    labels = np.zeros(1000)
    labels[:8] = 1
    assert leaks(noise(), RANDOM.permutation(labels), "classify") == []


def test_strong_columns_of_the_packaged_sets_are_no_leaks() -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

    for load, task in ((load_iris, "classify"), (load_breast_cancer, "classify"), (load_wine, "classify")):
        data = load()
        assert leaks(dict(zip(data.feature_names, data.data.T, strict=True)), data.target, task) == []
    data = load_diabetes()
    assert leaks(dict(zip(data.feature_names, data.data.T, strict=True)), data.target, "regress") == []


def test_too_few_rows_or_columns_say_nothing() -> None:
    gates = {"x1": np.array([0, 0, 1, 1]), "x2": np.array([0, 1, 0, 1])}
    assert leaks(gates, np.array([0, 0, 1, 1]), "classify") == []
    assert leaks({"x": NUMBERS}, NUMBERS, "regress") == []


def test_missing_targets_and_constant_columns_do_no_harm() -> None:
    labels = np.where(RANDOM.random(1000) < 0.1, np.nan, NUMBERS)
    columns = {**noise(), "constant": np.ones(1000), "empty": np.full(1000, np.nan)}
    assert leaks(columns, labels, "regress") == []
    words = CLASSES.copy()
    words[:50] = None
    assert leaks(columns, words, "classify") == []
