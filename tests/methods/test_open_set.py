"""OSBP, OVANet, and rejection by a threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.methods import source_only
from dalib.methods.label_sets.open_set import (
    append_unknown,
    binary_entropy,
    one_vs_all_loss,
    osbp,
    ovanet,
    unknown_cross_entropy,
    with_rejection,
)
from tests.golden import inputs
from tests.methods.passes import FORWARD, HEAD, gradients_of, make_pass, make_spec, penalty_of

NAMES = ("f_s", "f_t", "g_s", "g_t")


def sample(**more):
    return {**{n: jnp.asarray(x, jnp.float32) for n, x in zip(NAMES, inputs(*NAMES), strict=True)}, **more}


def test_unknown_cross_entropy_against_the_formula_and_finite_at_the_ends():
    g_t = inputs("g_t")[0]
    p = np.exp(g_t) / np.exp(g_t).sum(1, keepdims=True)
    for t in (0.5, 0.3):
        expected = -(t * np.log(p[:, -1]) + (1 - t) * np.log(1 - p[:, -1])).mean()
        np.testing.assert_allclose(
            unknown_cross_entropy(jnp.asarray(g_t, jnp.float32), boundary=t), expected, rtol=1e-5
        )
    half = jnp.log(jnp.array([[0.3, 0.2, 0.5]]))
    np.testing.assert_allclose(unknown_cross_entropy(half), np.log(2), rtol=1e-6)
    for logits in (jnp.array([[-1e4, 0.0, 1e4]]), jnp.array([[1e4, 0.0, -1e4]]), jnp.zeros((2, 3))):
        value, gradient = jax.jit(jax.value_and_grad(unknown_cross_entropy))(logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_osbp_turns_the_encoders_gradient_and_not_the_heads():
    params = {"head": make_spec().init_head(jax.random.key(0))}

    def run(reversal):
        method = osbp(reversal=lambda view: reversal)
        value, _, gradients = gradients_of(method, sample(), params=params, state={})
        of = jax.jit(jax.grad(lambda p: penalty_of(method, p, {})(make_pass(**sample()))[0]))(params)
        return value, gradients, of["head"]["kernel"]

    value, turned, of_head = run(1.0)
    plain_value, plain, same = run(-1.0)
    assert value == plain_value and np.any(plain["f_t"])
    np.testing.assert_allclose(turned["f_t"], -plain["f_t"], rtol=1e-6)
    np.testing.assert_allclose(of_head, same, rtol=1e-6)
    assert not np.any(turned["f_s"]) and not np.any(turned["g_t"])
    logits = HEAD.apply({"params": params["head"]}, sample()["f_t"])
    np.testing.assert_allclose(value, unknown_cross_entropy(logits), rtol=1e-6)


def test_one_vs_all_loss_by_hand():
    logits = jnp.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
    got = one_vs_all_loss(logits, jnp.array([0, 1]))
    softplus = lambda z: np.log1p(np.exp(z))  # noqa: E731
    np.testing.assert_allclose(got, [softplus(-2) + softplus(0.5), softplus(-1) + softplus(3)], rtol=1e-6)
    gradient = jax.grad(lambda z: one_vs_all_loss(z, jnp.array([0, 1])).sum())(logits)
    # Only the own class and the hardest other one learn.
    np.testing.assert_array_equal(np.asarray(gradient) != 0, [[True, False, True], [False, True, True]])
    huge = jax.value_and_grad(lambda z: one_vs_all_loss(z, jnp.array([0])).sum())(jnp.array([[-1e4, 1e4]]))
    assert np.isfinite(huge[0]) and np.isfinite(huge[1]).all()


def test_binary_entropy():
    np.testing.assert_allclose(binary_entropy(jnp.array([0.0, np.log(3.0)])), [np.log(2), 0.5623351], rtol=1e-5)
    value, gradient = jax.value_and_grad(lambda z: binary_entropy(z).sum())(jnp.array([-1e4, 1e4, 0.0]))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_ovanet_sums_its_terms_and_trains_the_features():
    method = ovanet(weight=2.0, source=0.5, entropy=0.1)
    params, state = method.init(jax.random.key(0), make_spec())
    assert params["open_heads"]["kernel"].shape == (16, 5)
    labels = inputs("y_s")[0].astype(np.int32)
    value, metrics, gradients = gradients_of(method, sample(labels=labels), params=params, state=state)
    np.testing.assert_allclose(value, metrics["loss/ovanet"] + 0.2 * metrics["loss/open_entropy"], rtol=1e-5)
    assert np.any(gradients["f_s"]) and np.any(gradients["f_t"])
    assert not np.any(gradients["g_s"]) and not np.any(gradients["g_t"])
    on_source = sample()["f_s"] @ params["open_heads"]["kernel"] + params["open_heads"]["bias"][None]
    np.testing.assert_allclose(metrics["loss/ovanet"], one_vs_all_loss(on_source, labels).mean(), rtol=1e-5)


def test_ovanet_predicts_unknown_where_the_likeliest_classs_head_disagrees():
    method = ovanet()
    features = jnp.eye(2)
    params = {"open_heads": {"kernel": jnp.array([[1.0, -9.0], [9.0, -1.0]]), "bias": jnp.zeros(2)}}
    # Row 0 is of class 0, whose head says 1; row 1 of class 1, whose head says −1 although the other one says 9.
    outputs = Outputs(features, jnp.array([[2.0, 1.0], [1.0, 3.0]]))
    logits = method.hooks.predict(params, outputs, FORWARD)
    np.testing.assert_array_equal(logits.argmax(-1), [0, 2])
    np.testing.assert_allclose(logits, [[2, 1, 1], [1, 3, 4]])


def test_rejection():
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]))
    np.testing.assert_array_equal(append_unknown(logits, jnp.array([0.0, -1e-3, 1.0])).argmax(-1), [0, 2, 1])
    method = with_rejection(source_only(), threshold=0.75)
    got = method.hooks.predict({}, Outputs(logits, logits), FORWARD)
    np.testing.assert_array_equal(got.argmax(-1), [0, 2, 1])
    np.testing.assert_allclose(got[:, :2], logits)
    assert method.needs.rejects and not source_only().needs.rejects
    around = with_rejection(method, threshold=0.0).hooks.predict({}, Outputs(logits, logits), FORWARD)
    assert around.shape == (3, 4)
    with pytest.raises(InputError, match="threshold"):
        with_rejection(source_only(), threshold=80)
