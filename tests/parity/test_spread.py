"""How points lie, against scikit-learn: shrunk covariances and principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.decomposition import PCA

from chainrule.functional.spread import MOST_SHRUNK, principal_components, shrunk_covariance, spread_of


def points(N: int, D: int) -> np.ndarray:
    generator = np.random.default_rng(N + D)
    return generator.normal(size=(N, D)) @ generator.normal(size=(D, D)) + 3


@pytest.mark.parametrize(("N", "D"), [(5, 8), (30, 4), (500, 16)])
def test_shrunk_covariance(N: int, D: int) -> None:
    x = points(N, D)
    np.testing.assert_allclose(shrunk_covariance(x), OAS().fit(x).covariance_, rtol=1e-10, atol=1e-10)


def test_one_point_and_equal_points_have_no_spread() -> None:
    assert not shrunk_covariance(np.ones((1, 3))).any()
    assert not spread_of(np.ones((4, 3)), 3).any()


@pytest.mark.parametrize(("N", "D"), [(5, 8), (40, 3)])
def test_spread_gives_the_covariance_back(N: int, D: int) -> None:
    x = points(N, D)
    A = spread_of(x, D)
    np.testing.assert_allclose(A.T @ A, shrunk_covariance(x), rtol=1e-9, atol=1e-9)
    few = spread_of(x, 2)
    np.testing.assert_allclose(few, A[:2])  # the directions of the largest spread
    assert (few**2).sum(1).min() >= (A[2:] ** 2).sum(1).max()


def test_long_points_are_not_shrunk() -> None:
    x = points(20, MOST_SHRUNK + 1)
    A = spread_of(x, 1000)
    assert A.shape == (20, MOST_SHRUNK + 1)
    np.testing.assert_allclose(A.T @ A, np.cov(x.T, bias=True), atol=1e-8)


@pytest.mark.parametrize(("N", "D"), [(50, 6), (3, 5)])
def test_principal_components(N: int, D: int) -> None:
    x = points(N, D)
    found, shares = principal_components(x)
    reference = PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(found), np.abs(reference.transform(x)), atol=1e-9)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)


def test_one_number_has_no_second_component() -> None:
    found, shares = principal_components(np.arange(4.0)[:, None])
    assert found[:, 1].tolist() == [0.0] * 4
    assert shares.tolist() == [1.0, 0.0]
    assert principal_components(np.ones((3, 2)))[1].tolist() == [0.0, 0.0]
