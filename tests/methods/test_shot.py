"""SHOT: its centroids against the definition, what an update reads and trains, labels before and after a look."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dalib.core.types import Batch, Outputs, Source
from dalib.methods import Look, States
from dalib.methods.base import trained_groups
from dalib.methods.self_training.source_free import class_centroids, nearest_centroid, shot
from dalib.tasks import classification
from dalib.train import make_forward
from tests.contract.cases import CLASSES, batch, classifier, setup
from tests.methods.passes import joined, make_context


def centroids_by_hand(features, logits, least):
    """SHOT's obtain_label, in numpy: labels and centroids of the second round by class."""
    f = np.concatenate([features, np.ones((len(features), 1))], 1)
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    shares, labels = scipy.special.softmax(logits, axis=1), logits.argmax(1)
    for _ in range(2):
        centres = shares.T @ f / (1e-8 + shares.sum(0))[:, None]
        classes = np.flatnonzero(np.bincount(labels, minlength=logits.shape[1]) > least)
        units = centres[classes] / np.linalg.norm(centres[classes], axis=1, keepdims=True)
        labels = classes[(f @ units.T).argmax(1)]
        shares = np.eye(logits.shape[1])[labels]
    return classes, centres, labels


@pytest.mark.parametrize("least", [0, 10])
def test_centroids_are_those_of_the_definition(least):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4))
    logits = 2 * features @ rng.normal(size=(4, 5)) + np.array([0, 0, 0, 0, -1e3])  # class 4 is never predicted
    classes, centres, labels = centroids_by_hand(features, logits, least)
    with jax.enable_x64(True):
        found, valid = class_centroids(jnp.asarray(features), jnp.asarray(logits), min_count=least)
        np.testing.assert_array_equal(np.flatnonzero(valid), classes)
        assert 4 not in classes and len(classes) < 5
        np.testing.assert_allclose(found[classes], centres[classes], rtol=1e-8)
        np.testing.assert_array_equal(nearest_centroid(jnp.asarray(features), found, valid), labels)


def test_one_class_is_always_left():
    _, valid = class_centroids(jnp.ones((6, 2)), jnp.zeros((6, 3)).at[:, 1].set(9.0), min_count=100)
    np.testing.assert_array_equal(valid, [False, True, False])


def look(outputs):
    """A look at the target that gives these outputs, and refuses everything else."""
    return Look({"target": outputs}.__getitem__, None, None)


def loss_of(method, state, b):
    forward = make_forward(classifier("vectors"), method.needs.batch_norm)
    context = make_context(0.5, step=jnp.int32(5), key=jax.random.key(3), task=classification(CLASSES))

    def loss(params):
        states = States(state.model, state.method)
        result = joined(method, method.updates[0], params, states, b, forward, context)
        return result.value, (result.metrics, result.states)

    (value, (metrics, states)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(state.params)
    return value, metrics, states, gradients


def test_the_source_is_not_read_and_the_head_not_trained():
    method = shot()
    state, step = setup(method, "vectors")
    assert trained_groups(method.updates[0], state.params) == tuple(g for g in state.params if g != "head")
    b, step = batch("vectors"), jax.jit(step)
    other = Batch(Source(b.source.inputs + 7, (b.source.labels + 1) % CLASSES), b.target)
    new, metrics = step(state, b)
    for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(step(state, other)[0]), strict=True):
        if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(x, y)
    jax.tree.map(np.testing.assert_array_equal, new.params["head"], state.params["head"])
    assert metrics["loss/shot"] == 0 and metrics["shot/valid"] == 0


def test_labels_after_a_look_at_the_target():
    method = shot(information=0.0, beta=1.0)
    state, _ = setup(method, "vectors")
    b = batch("vectors")
    forward = make_forward(classifier("vectors"), method.needs.batch_norm)
    outputs, _ = forward.one(state.params, state.model, jnp.asarray(b.target.inputs), "target", None, False)
    states = method.hooks.refresh(state.params, States(state.model, state.method), look(outputs))
    _, _, labels = centroids_by_hand(np.float64(outputs.features), np.float64(outputs.logits), 0)
    value, metrics, after, gradients = loss_of(method, state.replace(method=states.method), b)
    log_p = scipy.special.log_softmax(np.asarray(outputs.logits), axis=1)
    # A net without dropout and BatchNorm: training and evaluation mode give the same logits.
    np.testing.assert_allclose(value, -log_p[np.arange(len(labels)), labels].mean(), rtol=1e-5)
    assert metrics["shot/valid"] > 0 and any(np.any(g) for g in jax.tree.leaves(gradients["encoder"]))
    for x, y in zip(jax.tree.leaves(after.method), jax.tree.leaves(states.method), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_look_keeps_shapes_and_dtypes():
    method = shot()
    state, _ = setup(method, "vectors")
    seen = look(Outputs(jnp.zeros((9, 12)), jnp.zeros((9, CLASSES))))
    new = method.hooks.refresh(state.params, States(state.model, state.method), seen)
    assert jax.tree.map(jnp.shape, new.method) == jax.tree.map(jnp.shape, state.method)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(new.method))
