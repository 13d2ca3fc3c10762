"""Passes, views and specs made of plain arrays, to look at a method's losses without a net."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.types import Batch, Outputs, Source, Target, Task
from dalib.methods.base import joined_loss
from dalib.methods.view import Forward, Pass, Spec, States, View
from dalib.tasks import classification

HEAD = nn.Dense(5)


def head(params, features, key):
    """A linear head; without parameters the features are the logits."""
    del key
    return HEAD.apply({"params": params}, features) if params else features


FORWARD = Forward(pair=None, one=None, head=head)


def make_spec(width: int = 16, classes: int = 5) -> Spec:
    shapes = Outputs(jax.ShapeDtypeStruct((8, width), jnp.float32), jax.ShapeDtypeStruct((8, classes), jnp.float32))
    return Spec(classes, shapes, {}, lambda key: HEAD.init(key, jnp.zeros((1, width)))["params"])


class Context(NamedTuple):
    """The fields of a view that are not data."""

    step: Any
    progress: Any
    key: Any
    task: Task


class Result(NamedTuple):
    """What a loss gave: its value, the states after it, its metrics and the common pass that it shows."""

    value: Any
    states: States
    metrics: dict
    outputs: Pass | None


def make_context(progress: float = 1.0, **fields) -> Context:
    context = Context(jnp.array(0), jnp.asarray(progress, jnp.float32), jax.random.key(0), classification(5))
    return context._replace(**fields)


def make_view(batch, params=None, states=None, forward=None, context=None) -> View:
    """A view before the common pass."""
    states = States({}, {}) if states is None else states
    c = context or make_context()
    return View(batch, params or {}, states, forward or FORWARD, c.task, c.key, c.step, c.progress)


def loss_of(update, params, states, batch, forward=None, context=None) -> Result:
    """The loss of one update alone."""
    return _result(*update.loss(make_view(batch, params, states, forward, context)))


def joined(method, update, params, states, batch, forward=None, context=None) -> Result:
    """The loss of one update with the method's penalties."""
    return _result(*joined_loss(method, update, make_view(batch, params, states, forward, context)))


def _result(value, view, metrics) -> Result:
    outputs = None if view.source is None else Pass(view.source, view.target, view.batch)
    return Result(value, view.states, metrics, outputs)


def make_pass(f_s, f_t, g_s=None, g_t=None, labels=None) -> Pass:
    labels = np.zeros(len(f_s), np.int32) if labels is None else labels
    return Pass(Outputs(f_s, g_s), Outputs(f_t, g_t), Batch(Source(f_s, labels), Target(f_t)))


def penalty_of(method, params=None, state=None, *, context=None, forward=FORWARD):
    """``(pass) -> (value, (state, metrics))`` of the method's only penalty."""
    if params is None:
        params, state = method.init(jax.random.key(1), make_spec())
    (penalty,) = method.penalties

    def f(outputs, params=params):
        view = make_view(outputs.batch, params, States({}, state), forward, context)
        value, after, metrics = penalty(view.show(outputs.source, outputs.target))
        return value, (after.states.method, metrics)

    return f


def gradients_of(method, arrays: dict, **settings):
    """Value, metrics and gradients of a penalty with respect to arrays of :func:`make_pass` by name."""
    f = penalty_of(method, **settings)

    def g(arrays):
        value, (_, metrics) = f(make_pass(**arrays))
        return value, metrics

    floating = {k: jnp.asarray(v) for k, v in arrays.items() if k != "labels"}
    rest = {k: v for k, v in arrays.items() if k == "labels"}
    (value, metrics), gradients = jax.jit(jax.value_and_grad(lambda x: g({**x, **rest}), has_aux=True))(floating)
    return value, metrics, gradients


def relative_error(got, expected) -> float:
    got, expected = np.asarray(got, np.float64), np.asarray(expected)
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def discriminator_parameters(prefix: str) -> dict:
    """The golden discriminator ``D_feat`` or ``D_mlm`` as parameters of ``Discriminator((12, 12), norm=True)``."""
    from tests.golden import inputs

    params = {}
    for i in range(3):
        w, b = inputs(f"{prefix}_w{i}", f"{prefix}_b{i}")
        params[f"Dense_{i}"] = {"kernel": jnp.asarray(w.T), "bias": jnp.asarray(b)}
    for i in range(2):
        params[f"RowNorm_{i}"] = {"scale": jnp.ones(12, w.dtype), "bias": jnp.zeros(12, w.dtype)}
    return params
