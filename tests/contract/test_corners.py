"""Saturated predictions, missing classes, half precision and checkpoints, for every method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Batch, Source, Target
from dalib.methods.base import trained_groups
from dalib.train import open_checkpoints
from tests.contract.cases import (
    ALL,
    assert_finite,
    assert_same_bits,
    batch,
    classifier,
    compiled,
    methods,
    moved_groups,
    quick_jit,
    setup,
    small_method,
    visible,
)

HEADS = ("head", "second_head", "adversary", "heads")
"""Groups of the form of the classifier's head, wherever a method has them."""
SATURATE = 2e4


def saturated(state):
    """The state with all heads' weights so large that predictions are one-hot."""
    large = {group: jax.tree.map(lambda x: SATURATE * x, p) for group, p in state.params.items() if group in HEADS}
    return state.replace(params=state.params | large)


def with_labels(*labels):
    b = batch("vectors")
    return Batch(Source(b.source.inputs, np.array(labels, np.int32)), b.target)


def test_saturated_predictions_are_exactly_one_hot():
    state, _ = compiled("source_only")
    b, net = batch("vectors"), classifier("vectors")
    for inputs in b.source.inputs, b.target.inputs:
        p = jax.nn.softmax(net.apply({"params": saturated(state).params}, inputs).logits)
        np.testing.assert_array_equal(p, jax.nn.one_hot(p.argmax(1), 3))


@pytest.mark.parametrize("name", methods())
def test_one_hot_predictions(name):
    """Value, gradients and what becomes of the state are finite, also where a prediction is certain and wrong."""
    state, step = compiled(name)
    for b in (batch("vectors"), with_labels(0, 0, 0, 0, 0, 0), with_labels(2, 2, 1, 1, 0, 0)):
        new, metrics = step(saturated(state), b)
        assert_finite((visible(new), metrics))


@pytest.mark.parametrize("name", methods())
def test_classes_of_one_example_and_absent_classes(name):
    state, step = compiled(name)
    # One example of class 1 and none of class 2; one of each class but 0; a single class.
    for labels in ((0, 0, 0, 0, 0, 1), (0, 0, 1, 0, 0, 2), (1, 1, 1, 1, 1, 1)):
        new, metrics = step(state, with_labels(*labels))
        assert_finite((visible(new), metrics))
    one_target = Target(np.repeat(batch("vectors").target.inputs[:1], 6, axis=0))
    new, metrics = step(state, batch("vectors")._replace(target=one_target))
    assert_finite((visible(new), metrics))


NO_LABELS = ("adda", "shot")
"""Methods that never look at a label."""


@pytest.mark.parametrize("name", methods(n for n in ALL if n not in NO_LABELS))
def test_a_label_out_of_range_does_not_pass_unnoticed(name):
    """The loss is NaN, at which ``dalib.train.run`` stops; -1 would else be taken for the last class."""
    state, step = compiled(name)
    for wrong in (-1, 3):
        _, metrics = step(state, with_labels(0, 1, 2, 0, 1, wrong))
        assert any(np.isnan(value) for value in metrics.values())


@pytest.mark.parametrize("name", methods(core=("dann",)))
def test_bfloat16_is_finite_and_trains_the_same_groups(name):
    method = small_method(name)
    state, step = setup(method, "vectors", dtype=jnp.bfloat16)
    new, metrics = quick_jit(step)(state, batch("vectors"))
    assert_finite((visible(new), metrics))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(new.params)), "parameters stay float32"
    trained = set().union(*(trained_groups(update, state.params) for update in method.updates))
    assert moved_groups(state.params, new.params) == trained


@pytest.mark.slow
def test_bfloat16_is_what_the_net_computes_in():
    b = batch("vectors")
    state, _ = compiled("source_only")
    narrow, wide = (
        classifier("vectors", dtype=dtype).apply({"params": state.params}, b.source.inputs).features
        for dtype in (jnp.bfloat16, None)
    )
    np.testing.assert_array_equal(narrow, narrow.astype(jnp.bfloat16).astype(jnp.float32))
    assert 1e-4 < np.abs(narrow - wide).max() < 0.1


@pytest.mark.parametrize("name", methods(core=("dann",)))
def test_state_survives_a_checkpoint(name, tmp_path):
    """What the next step does to a restored state is to the bit what it does to the one that was saved."""
    state, step = compiled(name)
    state, _ = step(state, batch("vectors"))
    undisturbed, metrics = step(state, batch("vectors", seed=1))
    with open_checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        blank = jax.tree.map(jnp.zeros_like, state)
        restored = checkpoints.restore(blank)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    again, same_metrics = step(restored, batch("vectors", seed=1))
    assert_same_bits(visible(again), visible(undisturbed))
    assert_same_bits(same_metrics, metrics)
    assert_same_bits(jax.random.key_data(again.key), jax.random.key_data(state.key))
    assert moved_groups(state.params, again.params), "the step does something"
