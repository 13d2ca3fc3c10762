"""Distances and kernel widths against scipy, and where expansion loses digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

import dalib.discrepancy
from dalib.core.checks import InputError
from dalib.discrepancy.distances import paired_squared_distances
from tests.discrepancy.cases import Jitted, jit

D = Jitted()


def draw(n, m=None, d=4, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d))
    return x if m is None else (x, generator.normal(size=(m, d)) + 1)


def test_squared_distances_against_scipy():
    x, y = draw(7, 5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.squared_distances(x, y), cdist(x, y, "sqeuclidean"), rtol=1e-11)
        np.testing.assert_allclose(D.squared_distances(x), cdist(x, x, "sqeuclidean"), rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(paired_squared_distances(x[:5], y), np.sum((x[:5] - y) ** 2, axis=1), rtol=1e-12)


def test_no_negative_distance_and_a_zero_diagonal():
    x = jnp.asarray(draw(50, d=30), jnp.float32)
    repeated = jnp.concatenate([x, x])
    assert (D.squared_distances(repeated, repeated) >= 0).all()
    np.testing.assert_array_equal(jnp.diagonal(D.squared_distances(x)), 0)


def test_close_points_far_from_the_origin_keep_their_digits():
    generator = np.random.default_rng(0)
    offset = 100 * generator.normal(size=512)
    x = (offset + 0.05 * generator.normal(size=(20, 512))).astype(np.float32)
    y = (offset + 0.05 * generator.normal(size=(10, 512))).astype(np.float32)
    exact = cdist(x.astype(np.float64), y.astype(np.float64), "sqeuclidean")
    np.testing.assert_allclose(D.squared_distances(jnp.asarray(x), jnp.asarray(y)), exact, rtol=1e-4)
    # The plain expansion is off by more than the distances themselves.
    plain = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    assert np.abs(plain - exact).max() > 0.1 * exact.max()
    np.testing.assert_allclose(
        D.mean_squared_distance(jnp.asarray(x)), cdist(x.astype(np.float64), x, "sqeuclidean").mean(), rtol=1e-4
    )


def test_gradient_of_distances():
    x, y = draw(4, 3)
    weights = np.random.default_rng(1).normal(size=(4, 3))
    with jax.enable_x64(True):
        found = jax.grad(lambda x: jnp.sum(weights * D.squared_distances(x, y)))(x)
        np.testing.assert_allclose(
            found, 2 * np.einsum("ij,ijk->ik", weights, x[:, None] - y[None]), rtol=1e-11, atol=1e-13
        )


def test_safe_norm():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [3e30, 4e30], [3e-30, 4e-30]])
    np.testing.assert_allclose(D.safe_norm(x), [5, 0, 5e30, 5e-30], rtol=1e-6)
    gradient = jax.grad(lambda x: D.safe_norm(x).sum())(x)
    np.testing.assert_allclose(gradient, [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(D.safe_norm(jnp.ones((3, 3)), axis=None), 3, rtol=1e-6)
    np.testing.assert_allclose(D.safe_norm(x, axis=0)[0], 3e30, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(6,), (1, 5), (4, 7, 2)])
def test_mean_and_median_against_all_pairs(sizes):
    generator = np.random.default_rng(2)
    samples = [generator.normal(size=(n, 3)) + i for i, n in enumerate(sizes)]
    pooled = np.concatenate(samples)
    rows = len(pooled)
    mean = cdist(pooled, pooled, "sqeuclidean").mean()
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.mean_squared_distance(*samples), mean, rtol=1e-12)
        off_diagonal = D.kernel_variance(*samples, bandwidth="mean_off_diagonal")
        np.testing.assert_allclose(off_diagonal, mean * rows / (rows - 1), rtol=1e-12)
        np.testing.assert_allclose(
            D.median_squared_distance(*samples), np.median(pdist(pooled, "sqeuclidean")), rtol=1e-11
        )
        # Above max_rows: that many evenly spaced rows.
        few = pooled[(np.arange(4) * rows) // 4]
        np.testing.assert_allclose(
            D.median_squared_distance(*samples, max_rows=4), np.median(pdist(few, "sqeuclidean")), rtol=1e-11
        )


def test_spread_of_rounding_alone_is_zero():
    for level in (0.0, 0.1, 1e4):
        x = jnp.full((37, 5), level)
        assert D.mean_squared_distance(x, x[:3]) == 0
    x = x.at[0].add(1.0)
    assert D.mean_squared_distance(x) > 0


def test_bandwidth_is_traced_stopped_and_checked():
    x = jnp.asarray(draw(5), jnp.float32)
    np.testing.assert_allclose(jit(lambda s: dalib.discrepancy.kernel_variance(x, bandwidth=s))(3.0), 9.0)
    for rule in dalib.discrepancy.BANDWIDTHS:
        assert not jax.grad(functools.partial(D.kernel_variance, bandwidth=rule))(x).any()
    with pytest.raises(InputError, match="did you mean 'median'"):
        D.kernel_variance(x, bandwidth="medain")
    with pytest.raises(InputError, match="> 0"):
        D.kernel_variance(x, bandwidth=0.0)
    with pytest.raises(InputError, match="scalar"):
        D.kernel_variance(x, bandwidth=jnp.ones(3))
    with pytest.raises(InputError, match="at least 2"):
        D.median_squared_distance(x[:1])


def test_kernel_conventions():
    x, y = draw(6, 4)
    pooled = np.concatenate([x, y])
    squared = cdist(pooled, pooled, "sqeuclidean")
    rows = len(pooled)
    with jax.enable_x64(True):
        gram = D.gaussian_gram(x, y, bandwidth="mean_off_diagonal", multipliers=dalib.discrepancy.MULTIPLIERS)
        b = squared.sum() / (rows**2 - rows)
        form_b = sum(np.exp(-squared / (b * 2.0 ** (i - 2))) for i in range(5))[:6, 6:]
        np.testing.assert_allclose(gram, form_b, rtol=1e-11)
        median = np.median(pdist(pooled, "sqeuclidean"))
        form_c = np.exp(-squared / (2 * median))[:6, 6:]
        np.testing.assert_allclose(D.gaussian_gram(x, y, bandwidth="median"), form_c, rtol=1e-11)
        traced = jit(lambda s, m: dalib.discrepancy.gaussian_gram(x, y, bandwidth=s, multipliers=m))(
            2.0, jnp.array([1.0, 3.0])
        )
        np.testing.assert_allclose(traced, (np.exp(-squared / 8) + np.exp(-squared / 24))[:6, 6:], rtol=1e-11)
    for wrong, word in (((), "K ≥ 1"), ((1.0, 0.0), "> 0"), (jnp.ones((2, 2)), "K ≥ 1")):
        with pytest.raises(InputError, match=word):
            D.gaussian_gram(jnp.ones((2, 2)), multipliers=wrong)
