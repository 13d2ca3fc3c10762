"""MDD and DD: a second head that disagrees on the target, behind gradient reversal."""

import jax
import jax.numpy as jnp
import numpy as np

from dalib.methods.adversarial.two_heads import mdd
from dalib.methods.statistics.regression import dd
from tests.golden import golden, inputs
from tests.methods.passes import gradients_of, make_context, make_pass, make_spec, penalty_of, relative_error

NAMES = ("f_s", "f_t", "g_s", "g_t")
AS_LOGITS = {"adversary": {}}
"""With these parameters the adversary's outputs are the features themselves, see ``passes.head``."""


def test_golden_regression():
    with jax.enable_x64(True):
        names = ("a_s", "a_t", "g_s", "g_t")
        p = {name: jax.nn.softmax(jnp.asarray(x)) for name, x in zip(names, inputs(*names), strict=True)}
        expected = golden("mdd.regression.margin1")

        def loss(a_s, a_t):
            outputs = make_pass(jax.nn.softmax(a_s), jax.nn.softmax(a_t), p["g_s"], p["g_t"])
            return penalty_of(dd(reversal=1.0), AS_LOGITS, {})(outputs)[0]

        logits = [jnp.asarray(x) for x in inputs("a_s", "a_t")]
        value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*logits)
        assert relative_error(value, -expected.value) < 1e-10
        # The loss is minus the disparity, and the reversal turns its gradient back.
        for gradient, name in zip(gradients, ("a_s", "a_t"), strict=True):
            assert relative_error(gradient, expected.gradients[name]) < 1e-10


def test_mdd_by_hand():
    features = {"f_s": jnp.log(jnp.array([[0.5, 0.3, 0.2]])), "f_t": jnp.log(jnp.array([[0.1, 0.2, 0.7]]))}
    logits = {"g_s": jnp.array([[0.0, 9.0, 1.0]]), "g_t": jnp.array([[0.0, 0.0, 3.0]])}
    value, metrics, gradients = gradients_of(
        mdd(weight=2.0, reversal=0.5), {**features, **logits}, params=AS_LOGITS, state={}
    )
    # Pseudo-labels 1 and 2: γ CE on the source, −ln(1 − p) on the target.
    expected = -4 * np.log(0.3) - np.log(0.3)
    np.testing.assert_allclose([value, 2 * metrics["loss/mdd"]], 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["mdd/reversal"], 0.5)
    np.testing.assert_allclose(gradients["f_s"], -0.5 * 2 * 4 * np.array([[0.5, -0.7, 0.2]]), rtol=1e-5)
    # d/dz −ln(1 − p_2) = p_2 (1[k = 2] − p_k)/(1 − p_2).
    slope = 0.7 / 0.3 * (np.array([[0, 0, 1]]) - np.array([[0.1, 0.2, 0.7]]))
    np.testing.assert_allclose(gradients["f_t"], -0.5 * 2 * slope, rtol=1e-4)
    assert not np.any(gradients["g_s"]) and not np.any(gradients["g_t"])


def test_the_shifted_logarithm_differs_by_the_shift():
    read = inputs("a_s", "a_t", "g_s", "g_t")
    arrays = {name: jnp.asarray(x, jnp.float32) for name, x in zip(NAMES, read, strict=True)}
    exact, shifted = (gradients_of(mdd(shift=s), arrays, params=AS_LOGITS, state={})[0] for s in (None, 1e-2))
    p = jax.nn.softmax(arrays["f_t"])[jnp.arange(8), arrays["g_t"].argmax(1)]
    expected = np.mean(np.log(np.minimum(1 - p + 1e-2, 1)) - np.log(1 - p))
    np.testing.assert_allclose(exact - shifted, expected, rtol=1e-3)


def test_schedule_and_who_is_trained():
    arrays = {name: np.float32(x) for name, x in zip(NAMES, inputs(*NAMES), strict=True)}
    for method in (mdd(), dd()):
        params, state = method.init(jax.random.key(0), make_spec())
        assert set(params) == {"adversary"} and state == {}
        context = make_context(0.0)
        _, metrics, gradients = gradients_of(method, arrays, params=params, state=state, context=context)
        assert float(metrics[f"{method.name}/reversal"]) == 0
        assert not any(np.any(g) for g in gradients.values())  # p = 0: the adversary learns, the encoder does not
        f = penalty_of(method, params, state, context=make_context(1.0))
        value, (_, metrics) = f(make_pass(**arrays))
        np.testing.assert_allclose(metrics[f"{method.name}/reversal"], 0.1, rtol=1e-3)
        of_adversary = jax.jit(jax.grad(lambda p, f=f: f(make_pass(**arrays), p)[0]))(params)
        ahead = jax.tree.map(lambda p, g: p - 1e-3 * g, params, of_adversary)
        assert float(f(make_pass(**arrays), ahead)[0]) < float(value)  # descent raises the disparity


def test_one_hot_logits_are_finite():
    certain = np.float32(1e4 * np.eye(5)[[0, 1]])
    for method in (mdd(), dd()):
        arrays = {"f_s": certain, "f_t": certain, "g_s": certain, "g_t": certain}
        value, _, gradients = gradients_of(method, arrays, params=AS_LOGITS, state={})
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients.values())
