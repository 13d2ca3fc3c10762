"""DANN and its discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.methods import dann
from dalib.methods.parts.nets import Discriminator, discriminate, domain_loss
from tests.golden import golden, inputs
from tests.methods.passes import (
    discriminator_parameters,
    gradients_of,
    make_context,
    make_pass,
    make_spec,
    penalty_of,
    relative_error,
)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def golden_run(**settings):
    f_s, f_t = inputs("f_s", "f_t")
    method = dann(hidden=(12, 12), norm=True, **settings)
    params = {"discriminator": discriminator_parameters("D_feat")}
    context = make_context(0.0)
    value, metrics, gradients = gradients_of(method, {"f_s": f_s, "f_t": f_t}, params=params, state={}, context=context)
    of_d = jax.jit(jax.grad(lambda p: penalty_of(method, p, {}, context=context)(make_pass(f_s, f_t))[0]))(params)
    return value, metrics, gradients, of_d["discriminator"]


def test_golden(wide):
    value, metrics, gradients, of_d = golden_run(reversal=1.0)
    expected = golden("dann.sigmoid")
    assert relative_error(value, expected.value) < 1e-10
    for name in ("f_s", "f_t"):
        assert relative_error(gradients[name], expected.gradients[name]) < 1e-10
    assert relative_error(of_d["Dense_0"]["kernel"].T, expected.gradients["D_w0"]) < 1e-10
    assert float(metrics["dann/reversal"]) == 1


def test_golden_first_step_gives_the_encoder_nothing(wide):
    value, metrics, gradients, of_d = golden_run()
    assert relative_error(value, golden("dann.default_grl.step0").value) < 1e-10
    assert not any(np.any(g) for g in gradients.values())
    assert np.any(of_d["Dense_0"]["kernel"])
    assert float(metrics["dann/reversal"]) == 0


def test_golden_weighted_rows(wide):
    f_s, f_t, w_s, w_t = (jnp.asarray(z) for z in inputs("f_s", "f_t", "w_s", "w_t"))
    net, params = Discriminator((12, 12), norm=True), discriminator_parameters("D_feat")

    def loss(f_s, f_t):
        z = discriminate(net, params, jnp.concatenate([f_s, f_t]))
        return domain_loss(z[:8], z[8:], source_weights=w_s, target_weights=w_t)[0]

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(f_s, f_t)
    expected = golden("dann.sigmoid.weighted")
    assert relative_error(value, expected.value) < 1e-10
    for name, gradient in zip(("f_s", "f_t"), gradients, strict=True):
        # The golden gradients are behind reversal with coefficient 1.
        assert relative_error(-gradient, expected.gradients[name]) < 1e-10


def test_signs_against_finite_differences(wide):
    f_s, f_t = (jnp.asarray(z) for z in inputs("f_s", "f_t"))
    method = dann(hidden=(4,), reversal=0.5)
    params, _ = method.init(jax.random.key(0), make_spec())
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)

    @jax.jit
    def value(f_s, params):
        return penalty_of(method, params, {})(make_pass(f_s, f_t))[0]

    of_f, of_p = jax.jit(jax.grad(value, argnums=(0, 1)))(f_s, params)
    step = 1e-6
    slope = (value(f_s + step * of_f, params) - value(f_s - step * of_f, params)) / (2 * step)
    np.testing.assert_allclose(slope, -jnp.vdot(of_f, of_f) / 0.5, rtol=1e-6)
    ahead, behind = (jax.tree.map(lambda p, g, s=s: p + s * g, params, of_p) for s in (step, -step))
    slope = (value(f_s, ahead) - value(f_s, behind)) / (2 * step)
    np.testing.assert_allclose(slope, sum(jnp.vdot(g, g) for g in jax.tree.leaves(of_p)), rtol=1e-6)


def test_domain_loss_by_hand():
    source, target = jnp.array([0.0, jnp.log(3.0)]), jnp.array([0.0, 0.0, -jnp.log(3.0)])
    loss, accuracy = domain_loss(source, target)
    by_domain = (np.log(2) + np.log(4 / 3)) / 2, (2 * np.log(2) + np.log(4 / 3)) / 3
    np.testing.assert_allclose(loss, np.mean(by_domain), rtol=1e-6)
    np.testing.assert_allclose(accuracy, 0.75)  # half of the source's rows are above 0, all of the target's are not
    equilibrium, chance = domain_loss(jnp.zeros(3), jnp.zeros(5))
    np.testing.assert_allclose([equilibrium, chance], [np.log(2), 0.5], rtol=1e-6)
    # Weights are averaged over rows, not over their sum.
    np.testing.assert_allclose(
        domain_loss(source, target, source_weights=jnp.full(2, 3.0), target_weights=jnp.zeros(3))[0],
        1.5 * by_domain[0],
        rtol=1e-6,
    )
    certain, _ = domain_loss(jnp.array([1e4]), jnp.array([-1e4]))
    wrong, _ = domain_loss(jnp.array([-1e4]), jnp.array([1e4]))
    assert float(certain) == 0 and float(wrong) == 1e4


def test_row_norm_and_dropout():
    rows = jax.random.normal(jax.random.key(0), (6, 3)) * 5 + 2
    net = Discriminator((4,), norm=True)
    apply = jax.jit(discriminate, static_argnums=0)
    params = jax.jit(net.init)(jax.random.key(1), rows)["params"]
    # Batch statistics undo any scale of the first layer's outputs.
    moved = {**params, "Dense_0": {k: 7 * p for k, p in params["Dense_0"].items()}}
    np.testing.assert_allclose(apply(net, params, rows), apply(net, moved, rows), atol=1e-4)
    net = Discriminator((64,), dropout=0.5)
    params = jax.jit(net.init)(jax.random.key(1), rows)["params"]
    draws = [np.asarray(apply(net, params, rows, jax.random.key(k))) for k in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.any(draws[0] != draws[2])
    assert np.any(draws[0] != apply(net, params, rows))
