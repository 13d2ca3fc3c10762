"""Flax Linen modules as pure functions.

Linen ties dropout and batch statistics to one ``train`` flag. Here the flag switches dropout alone: calls of
``BatchNorm`` are intercepted at trace time and told which statistics to use.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import InputError
from dalib.core.types import Array, Outputs, PyTree
from dalib.encoders.net import Encoder, Net, Variables, as_outputs

MOMENTS = "moments"
"""Collection for the mean and variance of a batch at each BatchNorm."""


def from_linen(module: Any) -> Net:
    """Make a net of a :class:`dalib.encoders.Classifier`, or a module with its face.

    ``module(inputs, train=…)`` returns ``Outputs``, and ``head_module()`` the head alone.
    """

    def init_head(key: Array, features: Array) -> PyTree:
        return module.head_module().init(key, features)["params"]

    def apply_head(params: PyTree, features: Array, key: Array | None) -> Array:
        rngs = None if key is None else {"dropout": key}
        return module.head_module().apply({"params": params}, features, train=key is not None, rngs=rngs)

    def mixed(params: PyTree, stats: PyTree, inputs: Array, source_weight: Any) -> tuple[Outputs, PyTree]:
        with normalise_by_mixture(source_weight):
            outputs, seen = module.apply(_variables(params, stats), inputs, train=False, mutable=[MOMENTS])
        return outputs, seen.get(MOMENTS, {})

    other = getattr(module, "with_convolution", None)
    return Net(
        init=partial(_init, module),
        apply=partial(_apply, module),
        statistics=partial(_statistics, module),
        init_head=init_head,
        apply_head=apply_head,
        mixed=mixed,
        for_population=None if other is None else lambda: from_linen(other("patches")),
    )


def linen_encoder(module: nn.Module) -> Encoder:
    """Make an encoder of a Linen module: ``module(inputs, train=…)`` returns ``Outputs``, or features ``[n, d]``."""

    def in_patches() -> Encoder:
        return linen_encoder(module.clone(conv="patches"))

    form = in_patches if getattr(module, "conv", None) == "auto" else None
    return Encoder(partial(_init, module), partial(_apply, module), partial(_statistics, module), form)


def _init(module: Any, key: Array, inputs: Array) -> Variables:
    return module.init(key, inputs, train=False)


def _variables(params: PyTree, stats: PyTree) -> Variables:
    return {"params": params, "batch_stats": stats} if stats else {"params": params}


def _apply(
    module: Any, params: PyTree, stats: PyTree, inputs: Array, *, key: Array | None = None, by_batch: bool = False
) -> tuple[Outputs, PyTree]:
    settings: dict[str, Any] = {"train": key is not None, "rngs": None if key is None else {"dropout": key}}
    variables = _variables(params, stats)
    with normalise_by_batch(by_batch):
        if not (by_batch and stats):
            return as_outputs(module.apply(variables, inputs, **settings)), stats
        outputs, changed = module.apply(variables, inputs, **settings, mutable=["batch_stats"])
    return as_outputs(outputs), changed["batch_stats"]


def _statistics(module: Any, params: PyTree, stats: PyTree, inputs: Array) -> PyTree:
    with normalise_by_batch(True, momentum=0.0):
        _, changed = module.apply(_variables(params, stats), inputs, train=False, mutable=["batch_stats"])
    return changed["batch_stats"]


@contextmanager
def normalise_by_batch(by_batch: bool, *, momentum: float | None = None) -> Iterator[None]:
    """Make every BatchNorm in this context use batch statistics (and update the running ones), or the running ones.

    The net's own ``train`` flag then only switches dropout. Works on any Linen net, at trace time. A ``momentum``
    replaces that of every layer; 0 stores the statistics of the batch.
    """

    def choose_statistics(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if not (isinstance(layer, nn.BatchNorm) and context.method_name == "__call__"):
            return call(*args, **kwargs)
        # A net may have fixed the choice in its constructor; Linen takes it from one place only.
        object.__setattr__(layer, "use_running_average", None)
        kwargs = {**kwargs, "use_running_average": not by_batch}
        kept = layer.momentum
        object.__setattr__(layer, "momentum", kept if momentum is None else momentum)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(layer, "momentum", kept)

    with nn.intercept_methods(choose_statistics):
        yield


@contextmanager
def normalise_by_mixture(source_weight: Any) -> Iterator[None]:
    """Make every BatchNorm in this context use ``w · stored + (1 − w) · batch`` for mean and variance.

    The stored statistics do not change. 0 is the batch alone (as in training), 1 the net in evaluation mode. Works on
    any Linen net with the features last in its BatchNorm layers, at trace time. Each layer writes the batch's mean and
    variance in the collection :data:`MOMENTS`, if the caller made it mutable.

    Raises:
        InputError: at a BatchNorm over another axis.
    """

    def mix(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if not (isinstance(layer, nn.BatchNorm) and context.method_name == "__call__"):
            return call(*args, **kwargs)
        if layer.axis != -1:
            raise InputError(f"net: BatchNorm {'/'.join(layer.path)} has axis {layer.axis}\n  expected: features last")
        # Float32 at least: a variance in half precision loses the digits that the mixture is about.
        x = args[0]
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        stored, own = layer.variables["batch_stats"], layer.variables.get("params", {})
        axes = tuple(range(x.ndim - 1))
        mean = wide.mean(axes)
        variance = jnp.square(wide - _last(mean, x)).mean(axes)
        # The batch's own moments, before they are mixed, where the caller asks for them.
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


def _last(values: Array, x: Array) -> Array:
    """Reshape ``[c]`` to have axes of length 1 before it, for ``x`` ``[..., c]``."""
    return jnp.reshape(values, (1,) * (x.ndim - 1) + (-1,))
