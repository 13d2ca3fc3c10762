"""Gradient reversal and its schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Time
from dalib.methods.parts.nets import dann_schedule, iteration_schedule, reverse_by, reverse_gradient
from tests.golden import golden


def at(progress) -> Time:
    return Time(jnp.array(0), jnp.asarray(progress, jnp.float32))


def loss(x, w, coefficient):
    return jnp.sum(jnp.tanh(reverse_gradient(x, coefficient) @ w))


@pytest.fixture
def xw():
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (4, 3)), jax.random.normal(keys[1], (3, 2))


def test_reverses_what_is_before_it_and_nothing_behind_it(xw):
    x, w = xw
    plain = jax.grad(lambda x, w: jnp.sum(jnp.tanh(x @ w)), argnums=(0, 1))(x, w)
    of_x, of_w = jax.grad(loss, argnums=(0, 1))(x, w, 0.3)
    np.testing.assert_allclose(of_x, -0.3 * plain[0], rtol=1e-6)
    np.testing.assert_array_equal(of_w, plain[1])
    assert not np.any(jax.grad(loss)(x, w, 0.0))
    assert loss(x, w, 0.3) == loss(x, w, 2.0)


def test_one_compilation_serves_all_coefficients(xw):
    x, w = xw
    compiled = jax.jit(jax.grad(loss))
    gradients = [compiled(x, w, jnp.float32(c)) for c in (0.0, 0.5, 1.0)]
    assert compiled._cache_size() == 1
    np.testing.assert_allclose(gradients[1], 0.5 * gradients[2], rtol=1e-6)
    many = jax.vmap(jax.grad(loss), (None, None, 0))(x, w, jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(many, np.stack(gradients), rtol=1e-4)


def test_trees_and_dtypes():
    tree = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(3)}
    gradient = jax.grad(lambda t: sum(x.sum().astype(jnp.float32) for x in jax.tree.leaves(reverse_gradient(t))))(tree)
    assert gradient["a"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient["b"], -np.ones(3))


def test_a_coefficient_is_a_function_of_time_or_a_number():
    x = jnp.ones(2, jnp.bfloat16)
    for reversal, expected in ((dann_schedule, 0.9866), (0.25, 0.25), (jnp.float32(2), 2.0)):
        same, coefficient = reverse_by(reversal, at(0.5), x)
        assert coefficient.dtype == x.dtype and same.dtype == x.dtype
        np.testing.assert_allclose(np.asarray(coefficient, np.float32), expected, rtol=1e-2)


@pytest.mark.parametrize("step", [0, 1, 100, 1000, 5000])
def test_golden_warm_start(step):
    with jax.enable_x64(True):
        time = Time(jnp.asarray(step), jnp.asarray(step / 10_000))
        np.testing.assert_allclose(iteration_schedule(time), golden(f"grl.warm_start.step{step}").value, rtol=1e-12)
        np.testing.assert_allclose(dann_schedule(time), iteration_schedule(time), rtol=1e-12)


def test_schedule():
    np.testing.assert_allclose(dann_schedule(at([0.0, 0.1, 0.5, 1.0])), [0, 0.462117, 0.986614, 0.999909], atol=1e-6)
    np.testing.assert_allclose(dann_schedule(at([0.0, 1.0]), low=0.2, high=0.7), [0.2, 0.7], atol=1e-4)
