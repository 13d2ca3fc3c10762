"""Methods on a task with many vectors per example: they see rows that the task draws, and need no change for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Batch, Outputs, Source, Target
from dalib.methods.adversarial.domain_classifier import dann
from dalib.methods.base import ROWS, Method, term
from dalib.methods.self_training.entropy import mcc
from dalib.methods.statistics.mmd import dan
from dalib.methods.statistics.moments import deep_coral
from dalib.methods.view import Forward, Pass, States
from dalib.tasks import classification
from dalib.tasks.classification import cross_entropy
from tests.methods.passes import FORWARD, joined, make_context, make_pass, make_spec, penalty_of

EXAMPLES, HEIGHT, WIDTH, FEATURES, CLASSES = 3, 4, 5, 16, 5
DRAWN, VOID = 12, 255
SPEC = make_spec(FEATURES, CLASSES)
METHODS = [dan(), dann(hidden=(8,), reversal=0.5), deep_coral(layer="features"), mcc()]


def drawn(labels, n: int, key):
    """Numbers of ``DRAWN`` pixels among those with a label; without labels, among all ``n``."""
    valid = jnp.ones(n) if labels is None else (labels.reshape(-1) != VOID).astype(jnp.float32)
    return jax.random.choice(key, n, (DRAWN,), p=valid / valid.sum())


def flat(x):
    return x.reshape(-1, x.shape[-1])


def rows(outputs, labels, key):
    at = drawn(labels, outputs.features[..., 0].size, key)
    seen = Outputs(flat(outputs.features)[at], flat(outputs.logits)[at])
    return seen, None if labels is None else labels.reshape(-1)[at]


def loss(outputs, labels):
    """Mean cross-entropy of an example's labelled pixels, ``[n]``."""
    known = labels != VOID
    each = cross_entropy(flat(outputs.logits), jnp.where(known, labels, 0).reshape(-1)).reshape(labels.shape)
    return jnp.where(known, each, 0).sum((1, 2)) / jnp.maximum(known.sum((1, 2)), 1)


def accuracy(outputs, labels):
    return {"accuracy/source": (outputs.logits.argmax(-1) == labels).sum() / (labels != VOID).sum()}


TASK = classification(CLASSES)._replace(name="segmentation", loss=loss, quality=accuracy, rows=rows)


def maps():
    rng = np.random.default_rng(0)
    shape = (EXAMPLES, HEIGHT, WIDTH)
    arrays = {name: rng.normal(size=(*shape, FEATURES)) + shift for name, shift in (("f_s", 0), ("f_t", 0.5))}
    arrays |= {name: rng.normal(size=(*shape, CLASSES)) for name in ("g_s", "g_t")}
    labels = rng.integers(CLASSES, size=shape).astype(np.int32)
    # Few labelled pixels, so that a draw among all of them would meet void ones.
    labels[:, 1:] = VOID
    return {name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()}, jnp.asarray(labels)


def step_loss(method: Method):
    """``(arrays, labels, key, params) -> (loss, metrics)`` of the main update with the method's penalty."""

    def f(arrays, labels, key, params):
        source, target = (Outputs(arrays[f"f_{d}"], arrays[f"g_{d}"]) for d in "st")
        batch = Batch(Source(arrays["f_s"], labels), Target(arrays["f_t"]))
        forward = Forward(lambda params, model, batch, key: (Pass(source, target, batch), model), None, FORWARD.head)
        context = make_context(task=TASK, key=key)
        result = joined(method, method.updates[0], params, States({}, {}), batch, forward, context)
        return result.value, result.metrics

    return f


def initial(method: Method):
    return method.init(jax.random.key(3), SPEC)[0]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_value_is_that_of_rows_drawn_by_hand(method):
    arrays, labels = maps()
    params, f = initial(method), jax.jit(step_loss(method))
    found = set()
    for seed in range(2):
        key = jax.random.key(seed)
        value, metrics = f(arrays, labels, key, params)
        of_penalty = jax.random.fold_in(key, 1)
        n = EXAMPLES * HEIGHT * WIDTH
        s = np.asarray(drawn(labels, n, jax.random.fold_in(of_penalty, ROWS)))
        t = np.asarray(drawn(None, n, jax.random.fold_in(of_penalty, ROWS + 1)))
        by_hand = {name: flat(x)[s if name.endswith("s") else t] for name, x in arrays.items()}
        own = np.asarray(labels).reshape(-1)[s]
        assert (own != VOID).all()
        penalty = penalty_of(method, params, {}, context=make_context(key=of_penalty))
        more, (_, expected) = jax.jit(lambda x, y, penalty=penalty: penalty(make_pass(**x, labels=y)))(by_hand, own)
        for name in expected:
            np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-4, atol=1e-6)
        supervised = loss(Outputs(arrays["f_s"], arrays["g_s"]), labels).mean()
        np.testing.assert_allclose(value, supervised + more, rtol=1e-5)
        found.add(float(metrics[f"loss/{method.name}"]))
    # Other rows at another key, by the same program.
    assert len(found) == 2 and f._cache_size() == 1


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_gradients_are_finite_and_reach_the_drawn_rows_alone(method):
    arrays, labels = maps()
    key = jax.random.key(0)
    gradient = jax.jit(jax.grad(lambda x, p: step_loss(method)(x, labels, key, p)[0], argnums=(0, 1)))
    of_maps, of_params = gradient(arrays, initial(method))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((of_maps, of_params)))
    t = drawn(None, EXAMPLES * HEIGHT * WIDTH, jax.random.fold_in(jax.random.fold_in(key, 1), ROWS + 1))
    touched = np.isin(np.arange(EXAMPLES * HEIGHT * WIDTH), t)
    moved = np.any(flat(of_maps["f_t"]), 1) | np.any(flat(of_maps["g_t"]), 1)
    np.testing.assert_array_equal(moved, touched)


def test_a_method_sees_rows_of_a_fixed_number():
    shapes = {}

    def look(view):
        shapes.update(source=view.source.features.shape, target=view.target.logits.shape, labels=view.labels.shape)
        return view.labels.max()

    arrays, labels = maps()
    _, metrics = jax.jit(step_loss(term("look", look)))(arrays, labels, jax.random.key(0), {})
    assert shapes == {"source": (DRAWN, FEATURES), "target": (DRAWN, CLASSES), "labels": (DRAWN,)}
    assert metrics["loss/look"] < CLASSES
