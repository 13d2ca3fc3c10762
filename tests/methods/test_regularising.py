"""Penalties on the target's predictions and on feature norms: golden values, gradients, settings, certain logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.self_training.entropy import afn, bnm, entmin, im, mcc, pseudo_label
from tests.golden import golden, inputs
from tests.methods.passes import gradients_of, make_context, make_pass, penalty_of, relative_error


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def sample():
    names = ("f_s", "f_t", "g_s", "g_t")
    return dict(zip(names, inputs(*names), strict=True))


GOLDEN = {
    "entropy.exact": (entmin(), 0.1, 1),
    "entropy.mean": (entmin(epsilon=1e-5), 0.1, 1),
    "im": (im(), 1.0, -1),  # the golden number is H(p̄) − mean H
    "mcc.T2.5": (mcc(epsilon=1e-5), 1.0, 1),
    "bnm.neg_over_n": (bnm(), 1.0, 1),
    "afn.delta1": (afn(), 0.05, 1),
}


@pytest.mark.parametrize("case", list(GOLDEN))
def test_golden(case, wide):
    method, weight, sign = GOLDEN[case]
    expected = golden(case)
    value, metrics, gradients = gradients_of(method, sample())
    tolerance = 1e-8 if case == "bnm.neg_over_n" else 1e-10
    assert relative_error(value, sign * weight * expected.value) < tolerance
    assert relative_error(metrics[f"loss/{method.name}"], sign * expected.value) < tolerance
    for name, gradient in gradients.items():
        if name in expected.gradients:
            assert relative_error(gradient, sign * weight * expected.gradients[name]) < tolerance
        else:
            assert not np.any(gradient), f"{case} reaches {name}"


def value_of(method, **arrays):
    value, (_, metrics) = penalty_of(method)(make_pass(**{**sample(), **arrays}))
    return value, metrics


def test_settings(wide):
    _, metrics = value_of(im())
    np.testing.assert_allclose(metrics["im/diversity"] - metrics["im/entropy"], golden("im").value, rtol=1e-12)
    np.testing.assert_allclose(value_of(im(diversity=0.0))[0], golden("entropy.exact").value, rtol=1e-12)
    rows, _ = value_of(bnm())
    np.testing.assert_allclose(value_of(bnm(scale="mean"))[0], rows * 8 / 5, rtol=1e-12)
    p = jax.nn.softmax(sample()["g_t"])
    np.testing.assert_allclose(value_of(bnm(fast=True))[0], -np.linalg.norm(p, axis=0).sum() / 8, rtol=1e-12)
    with pytest.raises(InputError, match="mean"):
        bnm(scale="columns")
    with pytest.raises(InputError, match="temperature"):
        value_of(mcc(temperature=0.0))


def test_feature_norms(wide):
    value, metrics = value_of(afn(step=0.3, entropy=0.1))
    norms = [np.linalg.norm(sample()[name], axis=1).mean() for name in ("f_s", "f_t")]
    np.testing.assert_allclose([metrics["afn/norm_source"], metrics["afn/norm_target"]], norms, rtol=1e-12)
    np.testing.assert_allclose(value, 0.05 * 2 * 0.3**2 + 0.1 * golden("entropy.exact").value, rtol=1e-12)
    # Each row is pushed outwards by the same amount, −λ · 2Δ/n along its direction; a row of zeros stays.
    f = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    _, _, gradients = gradients_of(afn(), {"f_s": f, "f_t": f, "g_t": jnp.zeros((2, 3))})
    np.testing.assert_allclose(gradients["f_s"], -0.05 * np.array([[0.6, 0.8], [0.0, 0.0]]), rtol=1e-12)


def test_pseudo_labels_by_hand(wide):
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.4, 0.35, 0.25], [0.05, 0.05, 0.9]]))
    value, metrics = value_of(pseudo_label(threshold=0.7), g_t=jnp.asarray(logits))
    np.testing.assert_allclose(value, -(np.log(0.8) + np.log(0.9)) / 3, rtol=1e-12)
    np.testing.assert_allclose(metrics["pseudo_label/kept"], 2 / 3, rtol=1e-12)
    nothing, metrics = value_of(pseudo_label(threshold=0.99), g_t=jnp.asarray(logits))
    assert nothing == 0 and metrics["pseudo_label/kept"] == 0
    # The label is a constant: the gradient of each kept row is (p − onehot)/n.
    _, _, gradients = gradients_of(pseudo_label(threshold=0.7), {**sample(), "g_t": logits})
    expected = np.array([[-0.2, 0.1, 0.1], [0, 0, 0], [0.05, 0.05, -0.1]]) / 3
    np.testing.assert_allclose(gradients["g_t"], expected, atol=1e-12)
    lee = pseudo_label(threshold=0.0, weight=lambda view: 3 * jnp.clip((view.step - 100) / 500, 0, 1))
    value, _ = penalty_of(lee, context=make_context(step=jnp.array(350)))(make_pass(**{**sample(), "g_t": logits}))
    np.testing.assert_allclose(value, -1.5 * np.log([0.8, 0.4, 0.9]).mean(), rtol=1e-6)


@pytest.mark.parametrize("factory", [entmin, im, mcc, bnm, afn, pseudo_label])
def test_certain_predictions_and_equal_features_are_finite(factory):
    certain = 1e4 * (2 * jax.nn.one_hot(jnp.array([0, 1, 1, 0]), 3) - 1)
    both = {"f_s": jnp.zeros((4, 6)), "f_t": jnp.ones((4, 6)), "g_s": certain, "g_t": certain}
    value, _, gradients = gradients_of(factory(), both)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients.values())
