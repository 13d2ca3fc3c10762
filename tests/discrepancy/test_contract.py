"""What every discrepancy promises, checked for each of the table in cases.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from tests.discrepancy.cases import CASES, close, compiled, jit, samples

NAMES = list(CASES)
PLAIN = [name for name in NAMES if "." not in name]  # without the variants, for what costs a compilation of its own


def corners() -> dict[str, tuple[jax.Array, jax.Array]]:
    x, y = samples()
    one_hot = jax.nn.one_hot(jnp.array([0, 1, 2, 0, 1, 2]), 16)
    return {
        "identical": (x, x),
        "zero": (jnp.zeros_like(x), jnp.zeros_like(x)),
        "constant": (jnp.full_like(x, 0.1), jnp.full_like(x, 0.1)),
        "two constants": (jnp.zeros_like(x), jnp.full_like(x, 3.7)),
        "one constant": (x, jnp.full_like(x, 0.1)),
        "repeated rows": (jnp.repeat(x[:2], 3, axis=0), jnp.repeat(x[:3], 2, axis=0)),
        "one-hot": (one_hot, one_hot[::-1]),
        "huge": (1e4 * x, -1e4 * y),
        "tiny": (1e-12 * x, 1e-12 * y),
        "far from the origin": (x + 1e3, y + 1e3),
    }


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_in_corners(name):
    for corner, (x, y) in corners().items():
        value, gradients = compiled(name)(x, y)
        assert value.shape == () and value.dtype == jnp.float32
        assert np.isfinite(value), corner
        assert all(np.isfinite(gradient).all() for gradient in gradients), corner


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_everywhere_give_zero(name):
    x, _ = samples()
    for level in (0.0, 0.1, 700.0):
        constant = jnp.full_like(x, level)
        value, gradients = compiled(name)(constant, constant)
        assert abs(float(value)) < 5e-6, level
        assert CASES[name].kink or all(np.abs(gradient).max() < 1e-6 for gradient in gradients), level


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].of_itself])
def test_zero_on_itself(name):
    x, _ = samples()
    assert abs(float(compiled(name)(x, x)[0])) < 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].nonnegative])
def test_not_negative(name):
    x, y = samples()
    for other in (y, x + 1e-3 * y, x[::-1]):
        assert float(compiled(name)(x, other)[0]) > -1e-6
    assert float(compiled(name)(x, y)[0]) > 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_order_and_shift(name):
    case, (x, y) = CASES[name], samples()
    value, (for_x, for_y) = compiled(name)(x, y)
    if case.symmetric:
        swapped, (for_y_2, for_x_2) = compiled(name)(y, x)
        close(swapped, value, rtol=5e-5)
        close(for_x_2, for_x, rtol=1e-3)
        close(for_y_2, for_y, rtol=1e-3)
    if case.order:
        order = np.array([3, 0, 5, 1, 4, 2])
        permuted, (for_permuted, _) = compiled(name)(x[order], y[order[::-1]])
        close(permuted, value, rtol=5e-5)
        close(for_permuted, for_x[order], rtol=1e-3)
    if case.shift:
        close(compiled(name)(x + 2.5, y + 2.5)[0], value, rtol=5e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_eager_is_jitted_and_bfloat16_is_computed_in_float32(name):
    x, y = (z.astype(jnp.bfloat16) for z in samples())
    eager = CASES[name].f(x, y)
    assert eager.dtype == jnp.float32
    value, _ = compiled(name)(x.astype(jnp.float32), y.astype(jnp.float32))
    close(eager, value, rtol=5e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].slope])
def test_float64_agrees_and_gradient_is_the_slope(name):
    x, y = (np.asarray(z) for z in samples())
    value, gradients = compiled(name)(x, y)
    with jax.enable_x64(True):
        wide, wide_gradients = compiled(name)(x.astype(np.float64), y.astype(np.float64))
        assert wide.dtype == jnp.float64
        along = [np.sin(np.arange(z.size, dtype=np.float64) + i).reshape(z.shape) for i, z in enumerate((x, y))]
        ahead, behind = (compiled(name)(x + h * along[0], y + h * along[1])[0] for h in (1e-5, -1e-5))
        slope = sum(np.vdot(g, direction) for g, direction in zip(wide_gradients, along, strict=True))
        np.testing.assert_allclose((ahead - behind) / 2e-5, slope, rtol=1e-5, atol=1e-6)
    close(value, wide, rtol=5e-5)
    for narrow, full in zip(gradients, wide_gradients, strict=True):
        close(narrow, full, rtol=1e-3)


@pytest.mark.parametrize("name", PLAIN)
def test_vmap_is_a_loop(name):
    x, y = samples()
    pairs = jnp.stack([x, 2 * x, x]), jnp.stack([y, y - 1, x])
    batched = jit(jax.vmap(CASES[name].f))(*pairs)
    assert batched[0] != batched[1]
    for value, a, b in zip(batched, *pairs, strict=True):
        close(value, compiled(name)(a, b)[0], rtol=5e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_fewest_rows_are_defined_and_fewer_refused(name):
    """At the fewest rows that a case allows, with n ≠ m, everything is finite, also for bfloat16."""
    case, (x, y) = CASES[name], (z.astype(jnp.bfloat16) for z in samples(n=CASES[name].rows, m=3))
    value, gradients = compiled(name)(x, y)
    assert value.dtype == jnp.float32 and np.isfinite(value)
    assert all(gradient.dtype == jnp.bfloat16 and np.isfinite(gradient).all() for gradient in gradients)
    if case.rows > 1:
        with pytest.raises(InputError, match="rows"):
            case.f(x[:1], y)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_samples_are_refused(name):
    x, y = samples()
    for a, b, word in (
        (x, y[:, :5], "columns"),
        (x[0], y, r"\[n, d\]"),
        (x, y.astype(jnp.int32), "dtype"),
        (x[:0], y, "rows"),
    ):
        with pytest.raises(InputError, match=word):
            CASES[name].f(a, b)
