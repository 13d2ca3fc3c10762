"""Nearest neighbours against scikit-learn, soft neighbourhood density against NumPy and its golden number; tiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy as D
from dalib.core.checks import InputError
from dalib.discrepancy.tiled import CPU_DENSE_ROWS
from tests.discrepancy.cases import Jitted, jit, samples


def _distances(x, y, tile):
    return jnp.sum(jnp.cos(D.nearest_neighbours(x, y, k=3, tile=tile).squared))


FORMS = {
    "snd": lambda x, y, tile: D.soft_neighbourhood_density(jnp.concatenate([x, y]), tile=tile),
    "snd.features": lambda x, y, tile: D.soft_neighbourhood_density(x + y[: len(x)].mean(), temperature=0.5, tile=tile),
    "nearest": _distances,
    "divergence": lambda x, y, tile: D.nearest_neighbour_divergence(x, y, k=2, tile=tile),
}
CHECKED = ["snd", "divergence"]  # by default; the others, whose parts these have, are slow


def forms(names=FORMS):
    return [pytest.param(name, marks=() if name in CHECKED else pytest.mark.slow) for name in names]


@functools.cache
def both(name, tile):
    return jit(jax.value_and_grad(functools.partial(FORMS[name], tile=tile), argnums=(0, 1)))


@pytest.mark.parametrize("tile", [64, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", forms())
def test_tiled_is_dense(name, tile):
    x, y = samples(150, 90, 6)
    value, gradients = both(name, 0)(x, y)
    tiled, tiled_gradients = both(name, tile)(x, y)
    np.testing.assert_allclose(tiled, value, rtol=1e-5)
    for found, expected in zip(tiled_gradients, gradients, strict=True):
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def memory(name, n, tile, d=8):
    shape = jax.ShapeDtypeStruct((n, d), jnp.float32)
    f = jax.value_and_grad(functools.partial(FORMS[name], tile=tile), argnums=(0, 1))
    return jax.jit(f).lower(shape, shape).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_memory_grows_linearly(name):
    small, large = (memory(name, n, 128) for n in (2048, 8192))
    assert large < 4.5 * small
    pair_matrix = 4 * 8192**2
    assert large < pair_matrix / 20
    assert memory(name, 2048, 0) > 4 * 2048**2
    # By itself, a large sample goes in tiles.
    rows = 4 * CPU_DENSE_ROWS
    assert memory(name, rows, None) < 4 * rows**2


@pytest.mark.parametrize("tile", [pytest.param(0, marks=pytest.mark.slow), 16])
def test_neighbours_are_those_of_scikit_learn(tile):
    neighbours = pytest.importorskip("sklearn.neighbors")
    x, y = (np.asarray(z) for z in samples(70, 50, 5))
    D = Jitted()
    for k in (1, 20):
        distance, index = neighbours.NearestNeighbors(n_neighbors=k, algorithm="brute").fit(y).kneighbors(x)
        found = D.nearest_neighbours(x, y, k=k, tile=tile)
        np.testing.assert_array_equal(found.indices, index)
        np.testing.assert_allclose(found.squared, distance**2, rtol=1e-5)
    index = neighbours.NearestNeighbors(n_neighbors=4).fit(x).kneighbors(return_distance=False)
    np.testing.assert_array_equal(D.nearest_neighbours(x, k=4, tile=tile).indices, index)


@pytest.mark.slow
def test_gradient_is_that_of_the_neighbours_found():
    x, y = samples(7, 9, 3)
    found = D.nearest_neighbours(x, y, k=2)

    def by_hand(x, y):
        return jnp.sum(jnp.sin(jnp.sum((x[:, None] - y[found.indices]) ** 2, axis=2)))

    def ours(x, y):
        return jnp.sum(jnp.sin(D.nearest_neighbours(x, y, k=2).squared))

    for got, expected in zip(jit(jax.grad(ours, (0, 1)))(x, y), jit(jax.grad(by_hand, (0, 1)))(x, y), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_far_from_the_origin_and_ties():
    x = jnp.array([[1000.0], [1000.25], [1000.75]])
    np.testing.assert_allclose(D.nearest_neighbours(x).squared[:, 0], [0.0625, 0.0625, 0.25])
    equal = D.nearest_neighbours(jnp.zeros((5, 2)), jnp.zeros((6, 2)), k=3, tile=2)
    np.testing.assert_array_equal(equal.indices, np.tile([0, 1, 2], (5, 1)))
    np.testing.assert_array_equal(D.nearest_neighbours(jnp.ones((3, 2))).indices[:, 0], [1, 0, 0])


@pytest.mark.slow
def test_share_of_neighbours_in_the_same_sample():
    x, _ = samples(40, 40, 3)
    assert D.same_sample_neighbours(x[:20], x[20:] + 50, k=5) == 1
    # Pairs of equal points from either sample: the nearest is always the other sample's.
    assert D.same_sample_neighbours(x, x) == 0
    one = jax.random.normal(jax.random.key(2), (600, 3))
    expected = (400 * 399 + 200 * 199) / (600 * 599)
    assert abs(float(D.same_sample_neighbours(one[:400], one[400:], k=3, tile=128)) - expected) < 0.05
    assert not np.any(jax.grad(lambda x: D.same_sample_neighbours(x, x + 1))(x))


@pytest.mark.slow
def test_divergence_of_gaussians():
    """N(0, I) against N(μ, s²I) in two dimensions, whose divergence is ln s² + (1 + |μ|²/2)/s² − 1."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 2)), np.array([0.5, -1]) + 1.5 * rng.normal(size=(6000, 2))
    expected = np.log(2.25) + (1 + 1.25 / 2) / 2.25 - 1
    found = D.nearest_neighbour_divergence(x.astype(np.float32), y.astype(np.float32), k=5)
    assert abs(float(found) - expected) < 0.05
    assert abs(float(D.nearest_neighbour_divergence(x[:2000].astype("f4"), x[2000:].astype("f4"), k=5))) < 0.05


@pytest.mark.slow
def test_corners_are_finite():
    x, y = samples(8, 8, 3)
    cases = {"constant": (jnp.ones((8, 3)), jnp.ones((8, 3))), "zero": (0 * x, 0 * y), "identical": (x, x)}
    cases |= {"huge": (1e4 * x, y), "pairs": (jnp.repeat(x[:4], 2, axis=0), y), "apart": (x, y + 1e3)}
    for name in CHECKED:
        f = jit(jax.value_and_grad(functools.partial(FORMS[name], tile=0), argnums=(0, 1)))
        for corner, pair in cases.items():
            assert all(np.isfinite(z).all() for z in jax.tree.leaves(f(*pair))), (name, corner)
    tiled = jit(jax.value_and_grad(lambda x: D.soft_neighbourhood_density(x, temperature=1e-3, tile=3)))
    plain = jit(jax.value_and_grad(lambda x: D.soft_neighbourhood_density(x, temperature=1e-3, tile=0)))
    for rows in (jnp.ones((8, 3)), jnp.zeros((8, 3)), x, -jnp.eye(8, 3)):
        dense, gradient = plain(rows)
        value, tiled_gradient = tiled(rows)
        np.testing.assert_allclose(value, dense, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(tiled_gradient, gradient, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_density_of_known_neighbourhoods():
    for n in (2, 7):
        np.testing.assert_allclose(D.soft_neighbourhood_density(jnp.ones((n, 4))), np.log(n - 1), atol=1e-5)
    # Two clusters at right angles: each row has its three fellows, at a similarity of 1/T over the others.
    x = jnp.repeat(jnp.eye(2), 4, axis=0) * jnp.arange(1, 9)[:, None]
    weights = np.array([np.e] * 3 + [1] * 4) / (3 * np.e + 4)
    found = D.soft_neighbourhood_density(x, temperature=1.0)
    np.testing.assert_allclose(found, -np.sum(weights * np.log(weights)), rtol=1e-6)
    slope = jax.grad(lambda t, tile: D.soft_neighbourhood_density(x, temperature=t, tile=tile))
    np.testing.assert_allclose(slope(1.0, 3), slope(1.0, 0), rtol=1e-5)


def test_bad_input():
    x, y = samples(4, 3, 2)
    for call, word in (
        (lambda: D.nearest_neighbours(x, y, k=4), "k: got 4"),
        (lambda: D.nearest_neighbours(x, k=4), "from 1 to 3"),
        (lambda: D.nearest_neighbours(x, y[:, :1]), "columns"),
        (lambda: D.nearest_neighbour_divergence(x[:1], y), "from 1 to 0"),
        (lambda: D.soft_neighbourhood_density(x[:1]), "at least 2 rows"),
        (lambda: D.soft_neighbourhood_density(x, temperature=0.0), "temperature"),
        (lambda: D.same_sample_neighbours(x, y, tile=-1), "tile"),
    ):
        with pytest.raises(InputError, match=word):
            call()
