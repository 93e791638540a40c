"""Distances of feature sets, against closed forms."""

import numpy as np
import pytest

from xsyn_core.evaluation.realism import frechet, spread


def gaussian(mean, covariance, count=50, seed=0):
    """Features whose sample mean and covariance are exactly these."""
    z = np.random.default_rng(seed).standard_normal((count, len(mean)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    return np.array(mean) + z @ np.linalg.cholesky(np.array(covariance, float)).T


def test_frechet_of_axis_aligned_gaussians():
    a = gaussian([0, 1, 2], np.diag([1, 4, 9]))
    b = gaussian([3, 1, -2], np.diag([4, 4, 1]), seed=1)
    # |m1 - m2|^2 and the squared differences of the deviations
    assert frechet(a, b) == pytest.approx((9 + 16) + (1 + 0 + 4))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_gaussians_that_do_not_commute():
    first, second = [[2, 1], [1, 3]], [[5, -2], [-2, 1.5]]
    product = np.array(first) @ np.array(second)
    # The root of a 2 x 2 matrix has the trace sqrt(tr + 2 sqrt(det)).
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = 1 + np.trace(first) + np.trace(second) - 2 * root
    a, b = gaussian([0, 0], first), gaussian([0, 1], second, seed=1)
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(b, a) == pytest.approx(expected)


def test_fewer_rows_than_features():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 30)).astype(np.float32)
    assert frechet(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet(a, a + 2) == pytest.approx(30 * 4, rel=1e-4)


def test_spread_is_the_mean_distance_of_all_pairs():
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    assert spread(corners) == pytest.approx((4 + 2 * 2**0.5) / 6)
    assert spread(np.ones((3, 5))) == 0
