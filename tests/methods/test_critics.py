"""WDGRL's critic and domain confusion's discriminator: losses by hand, and who learns from which."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalib.core.checks import InputError
from dalib.methods import States
from dalib.methods.adversarial.critics import between, wdgrl
from dalib.methods.adversarial.domain_classifier import confusion
from tests.golden import inputs
from tests.methods.passes import FORWARD, gradients_of, loss_of, make_context, make_pass, make_spec, penalty_of

LINEAR = {"Dense_0": {"kernel": jnp.array([[3.0], [4.0]]), "bias": jnp.array([7.0])}}
"""A critic w·h + 7 with ‖w‖ = 5."""


def update_of(method, name, params, outputs, key=None):
    """Value and metrics of an update whose forward pass gives ``outputs``."""
    (update,) = [u for u in method.updates if u.name == name]
    forward = FORWARD._replace(pair=lambda params, model, batch, key: (outputs, model))
    context = make_context(key=jax.random.key(0) if key is None else key)
    result = loss_of(update, params, States({}, {}), outputs.batch, forward, context)
    return result.value, result.metrics


def points(n=6, m=4):
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (n, 2)), jax.random.normal(keys[1], (m, 2)) + 1


def test_wdgrl_by_hand():
    method = wdgrl(weight=0.5, gradient_penalty=10.0, hidden=())
    f_s, f_t = points()
    distance = float((f_s.mean(0) - f_t.mean(0)) @ jnp.array([3.0, 4.0]))
    params = {"critic": LINEAR}
    value, metrics = update_of(method, "critic", params, make_pass(f_s, f_t))
    np.testing.assert_allclose(value, -distance + 10 * 16, rtol=1e-5)
    np.testing.assert_allclose(metrics["wdgrl/gradient_norm"], 5, rtol=1e-6)
    value, metrics, gradients = gradients_of(method, {"f_s": f_s, "f_t": f_t}, params=params, state={})
    np.testing.assert_allclose([value, 0.5 * metrics["loss/wdgrl"]], 0.5 * distance, rtol=1e-4)
    np.testing.assert_allclose(gradients["f_s"], 0.5 / 6 * np.tile([[3.0, 4.0]], (6, 1)), rtol=1e-5)
    np.testing.assert_allclose(gradients["f_t"], -0.5 / 4 * np.tile([[3.0, 4.0]], (4, 1)), rtol=1e-5)


def test_wdgrl_critic_learns_from_fixed_features():
    method = wdgrl(hidden=(5,))
    params, _ = method.init(jax.random.key(0), make_spec(2))
    f_s, f_t = points()

    def loss(params, f_s, f_t):
        return update_of(method, "critic", params, make_pass(f_s, f_t))[0]

    of_critic, of_s, of_t = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, f_s, f_t)
    assert not np.any(of_s) and not np.any(of_t)
    # The penalty's gradient is a second derivative: against a finite difference along it.
    step = 1e-3
    ahead, behind = (jax.tree.map(lambda p, g, s=s: p + s * g, params, of_critic) for s in (step, -step))
    square = sum(jnp.vdot(g, g) for g in jax.tree.leaves(of_critic))
    f = jax.jit(loss)
    np.testing.assert_allclose((f(ahead, f_s, f_t) - f(behind, f_s, f_t)) / (2 * step), square, rtol=0.05)
    assert [(u.name, u.trains, u.repeats) for u in method.updates] == [
        ("critic", ("critic",), 5),
        ("task", ("encoder", "bottleneck", "head"), 1),
    ]


def test_wdgrl_critic_finds_the_distance_of_a_translation():
    method = wdgrl(hidden=(32,))
    params, _ = method.init(jax.random.key(0), make_spec(2))
    x = jax.random.normal(jax.random.key(1), (32, 2))
    outputs = make_pass(x, x + jnp.array([[1.2, -1.6]]))  # W₁ of a translation is its length, 2
    # The penalty is soft: of all slopes a along the shift, 2a − 10 (a − 1)² is largest at a = 1.1.
    optimizer = optax.adam(0.02)

    def step(carry, key):
        params, moments = carry
        gradient = jax.grad(lambda p: update_of(method, "critic", p, outputs, key)[0])(params)
        change, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, change), moments), None

    keys = jax.random.split(jax.random.key(2), 400)
    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), keys))(params)
    estimate, _ = penalty_of(method, params, {})(outputs)
    np.testing.assert_allclose(estimate, 2.2, rtol=0.03)


def test_points_between_rows():
    source, target = jnp.zeros((2, 3)), jnp.arange(15.0).reshape(5, 3) + 1
    rows = between(source, target, jax.random.key(0))
    share = rows / target
    assert rows.shape == (5, 3)
    np.testing.assert_allclose(share, np.tile(share[:, :1], (1, 3)), rtol=1e-5)
    assert np.all((share >= 0) & (share <= 1)) and len(np.unique(share[:, 0])) == 5
    with jax.enable_x64(True):
        wide = between(source.astype(jnp.float64), target.astype(jnp.float64), jax.random.key(0))
    np.testing.assert_allclose(rows, wide, rtol=1e-6)  # the same draws in both precisions


def test_equal_features_give_wdgrl_nothing():
    x = jnp.ones((4, 2))
    method = wdgrl(hidden=(3,))
    params, _ = method.init(jax.random.key(0), make_spec(2))
    value, _, gradients = gradients_of(method, {"f_s": x, "f_t": x}, params=params, state={})
    np.testing.assert_allclose(value, 0, atol=1e-6)
    dead = jax.tree.map(jnp.zeros_like, params)  # a constant critic: ‖∇‖ = 0, where the norm has a kink
    critic = jax.jit(jax.grad(lambda p: update_of(method, "critic", p, make_pass(x, x))[0]))(dead)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((gradients, critic)))
    with pytest.raises(InputError, match="critic_steps"):
        wdgrl(critic_steps=0)


def test_confusion_by_hand():
    f_s, f_t = jnp.array([[0.0], [jnp.log(3.0)]]), jnp.array([[-jnp.log(3.0)]])
    params = {"discriminator": {"Dense_0": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}}
    method = confusion(weight=2.0, hidden=())
    value, metrics, gradients = gradients_of(method, {"f_s": f_s, "f_t": f_t}, params=params, state={})
    sure = -0.5 * (np.log(0.75) + np.log(0.25))
    expected = 0.5 * ((np.log(2) + sure) / 2 + sure)
    np.testing.assert_allclose([value, 2 * metrics["loss/confusion"]], 2 * expected, rtol=1e-5)
    # d/dz = σ(z) − ½: none at indifference, and towards it on both sides.
    np.testing.assert_allclose(gradients["f_s"], 2 * 0.25 * np.array([[0.0], [0.25]]), atol=1e-6)
    np.testing.assert_allclose(gradients["f_t"], 2 * 0.5 * np.array([[-0.25]]), atol=1e-6)
    value, metrics = update_of(method, "discriminator", params, make_pass(f_s, f_t))
    np.testing.assert_allclose(value, 0.5 * ((np.log(2) + np.log(4 / 3)) / 2 + np.log(4 / 3)), rtol=1e-5)
    np.testing.assert_allclose(metrics["confusion/domain_accuracy"], 0.75)


def test_confusion_separates_its_two_updates():
    f_s, f_t = (np.float32(z) for z in inputs("f_s", "f_t"))
    method = confusion(hidden=(4,))
    params, _ = method.init(jax.random.key(0), make_spec())

    def loss(f_s, f_t):
        return update_of(method, "discriminator", params, make_pass(f_s, f_t))[0]

    assert not any(np.any(g) for g in jax.jit(jax.grad(loss, argnums=(0, 1)))(f_s, f_t))
    assert [(u.name, u.trains, u.joins) for u in method.updates] == [
        ("discriminator", ("discriminator",), False),
        ("task", ("encoder", "bottleneck", "head"), True),
    ]
