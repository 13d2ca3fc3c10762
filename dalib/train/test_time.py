"""Binds a net to test-time methods: BatchNorm by a mixture of statistics, and the loop over a stream of batches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.checks import InputError, choose
from dalib.methods.base import NET_GROUPS
from dalib.methods.test_time import Apply, TestTime
from dalib.types import Array, Metrics, Outputs, PyTree

MODES = {
    "continual": "the state goes on from batch to batch",
    "episodic": "the original variables before each batch",
}


MOMENTS = "moments"


class Adapted(NamedTuple):
    """One batch of a stream.

    Attributes:
        outputs: before the batch's update.
        metrics: of the step.
        after: outputs after the batch's update; None unless asked for.
    """

    outputs: Outputs
    metrics: Metrics
    after: Outputs | None = None


@contextmanager
def normalise_by_mixture(source_weight: Any) -> Iterator[None]:
    """Inside this context every BatchNorm uses ``w · stored + (1 − w) · batch`` for mean and variance.

    The stored statistics do not change. 0 is the batch alone (as in training), 1 the net in evaluation mode. Works on
    any Linen net whose BatchNorm layers have the features last, at trace time. Each layer puts its batch's mean and
    variance into the collection ``moments``, where the caller makes that mutable.

    Raises:
        InputError: at a BatchNorm over another axis.
    """

    def mix(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if not (isinstance(layer, nn.BatchNorm) and context.method_name == "__call__"):
            return call(*args, **kwargs)
        if layer.axis != -1:
            raise InputError(f"net: BatchNorm {'/'.join(layer.path)} has axis {layer.axis}\n  expected: features last")
        x = args[0]
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        stored, own = layer.variables["batch_stats"], layer.variables.get("params", {})
        axes = tuple(range(x.ndim - 1))
        mean = wide.mean(axes)
        variance = jnp.square(wide - _last(mean, x)).mean(axes)
        if layer.is_mutable_collection(MOMENTS):
            layer.put_variable(MOMENTS, "mean", mean)
            layer.put_variable(MOMENTS, "var", variance)
        mean = source_weight * stored["mean"] + (1 - source_weight) * mean
        variance = source_weight * stored["var"] + (1 - source_weight) * variance
        factor = jax.lax.rsqrt(variance + layer.epsilon) * own.get("scale", 1.0)
        y = (wide - _last(mean, x)) * _last(factor, x)
        if "bias" in own:
            y = y + _last(own["bias"], x)
        return y.astype(layer.dtype or jnp.result_type(x.dtype, *own.values()))

    with nn.intercept_methods(mix):
        yield


def make_apply(net: Any) -> Apply:
    """``(params, batch_stats, inputs, source_weight) -> (Outputs, moments)`` of a classifier, without dropout.

    Features, logits and the batch's moments in each BatchNorm are what test-time methods adapt by.

    Args:
        net: a :class:`dalib.encoders.Classifier`, or anything with its ``apply``. Parameter groups that are not the
            net's (a method's own) are left out.
    """

    def apply(params: PyTree, stats: PyTree, inputs: Array, source_weight: Any) -> tuple[Outputs, PyTree]:
        variables = {"params": {g: params[g] for g in NET_GROUPS if g in params}}
        if stats:
            variables["batch_stats"] = stats
        with normalise_by_mixture(source_weight):
            outputs, changed = net.apply(variables, inputs, train=False, mutable=[MOMENTS])
        return outputs, changed.get(MOMENTS, {})

    return apply


def adapt(
    method: TestTime, variables: PyTree, batches: Iterable[Array], *, mode: str = "continual", after: bool = False
) -> Iterator[Adapted]:
    """Predicts a stream of batches while adapting to it.

    Args:
        method: from :func:`dalib.methods.tent` and its like, on :func:`make_apply` of the net.
        variables: ``{"params", "batch_stats"}`` of the trained net; never changed.
        batches: inputs ``[n, ...]``; each new size compiles once.
        mode: "continual", or "episodic" for a reset before each batch. To reset between streams (corruptions), call
            this once a stream.
        after: whether each batch is predicted once more after its update.

    Yields:
        What each batch gave, see :class:`Adapted`.

    Raises:
        InputError: for another mode, or a net that the method cannot adapt.
    """
    choose("mode", mode, MODES)
    start = method.init(variables)
    return _adapt(method, start, batches, mode == "episodic", after)


def _adapt(method: TestTime, start: PyTree, batches: Iterable[Array], episodic: bool, after: bool):
    step, predict, state = jax.jit(method.step), jax.jit(method.predict), start
    for inputs in batches:
        state, outputs, metrics = step(start if episodic else state, inputs)
        yield Adapted(outputs, metrics, predict(state, inputs) if after else None)


def _last(values: Array, x: Array) -> Array:
    """``[c]`` with axes of length 1 before it, for ``x`` ``[..., c]``."""
    return jnp.reshape(values, (1,) * (x.ndim - 1) + (-1,))
