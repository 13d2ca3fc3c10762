"""PADA and IWAN: weights on source classes and examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.methods.label_sets.partial import class_weights, importance_weights, iwan, pada
from dalib.methods.parts.nets import Discriminator, discriminate
from dalib.methods.view import Look, States
from tests.contract.cases import batch, setup
from tests.golden import golden, inputs
from tests.methods.passes import (
    discriminator_parameters,
    gradients_of,
    loss_of,
    make_context,
    make_pass,
    make_spec,
    penalty_of,
    relative_error,
)

NAMES = ("f_s", "f_t", "g_s", "g_t")


def sample(**more):
    return {**{n: jnp.asarray(x, jnp.float32) for n, x in zip(NAMES, inputs(*NAMES), strict=True)}, **more}


def test_iwan_weights_golden():
    with jax.enable_x64(True):
        net = Discriminator((12, 12), norm=True)
        logits = discriminate(net, discriminator_parameters("D_feat"), jnp.asarray(inputs("f_s")[0]))
        assert relative_error(importance_weights(logits)[:, None], golden("iwan.weight").value) < 1e-10


def test_importance_weights_by_hand_and_at_the_ends():
    # Probabilities of "target" 1/2 and 1/5, mean 0.35.
    got = importance_weights(jnp.array([0.0, np.log(4.0)]))
    np.testing.assert_allclose(got, np.array([0.5, 0.2]) / (0.35 + 1e-5), rtol=1e-6)
    np.testing.assert_array_equal(importance_weights(jnp.array([1e4, 1e4])), 0)
    assert np.isfinite(importance_weights(jnp.array([-1e4, 1e4]))).all()
    np.testing.assert_array_equal(jax.grad(lambda z: importance_weights(z)[0])(jnp.array([0.0, 1.0])), 0)


def test_iwan_sums_its_parts_and_sends_gradients_where_they_belong():
    method = iwan(hidden=(4,), reversal=1.0, weight=2.0, adversary=3.0, weigher=5.0, entropy=0.5)
    params, state = method.init(jax.random.key(0), make_spec())
    assert set(params) == {"weigher", "discriminator"} and state == {}
    value, metrics, gradients = gradients_of(method, sample(), params=params, state=state)
    total = 3 * metrics["loss/iwan"] + 5 * metrics["loss/iwan_weigher"] + 0.5 * metrics["loss/entropy"]
    np.testing.assert_allclose(value, 2 * total, rtol=1e-5)
    assert 0 < metrics["iwan/effective_rows"] <= 1
    assert np.any(gradients["f_s"]) and np.any(gradients["g_t"]) and not np.any(gradients["g_s"])
    # D's own loss reaches D alone: without the adversary the encoder feels nothing.
    alone = iwan(hidden=(4,), reversal=1.0, adversary=0.0, entropy=0.0)
    _, _, silent = gradients_of(alone, sample(), params=params, state=state)
    assert not any(np.any(g) for g in silent.values())
    of = jax.jit(jax.grad(lambda p: penalty_of(alone, p, state)(make_pass(**sample()))[0]))(params)
    assert np.any(of["weigher"]["Dense_0"]["kernel"]) and not np.any(of["discriminator"]["Dense_0"]["kernel"])
    # The weights hang on D but give it no gradient.
    adversary = iwan(hidden=(4,), reversal=1.0, weigher=0.0, entropy=0.0)
    of = jax.jit(jax.grad(lambda p: penalty_of(adversary, p, state)(make_pass(**sample()))[0]))(params)
    assert not np.any(of["weigher"]["Dense_0"]["kernel"]) and np.any(of["discriminator"]["Dense_0"]["kernel"])


def test_class_weights_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.4, 0.1], [0.7, 0.2, 0.1]]))
    np.testing.assert_allclose(class_weights(logits), [1, 0.5, 1 / 6], rtol=1e-6)
    sharp = class_weights(logits, temperature=0.1)
    assert sharp[0] == 1 and (sharp[1:] < 0.1).all()
    np.testing.assert_allclose(class_weights(jnp.array([[1e4, -1e4]])), [1, 0])


def test_golden_domain_loss_with_class_weights():
    """γ chosen so that the rows' weights are the golden case's on the source, with the target's at 1."""
    with jax.enable_x64(True):
        f_s, f_t, w_s = (jnp.asarray(x) for x in inputs("f_s", "f_t", "w_s"))
        params = {"discriminator": discriminator_parameters("D_feat")}
        method = pada(hidden=(12, 12), norm=True, reversal=1.0)
        state = {"class_weights": w_s, "refreshes": jnp.array(0)}
        arrays = {"f_s": f_s, "f_t": f_t, "labels": np.arange(8)}
        _, _, got = gradients_of(method, arrays, params=params, state=state)
        expected = golden("dann.sigmoid.weighted").gradients
        # The golden case weighs the target too, so only the first half of the loss may be compared: by its difference
        # from a run whose source weights are 0.
        none = {"class_weights": 0 * w_s, "refreshes": jnp.array(0)}
        _, _, rest = gradients_of(method, arrays, params=params, state=none)
        assert expected["f_s"].shape == got["f_s"].shape
        net = Discriminator((12, 12), norm=True)

        def half(f_s, f_t):
            logits = discriminate(net, params["discriminator"], jnp.concatenate([f_s, f_t]))[:8]
            return 0.5 * (w_s * jax.nn.softplus(-logits)).mean()

        plain = dict(zip(("f_s", "f_t"), jax.jit(jax.grad(half, argnums=(0, 1)))(f_s, f_t), strict=True))
        for name in ("f_s", "f_t"):
            np.testing.assert_allclose(got[name] - rest[name], -plain[name], rtol=1e-10, atol=1e-14)


def task(method, labels, weights):
    """Task loss of PADA's update on golden logits."""
    outputs = make_pass(**sample(labels=labels))

    class Seen:
        @staticmethod
        def pair(params, model, batch, key):
            return outputs, model

    states = States({}, {"class_weights": jnp.asarray(weights), "refreshes": jnp.array(1)})
    return loss_of(method.updates[0], {}, states, outputs.batch, Seen, make_context()).value


def test_pada_weighs_the_task_loss():
    labels = inputs("y_s")[0].astype(np.int32)
    rows = -jax.nn.log_softmax(sample()["g_s"])[np.arange(8), labels]
    weights = np.array([1.0, 0.5, 0.0, 0.25, 0.125], np.float32)
    of_rows = weights[labels]
    np.testing.assert_allclose(task(pada(), labels, weights), (of_rows * rows).mean(), rtol=1e-5)
    divided = pada(divide_by_weights=True)
    np.testing.assert_allclose(task(divided, labels, weights), (of_rows * rows).sum() / of_rows.sum(), rtol=1e-5)
    assert task(divided, labels, np.zeros(5, np.float32)) == 0


def test_pada_looks_at_the_whole_target_from_the_second_refresh_on():
    method = pada(hidden=(3,), temperature=0.5)
    assert method.hooks.refresh_every == 500
    _, state = method.init(jax.random.key(0), make_spec())
    np.testing.assert_array_equal(state["class_weights"], np.ones(5))
    logits = sample()["g_t"]
    states = States({"kept": 1}, state)
    look = Look({"target": Outputs(logits, logits)}.__getitem__, None, None)
    first = method.hooks.refresh({}, states, look)
    np.testing.assert_array_equal(first.method["class_weights"], np.ones(5))
    second = method.hooks.refresh({}, first, look)
    np.testing.assert_allclose(second.method["class_weights"], class_weights(logits, temperature=0.5))
    assert second.model == {"kept": 1} and int(second.method["refreshes"]) == 2
    at_once = pada(hidden=(3,), warmup_refreshes=0).hooks.refresh({}, states, look)
    np.testing.assert_allclose(at_once.method["class_weights"], class_weights(logits))


def test_pada_balances_the_target():
    params, _ = pada(hidden=(3,)).init(jax.random.key(0), make_spec())
    state = {"class_weights": jnp.array([1.0, 0.0, 0.0, 0.0, 0.0]), "refreshes": jnp.array(1)}
    outputs = make_pass(**sample(labels=np.array([0, 1, 1, 1, 1, 1, 1, 1])))
    ones, balanced = (penalty_of(pada(hidden=(3,), balance_target=b), params, state)(outputs)[0] for b in (False, True))
    net = Discriminator((3,))
    on_source, on_target = (discriminate(net, params["discriminator"], f) for f in (sample()["f_s"], sample()["f_t"]))
    source, target = jax.nn.softplus(-on_source[0]) / 8, jax.nn.softplus(on_target).mean()
    np.testing.assert_allclose(ones, 0.5 * (source + target), rtol=1e-5)
    np.testing.assert_allclose(balanced, 0.5 * (source + target / 8), rtol=1e-5)


def test_a_class_of_weight_0_teaches_nothing():
    method = pada(weight=0.0)
    state, step = setup(method, "tokens")
    own = {**state.method, "class_weights": jnp.array([1.0, 1.0, 0.0])}
    state = state.replace(method=own)
    b = batch("tokens")
    other = np.where(b.source.labels[:, None] == 2, (b.source.inputs + 1) % 11, b.source.inputs).astype(np.int32)
    step = jax.jit(step)
    one, two = step(state, b)[0], step(state, b._replace(source=b.source._replace(inputs=other)))[0]
    for x, y in zip(jax.tree.leaves(one.params["head"]), jax.tree.leaves(two.params["head"]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_refused():
    for options in ({"temperature": 0.0}, {"refresh_every": 0}, {"warmup_refreshes": -1}):
        with pytest.raises(InputError):
            pada(**options)


def test_the_authors_class_weights_have_mean_one():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32)
    p = np.asarray(jax.nn.softmax(logits)).mean(0)
    np.testing.assert_allclose(class_weights(logits, divide_by="mean"), p / p.mean(), rtol=1e-6)
    np.testing.assert_allclose(class_weights(logits, divide_by="max"), p / p.max(), rtol=1e-6)
    with pytest.raises(InputError, match="divide_by"):
        pada(divide_by="sum")
