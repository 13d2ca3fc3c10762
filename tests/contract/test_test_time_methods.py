"""One contract for all test-time methods: a method is tested by being in the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.methods import TEST_TIME
from dalib.train.predict import make_apply
from tests.contract.cases import CLASSES, assert_close, assert_finite, assert_same_bits, batch, classifier, quick_jit

NET = classifier("vectors", norm=True)


def start(name):
    """The method on a small net with BatchNorm, its variables, and its step, jitted."""
    method = TEST_TIME[name](make_apply(NET))
    variables = quick_jit(NET.init)(jax.random.key(0), batch("vectors").source.inputs)
    return method, variables, quick_jit(method.step)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TEST_TIME))
def test_a_stream(name):
    method, variables, step = start(name)
    first, second = (jnp.asarray(batch("vectors", seed=seed).target.inputs) for seed in (0, 1))
    state = method.init(variables)
    after, outputs, metrics = step(state, first)
    logits = outputs.logits
    assert logits.shape == (6, CLASSES) and {"entropy", "histogram", "collapsed"} <= set(metrics)
    assert int(metrics["histogram"].sum()) == 6 and metrics["entropy"].shape == ()
    assert_finite((after, outputs, metrics, method.predict(after, first)))
    # The same in eager mode, on rows in another order, and again from a state that was made anew.
    assert_close(method.step(state, first)[1].logits, logits)
    order = np.random.default_rng(0).permutation(6)
    assert_close(step(state, first[order])[1].logits, logits[order], rtol=1e-4, atol=1e-5)
    step(after, second)
    assert_same_bits(step(method.init(variables), first)[:2], (after, outputs))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TEST_TIME))
def test_corners_are_finite(name):
    """Equal rows, one row, and predictions that are one-hot."""
    method, variables, step = start(name)
    x = jnp.asarray(batch("vectors").target.inputs)
    sure = variables | {
        "params": variables["params"] | {"head": jax.tree.map(lambda w: 1e5 * w, variables["params"]["head"])}
    }
    for of, inputs in ((variables, jnp.ones_like(x)), (variables, x[:1]), (sure, x)):
        state, logits, metrics = step(method.init(of), inputs)
        assert_finite((state, logits, metrics))
        assert_finite(step(state, inputs))
