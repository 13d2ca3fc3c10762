"""Tiled sums: the dense numbers and gradients, in memory that grows with the rows and not with their square."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy as D
from dalib.core.platform import tracing_over
from dalib.discrepancy.tiled import CPU_DENSE_ROWS, CPU_TILE_ROWS, tile_rows
from tests.discrepancy.cases import jit, samples


def _joint(x, y, tile):
    return D.joint_mmd2(
        (x, jax.nn.softmax(x[:, :4])), (y, jax.nn.softmax(y[:, :4])), multipliers=((1.0,), (1.0,)), tile=tile
    )


def _class_wise(x, y, tile):
    return D.class_mmd2(x, y, jnp.arange(x.shape[0]) % 4, jax.nn.softmax(y[:, :4]), multipliers=(1.0,), tile=tile)


FORMS = {
    "biased": lambda x, y, tile: D.mmd2(x, y, multipliers=(0.5, 2.0), tile=tile),
    "unbiased": lambda x, y, tile: D.mmd2(x, y, estimator="unbiased", tile=tile),
    "median": lambda x, y, tile: D.mmd2(x, y, bandwidth="median", tile=tile),
    "joint": _joint,
    "class-wise": _class_wise,
    "homm": lambda x, y, tile: D.homm(x, y, tile=tile),
}


@functools.cache
def both(f, tile):
    return jit(jax.value_and_grad(functools.partial(f, tile=tile), argnums=(0, 1)))


@pytest.mark.parametrize(("name", "tile"), [*((name, 64) for name in FORMS), ("unbiased", 240)])
def test_equal_to_dense(name, tile):
    """In several tiles, of which the last is padded, and in a single one."""
    x, y = samples(150, 90, 16)
    value, gradients = both(FORMS[name], 0)(x, y)
    tiled, tiled_gradients = both(FORMS[name], tile)(x, y)
    np.testing.assert_allclose(tiled, value, rtol=1e-5)
    for found, expected in zip(tiled_gradients, gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def memory(f, n, tile, d=8):
    shape = jax.ShapeDtypeStruct((n, d), jnp.float32)
    compiled = (
        jax.jit(jax.value_and_grad(functools.partial(f, tile=tile), argnums=(0, 1))).lower(shape, shape).compile()
    )
    return compiled.memory_analysis().temp_size_in_bytes


LATER = [pytest.param(name, marks=pytest.mark.slow) for name in ("biased", "class-wise", "homm")]


@pytest.mark.parametrize("name", ["unbiased", "joint", *LATER])
def test_memory_grows_linearly(name):
    small, large = (memory(FORMS[name], n, 128) for n in (2048, 8192))
    assert large < 4.5 * small
    pair_matrix = 4 * 8192**2
    assert large < pair_matrix / 20
    # The dense form does hold pair matrices, so the measure would notice one.
    assert memory(FORMS[name], 2048, 0) > 4 * 2048**2


def test_dense_and_tiled_by_size():
    half = CPU_DENSE_ROWS // 2
    assert tile_rows(half, half, None) == 0 and tile_rows(half, half + 1, None) == CPU_TILE_ROWS
    with tracing_over(4):
        assert tile_rows(2 * half, 2 * half, None) == 0 and tile_rows(2 * half, 2 * half + 1, None) == CPU_TILE_ROWS
    assert tile_rows(8 * half, half, 0) == 0 and tile_rows(10, 5, 512) == 15
    # Above the size the automatic form is the tiled one: it needs less than one pair matrix.
    assert memory(FORMS["unbiased"], 4 * CPU_DENSE_ROWS, None) < 4 * (4 * CPU_DENSE_ROWS) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMS if name != "median"])
def test_every_form_goes_in_tiles_by_itself(name):
    rows = 4 * CPU_DENSE_ROWS
    assert memory(FORMS[name], rows, None) < 4 * rows**2


@pytest.mark.slow
@pytest.mark.parametrize("f", [functools.partial(D.mk_mmd, estimator="linear"), D.linear_mmd2])
def test_linear_estimators_and_the_mean_width_need_no_pairs(f):
    shape = jax.ShapeDtypeStruct((8192, 8), jnp.float32)
    compiled = jax.jit(jax.value_and_grad(f, argnums=(0, 1))).lower(shape, shape).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 40 * 4 * 2 * 8192 * 8


def test_value_alone_under_vmap_and_scaled():
    x, y = samples(10, 7, 3)
    f = functools.partial(D.mmd2, x, y, tile=4)
    np.testing.assert_allclose(jit(f)(), D.mmd2(x, y), rtol=1e-5)

    def slopes(tile):
        return jit(jax.vmap(jax.grad(lambda s: 3 * D.mmd2(s * x, y, bandwidth=2.0, tile=tile))))

    scales = jnp.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(slopes(4)(scales), slopes(0)(scales), rtol=1e-5)
