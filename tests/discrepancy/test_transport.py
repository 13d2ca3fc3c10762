"""One-dimensional, sliced and entropic optimal transport against scipy and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.optimize import linprog

import dalib.discrepancy
from dalib.core.checks import InputError
from tests.discrepancy.cases import Jitted, jit, samples

D = Jitted()


def exact_transport(cost):
    """Optimal transport between uniform weights by linear programming."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    margins = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
    return linprog(cost.ravel(), A_eq=np.r_[rows, columns], b_eq=margins, bounds=(0, None)).fun


@pytest.mark.parametrize("sizes", [(7, 7), (6, 9), (5, 8)])
def test_one_dimension_is_exact_for_any_sizes(sizes):
    x, y = (np.asarray(z, np.float64) for z in samples(*sizes, 2))
    with jax.enable_x64(True):
        first, second = D.wasserstein_1d(x, y, order=1), D.wasserstein_1d(x, y)
        for column in range(2):
            a, b = x[:, column], y[:, column]
            np.testing.assert_allclose(first[column], scipy.stats.wasserstein_distance(a, b), rtol=1e-11)
            np.testing.assert_allclose(second[column], exact_transport((a[:, None] - b[None]) ** 2), rtol=1e-8)


def test_one_dimension_between_gaussians():
    """W₂² = (μ − ν)² + (σ − τ)²."""
    quantiles = scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None].astype(np.float32)
    found = D.wasserstein_1d(0.5 * quantiles + 1.0, 2.0 * quantiles[::2] - 0.2)
    np.testing.assert_allclose(found, [1.2**2 + 1.5**2], rtol=3e-3)


def test_sliced_is_the_mean_over_directions():
    x, y = samples(6, 9, 5)
    directions = dalib.discrepancy.random_directions(jax.random.key(0), 5, 300)
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=0), 1, rtol=1e-6)
    each = D.wasserstein_1d(x @ directions, y @ directions)
    found = D.sliced_wasserstein(x, y, directions=directions)
    np.testing.assert_allclose(found, each.mean(), rtol=1e-5)
    by_key = jit(lambda k: dalib.discrepancy.sliced_wasserstein(x, y, key=k, num_directions=300))
    np.testing.assert_allclose(by_key(jax.random.key(0)), found, rtol=1e-5)
    assert by_key(jax.random.key(1)) != found
    # A shift by δ moves every projection by δ·θ, and the mean of (δ·θ)² over directions is |δ|²/d.
    np.testing.assert_allclose(by_key(jax.random.key(1)), found, rtol=0.3)
    shift = jnp.array([3.0, 0, 0, 0, 0])
    moved = D.sliced_wasserstein(x, x + shift[None], directions=directions)
    np.testing.assert_allclose(moved, jnp.mean((shift @ directions) ** 2), rtol=1e-4)


def test_plan_has_the_margins_and_the_least_cost():
    generator = np.random.default_rng(0)
    cost = generator.uniform(size=(6, 8))
    a, b = generator.dirichlet(np.ones(6)), generator.dirichlet(np.ones(8))
    a[2] = 0.0
    a /= a.sum()
    with jax.enable_x64(True):
        found = D.sinkhorn(jnp.asarray(cost), epsilon=0.05, a=jnp.asarray(a), b=jnp.asarray(b), tolerance=1e-12)
        assert bool(found.converged) and found.error <= 1e-12
        np.testing.assert_allclose(found.plan.sum(1), a, atol=1e-11)
        np.testing.assert_allclose(found.plan.sum(0), b, atol=1e-11)
        relative = scipy.stats.entropy(np.asarray(found.plan).ravel(), np.outer(a, b).ravel())
        np.testing.assert_allclose(found.value, np.sum(found.plan * cost) + 0.05 * relative, rtol=1e-10)
        sharp = D.sinkhorn(jnp.asarray(cost), epsilon=1e-3, tolerance=1e-9, max_iterations=100_000)
        np.testing.assert_allclose(jnp.sum(sharp.plan * cost), exact_transport(cost), rtol=1e-3)
        gradient = jit(jax.grad(lambda c: dalib.discrepancy.sinkhorn(c, epsilon=0.05, tolerance=1e-12).value))
        slope = D.sinkhorn(jnp.asarray(cost), epsilon=0.05, tolerance=1e-12).plan
        np.testing.assert_allclose(gradient(jnp.asarray(cost)), slope, rtol=1e-12)
        entry = np.unravel_index(np.argmax(slope), slope.shape)
        ahead, behind = (
            D.sinkhorn(jnp.asarray(cost).at[entry].add(h), epsilon=0.05, tolerance=1e-13).value for h in (1e-5, -1e-5)
        )
        np.testing.assert_allclose((ahead - behind) / 2e-5, slope[entry], rtol=1e-6)


def test_symmetric_updates_find_the_same_transport_sooner():
    x, _ = samples(40, 40, 2)
    cost = dalib.discrepancy.squared_distances(x)
    plain, averaged = (D.sinkhorn(cost, epsilon=0.3, symmetric=symmetric) for symmetric in (False, True))
    np.testing.assert_allclose(averaged.value, plain.value, rtol=1e-4)
    np.testing.assert_allclose(averaged.plan, plain.plan, atol=5e-5)
    assert averaged.converged and averaged.iterations < plain.iterations


def test_divergence_is_the_debiased_transport():
    x, y = samples(9, 7, 3)
    found = D.sinkhorn_divergence(x, y, epsilon=0.5, scale="none", tolerance=1e-5)
    pairs = ((x, y), (x, x), (y, y))
    across, within_x, within_y = (
        D.sinkhorn(dalib.discrepancy.squared_distances(p, q), epsilon=0.5, tolerance=1e-5).value for p, q in pairs
    )
    np.testing.assert_allclose(found.value, across - 0.5 * (within_x + within_y), rtol=1e-4)
    assert bool(found.converged) and 0 < found.iterations < 1000
    # Towards ε = ∞: the squared distance of the means; relative ε: independent of units.
    blurred = D.sinkhorn_divergence(x, y, epsilon=1e4)
    np.testing.assert_allclose(blurred.value, D.linear_mmd2(x, y), rtol=1e-2)
    scaled = D.sinkhorn_divergence(100 * x, 100 * y)
    np.testing.assert_allclose(scaled.value / 1e4, D.sinkhorn_divergence(x, y).value, rtol=1e-4)
    np.testing.assert_allclose(scaled.epsilon, 0.05 * D.mean_squared_distance(100 * x, 100 * y), rtol=1e-5)


def test_not_converged_is_said():
    x, y = samples(9, 7, 3)
    found = D.sinkhorn_divergence(x, y, epsilon=0.01, max_iterations=3)
    assert not found.converged and found.iterations == 3 and np.isfinite(found.value)


def test_refusals():
    x, y = samples(4, 3)
    key, sliced = jax.random.key(0), D.sliced_wasserstein
    for f, word in (
        (functools.partial(sliced, x, y), "exactly one"),
        (functools.partial(sliced, x, y, key=key, directions=jnp.ones((16, 2))), "exactly one"),
        (functools.partial(sliced, x, y, directions=jnp.ones((3, 2))), "directions"),
        (functools.partial(sliced, x, y, key=key, order=0), "order"),
        (functools.partial(D.sinkhorn, x, epsilon=0.0), "epsilon"),
        (functools.partial(D.sinkhorn, x, epsilon=1.0, a=jnp.ones(3)), "^a:"),
        (functools.partial(D.sinkhorn_divergence, x, y, scale="median"), "scale"),
    ):
        with pytest.raises(InputError, match=word):
            f()
