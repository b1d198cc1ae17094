"""Scores of look-alike search against scikit-learn and plain loops, in blocks and in parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from chainrule.functional import retrieval
from chainrule.functional.metric_losses import nt_xent
from chainrule.functional.retrieval import mean_of, nearest, precisions, some_of, versions

N, D, K = 60, 8, 5


def places(count: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


def labels(count: int = N, classes: int = K) -> np.ndarray:
    return np.random.default_rng(7).integers(0, classes, count)


@pytest.fixture(params=[7, 512])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
def test_the_nearest_rows_are_scikit_learns() -> None:
    x = places()
    distance, expected = NearestNeighbors(n_neighbors=7, metric="cosine").fit(x).kneighbors(x)
    rows, cosines = nearest(x, np.arange(N), 6)
    assert np.array_equal(rows, expected[:, 1:])  # without the row itself
    np.testing.assert_allclose(cosines, 1 - distance[:, 1:], atol=1e-5)
    few, _ = nearest(x, np.array([3, 50]), 6)
    assert np.array_equal(few, rows[[3, 50]])


def test_fewer_rows_than_are_asked_for() -> None:
    rows, cosines = nearest(places(3), np.array([0]), 10)
    assert rows.shape == cosines.shape == (1, 2)
    assert nearest(places(3), np.array([], np.int64), 10)[0].shape == (0, 2)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("k", [1, 3, 10])
def test_precisions_leave_the_row_itself_out(k: int) -> None:
    x, y = places(), labels()
    found = precisions(x, y, k)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for row in range(N):
        others = np.delete(np.arange(N), row)
        cosine = unit[others] @ unit[row]
        order = others[np.argsort(-cosine)]
        same = y[order] == y[row]
        wanted = min(k, int(same.sum()))
        assert found["precision_at_1"][row] == same[0]
        assert found[f"precision_at_{k}"][row] == pytest.approx(same[:wanted].sum() / wanted)
        expected = average_precision_score(y[others] == y[row], cosine)
        assert found["average_precision"][row] == pytest.approx(expected, abs=1e-6)


def test_equal_cosines_are_one_rank_as_scikit_learn_has_it() -> None:
    x = np.repeat(places(6), 4, axis=0)  # four rows in each place
    y = np.tile([0, 0, 1, 2], 6)
    found = precisions(x, y)["average_precision"]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = np.round(unit @ unit.T, 5)
    for row in range(len(x)):
        others = np.delete(np.arange(len(x)), row)
        expected = average_precision_score(y[others] == y[row], cosine[row, others])
        assert found[row] == pytest.approx(expected, abs=1e-3)


def test_who_has_no_partner_does_not_ask() -> None:
    found = precisions(places(4), np.array([0, 0, 1, 2]))
    assert all(np.isfinite(values).tolist() == [True, True, False, False] for values in found.values())
    lonely = precisions(places(3), np.arange(3))
    assert all(np.isnan(values).all() for values in lonely.values())


def test_a_perfect_and_a_collapsed_embedding() -> None:
    y = labels()
    perfect = precisions(np.eye(K)[y], y)
    assert all((values == 1).all() for values in perfect.values())
    collapsed = precisions(np.ones((N, D)), y)["average_precision"]
    share = (np.bincount(y)[y] - 1) / (N - 1)
    np.testing.assert_allclose(collapsed, share)  # all are one rank: the share of the class


def test_many_rows_are_judged_by_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MOST_ROWS", 40)
    monkeypatch.setattr(retrieval, "MOST_RANKED", 15)
    x, y = places(), labels()
    found = precisions(x, y)
    chosen = some_of(N, 40)
    assert np.array_equal(np.flatnonzero(np.isfinite(found["precision_at_10"])), chosen)
    part = precisions(x[chosen], y[chosen])
    assert np.array_equal(found["precision_at_10"][chosen], part["precision_at_10"])
    assert np.isfinite(found["average_precision"]).sum() == 15
    assert np.array_equal(some_of(N, 40), chosen)  # the same every time


@pytest.mark.usefixtures("block")
def test_versions_are_their_equations() -> None:
    here, there, z, z_altered = (places(seed=seed) for seed in range(4))
    found = versions(here, there, z, z_altered, 0.3)
    terms = nt_xent(torch.from_numpy(z).double(), torch.from_numpy(z_altered).double(), 0.3)
    np.testing.assert_allclose(found["nt_xent"], terms.view(2, N).mean(0), rtol=1e-5)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (here, there)]
    for row in range(N):
        away = [float(((unit[0][row] - unit[0][other]) ** 2).sum()) for other in range(N)]
        assert found["alignment"][row] == pytest.approx(float(((unit[0][row] - unit[1][row]) ** 2).sum()), rel=1e-4)
        closeness = sum(math.exp(-2 * d) for other, d in enumerate(away) if other != row) / (N - 1)
        assert found["closeness"][row] == pytest.approx(closeness, rel=1e-4)
        back = [float(((unit[1][row] - unit[0][other]) ** 2).sum()) for other in range(N)]
        assert found["found_again"][row] == (int(np.argmin(back)) == row)


def test_versions_that_are_the_rows_themselves_are_found_again() -> None:
    x = places()
    found = versions(x, 2 * x, x, x, 0.1)
    assert (found["found_again"] == 1).all()
    assert np.abs(found["alignment"]).max() < 1e-10


def test_means_pass_over_what_is_not_known() -> None:
    values = np.array([1.0, np.nan, 4.0])
    assert mean_of(values, None) == 2.5
    assert mean_of(values, np.array([[1, 5, 2], [0, 3, 0]])).tolist()[0] == 3.0
    assert np.isnan(mean_of(values, np.array([0, 3, 0])))
