"""MCD's three updates, and the same with the sliced Wasserstein discrepancy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Outputs
from dalib.methods import States
from dalib.methods.adversarial.two_heads import mcd
from dalib.methods.statistics.transport import swd
from tests.golden import golden, inputs
from tests.methods.passes import FORWARD, loss_of, make_context, make_pass, relative_error

PARAMS = {"second_head": {}}
"""With these parameters the second head's logits are the features themselves, see ``passes.head``."""


def losses(method, outputs, key=None):
    """``{update: (value, metrics)}`` of a pass whose features are the second head's logits."""
    forward = FORWARD._replace(pair=lambda params, model, batch, key: (outputs, model))
    context = make_context(key=jax.random.key(0) if key is None else key)
    results = {u.name: loss_of(u, PARAMS, States({}, {}), outputs.batch, forward, context) for u in method.updates}
    return {name: (result.value, result.metrics) for name, result in results.items()}


def sample(dtype=np.float64):
    a_s, a_t, g_s, g_t = (x.astype(dtype) for x in inputs("a_s", "a_t", "g_s", "g_t"))
    return make_pass(a_s, a_t, g_s, g_t, inputs("y_s")[0].astype(np.int32))


def test_golden_discrepancy():
    expected = golden("mcd.discrepancy")
    with jax.enable_x64(True):
        outputs = sample()

        def encoder(a_t, g_t):
            target = Outputs(a_t, g_t)
            return losses(mcd(), outputs._replace(target=target))["C"][0]

        f = jax.jit(jax.value_and_grad(encoder, argnums=(0, 1)))
        value, gradients = f(outputs.target.features, outputs.target.logits)
        assert relative_error(value, expected.value) < 1e-10
        for name, gradient in zip(("a_t", "g_t"), gradients, strict=True):
            assert relative_error(gradient, expected.gradients[name]) < 1e-10


def test_three_losses():
    outputs = sample(np.float32)
    of = jax.jit(lambda outputs: losses(mcd(weight=3.0, balance=0.5), outputs))(outputs)
    labels = outputs.batch.source.labels
    task = sum(-jax.nn.log_softmax(z)[np.arange(8), labels].mean() for z in outputs.source[:2])
    p = [np.asarray(jax.nn.softmax(z)) for z in outputs.target[:2]]
    spread = sum(-np.log(q.mean(0) + 1e-6).mean() for q in p)
    gap = np.abs(p[0] - p[1]).mean()
    np.testing.assert_allclose(of["A"][0], task + 0.5 * spread, rtol=1e-5)
    np.testing.assert_allclose(of["B"][0], task + 0.5 * spread - 3 * gap, rtol=1e-5)
    np.testing.assert_allclose(of["C"][0], 3 * gap, rtol=1e-5)
    np.testing.assert_allclose([of["A"][1]["loss/task"], of["B"][1]["loss/mcd"]], [task, gap], rtol=1e-5)


@pytest.mark.parametrize("method", [mcd(repeats=2), swd(heads=True, repeats=2)], ids=lambda m: m.name)
def test_who_is_trained(method):
    trains = {u.name: (set(u.trains), u.repeats) for u in method.updates}
    assert trains["B"] == ({"head", "second_head"}, 1)
    assert trains["C"] == ({"encoder", "bottleneck"}, 2)
    assert trains["A"][0] == {"encoder", "bottleneck", "head", "second_head"}


def test_prediction_is_the_mean_of_both_heads():
    outputs = Outputs(jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 1.0]]))
    np.testing.assert_allclose(mcd().hooks.predict(PARAMS, outputs, FORWARD), [[2.0, 3.0]])


def test_sliced_wasserstein_between_heads():
    outputs = sample(np.float32)
    method = swd(heads=True, num_directions=16)
    f = jax.jit(lambda outputs, key: {k: v[0] for k, v in losses(method, outputs, key).items()})
    first, again, other = (f(outputs, jax.random.key(k)) for k in (0, 0, 1))
    assert float(first["C"]) == float(again["C"]) != float(other["C"])
    np.testing.assert_allclose(first["A"] - first["B"], first["C"], rtol=1e-4)
    # Heads that swap two rows have one distribution: no distance, though they disagree on every example.
    z = jnp.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    swapped = make_pass(z[::-1], z[::-1], z, z)
    np.testing.assert_allclose(f(swapped, jax.random.key(0))["C"], 0, atol=1e-10)
    assert float(losses(mcd(), swapped)["C"][0]) > 0.3
