"""Poolings against loops that say what their windows are."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders.layers.pooling import adaptive_average_pool, max_pool, maximum_of_slices


@pytest.mark.parametrize("side", [1, 6, 7, 9])
def test_adaptive_regions(side):
    x = np.random.default_rng(side).normal(size=(1, side, 5, 1)).astype(np.float32)
    ours = np.asarray(adaptive_average_pool(x, 7))
    for i in range(7):
        for j in range(7):
            rows = slice(math.floor(i * side / 7), math.ceil((i + 1) * side / 7))
            columns = slice(math.floor(j * 5 / 7), math.ceil((j + 1) * 5 / 7))
            np.testing.assert_allclose(ours[0, i, j, 0], x[0, rows, columns, 0].mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side, plain, ceil", [(3, 1, 1), (4, 1, 2), (5, 2, 2), (6, 2, 3)])
def test_windows_rounded_up_reach_over_the_edge(side, plain, ceil):
    x = np.arange(side * side, dtype=np.float32).reshape(1, side, side, 1) - 100
    assert max_pool(x, 3, 2).shape == (1, plain, plain, 1)
    rounded = np.asarray(max_pool(x, 3, 2, ceil=True))
    assert rounded.shape == (1, ceil, ceil, 1)
    for i in range(ceil):
        for j in range(ceil):
            assert rounded[0, i, j, 0] == x[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, 0].max()


def test_a_window_that_would_start_behind_the_edge_is_dropped():
    x = np.ones((1, 2, 2, 1), np.float32)
    assert max_pool(x, 2, 3, padding=1, ceil=True).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("size, stride, pads", [(3, 2, ((1, 1), (0, 2))), (5, 1, ((2, 2), (2, 2)))])
def test_slices_equal_the_library_with_ties_and_gradients(size, stride, pads):
    random = np.random.default_rng(0)
    x = random.integers(-2, 3, size=(2, 7, 6, 3)).astype(np.float32)  # few values: many ties

    def both(x, weights):
        pools = (
            lambda x: nn.max_pool(x, (size, size), (stride, stride), pads),
            lambda x: maximum_of_slices(x, size, stride, pads),
        )
        return [(pool(x), jax.grad(lambda x, pool=pool: jnp.sum(weights * pool(x)))(x)) for pool in pools]

    shape = jax.eval_shape(lambda x: maximum_of_slices(x, size, stride, pads), x).shape
    library, slices = jax.jit(both)(x, random.normal(size=shape).astype(np.float32))
    np.testing.assert_array_equal(slices[0], library[0])
    np.testing.assert_allclose(slices[1], library[1], rtol=1e-6, atol=1e-6)
    assert np.isnan(maximum_of_slices(jnp.asarray(x).at[0, 0, 0, 0].set(jnp.nan), size, stride, pads)[0, 0, 0, 0])
