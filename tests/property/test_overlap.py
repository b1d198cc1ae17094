"""What holds for overlaps of any regions: bounds, the tie between dice and iou, weights, and what is left undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import InputError
from chainrule.functional.overlap import class_scores, overlap_scorer, overlap_scores

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
SHARES = {"dice", "iou", "accuracy", "dice_per_image", "iou_per_image"}


def counts_of(tables: np.ndarray) -> Counts:
    """The counts of confusion matrices (N K K), truth by answer."""
    return np.diagonal(tables, axis1=1, axis2=2), tables.sum(1), tables.sum(2)


@st.composite
def regions(draw: st.DrawFn) -> tuple[Counts, tuple[int, ...]]:
    """Counts of up to eight rows, many of them 0, and some foreground classes."""
    N, K = draw(st.integers(1, 8)), draw(st.integers(2, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    tables = generator.integers(0, 6, (N, K, K)) * (generator.random((N, K, K)) < draw(st.sampled_from([0.1, 0.5, 1])))
    foreground = draw(st.lists(st.integers(0, K - 1), min_size=1, max_size=K, unique=True))
    return counts_of(tables), tuple(foreground)


@given(regions())
@settings(max_examples=150, deadline=None)
def test_scores_are_shares_or_undefined_and_say_what_they_are_of(case: tuple[Counts, tuple[int, ...]]) -> None:
    (hits, answered, support), foreground = case
    scores = overlap_scores(hits, answered, support, foreground)
    assert all(np.isnan(value) or 0 <= value <= 1 + 1e-12 for value in scores.values())
    classes = list(foreground)
    occurs = support[:, classes].sum() > 0
    assert np.isfinite(scores["dice"]) == np.isfinite(scores["iou"]) == (occurs or answered[:, classes].sum() > 0)
    assert np.isfinite(scores["dice_per_image"]) == np.isfinite(scores["iou_per_image"]) == occurs
    assert np.isfinite(scores["accuracy"]) == (support.sum() > 0)
    has_background = len(foreground) < hits.shape[1]
    ill = support[:, classes].sum(1) > 0
    assert ("found" in scores) == (has_background and ill.any())
    assert ("clean_kept" in scores) == (has_background and (~ill & (support.sum(1) > 0)).any())
    assert scores.keys() - {"found", "clean_kept"} == SHARES


@given(regions())
@settings(max_examples=100, deadline=None)
def test_iou_is_never_above_dice_and_follows_from_it(case: tuple[Counts, tuple[int, ...]]) -> None:
    counts, foreground = case
    scores = overlap_scores(*counts, foreground)
    for suffix in ("", "_per_image"):
        dice, iou = scores[f"dice{suffix}"], scores[f"iou{suffix}"]
        assert np.isnan(dice) or iou <= dice + 1e-12
    one = overlap_scores(*counts, foreground[:1])
    assert one["iou"] == pytest.approx(one["dice"] / (2 - one["dice"]), nan_ok=True)
    of_classes = class_scores(*counts)
    np.testing.assert_allclose(of_classes["iou"], of_classes["dice"] / (2 - of_classes["dice"]))
    defined = of_classes["dice"][list(foreground)]
    if np.isfinite(defined).any():
        assert scores["dice"] == pytest.approx(np.nanmean(defined))


@given(regions(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_multiplicities_count_as_repeated_rows(case: tuple[Counts, tuple[int, ...]], seed: int) -> None:
    counts, foreground = case
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(counts[0])))
    table = overlap_scorer(*counts, foreground)(weights)
    assert table.keys() == overlap_scores(*counts, foreground).keys()
    for draw, times in enumerate(weights):
        single = overlap_scores(*counts, foreground, times)
        for name, value in single.items():
            assert value == pytest.approx(table[name][draw], nan_ok=True)
        if times.any():
            repeated = overlap_scores(*(np.repeat(part, times, 0) for part in counts), foreground)
            for name, value in table.items():
                assert value[draw] == pytest.approx(repeated.get(name, np.nan), nan_ok=True)
        else:
            assert all(np.isnan(value[draw]) for value in table.values())


@given(regions(), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(case: tuple[Counts, tuple[int, ...]], seed: int) -> None:
    counts, foreground = case
    order = np.random.default_rng(seed).permutation(len(counts[0]))
    shuffled = overlap_scores(*(part[order] for part in counts), foreground)
    assert shuffled == pytest.approx(overlap_scores(*counts, foreground), nan_ok=True)


def test_perfect_answers_and_useless_ones() -> None:
    support = np.array([[5, 3, 0], [8, 0, 0], [0, 4, 4]])
    assert set(overlap_scores(support, support, support, (1, 2)).values()) == {1.0}
    nothing = np.zeros_like(support)
    useless = overlap_scores(nothing, support[:, [1, 2, 0]], support, (1, 2))
    assert set(useless.values()) == {0.0}


def test_a_claim_of_another_foreground_class_finds_nothing() -> None:
    tables = np.zeros((2, 3, 3), int)
    tables[0, 1, 2] = 4  # all of class 1 is answered with 2
    tables[1, 0, 0], tables[1, 0, 2] = 5, 1
    scores = overlap_scores(*counts_of(tables), (1, 2))
    assert scores["found"] == 0
    assert scores["clean_kept"] == 0
    assert overlap_scores(*counts_of(tables), (1,))["clean_kept"] == 1  # 2 stands for background here


def test_counts_that_do_not_belong_together_are_refused() -> None:
    three = np.ones((3, 2), int)
    for counts in ((three[:0],) * 3, (three, three, three[:2]), (three[:, :1], three, three), (three[0],) * 3):
        with pytest.raises(InputError, match="expected counts of the same rows and classes, one row or more"):
            overlap_scorer(*counts, (1,))
