"""Classifiers around encoders of any library; the one module that turns objects into nets."""

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs, PyTree
from dalib.encoders.adapters.equinox import from_equinox
from dalib.encoders.adapters.linen import from_linen, linen_encoder
from dalib.encoders.adapters.nnx import from_nnx
from dalib.encoders.classifier import Classifier, central
from dalib.encoders.net import Encoder, Net, Variables

ACCEPTED = (
    "a Flax Linen module, a flax.nnx.Module, an equinox.Module (alone, or with its State as a pair), or a "
    "dalib.encoders.Encoder"
)


def as_net(net: Any) -> Net:
    """Return the net of a :class:`Net` (itself) or of a Linen classifier; anything else is an InputError."""
    if isinstance(net, Net):
        return net
    if isinstance(net, nn.Module) and hasattr(net, "head_module"):
        return from_linen(net)
    raise input_error(
        "net",
        got=f"{type(net).__module__}.{type(net).__qualname__}",
        expected="a dalib.encoders.Net or a Linen Classifier",
        todo="put a classifier around an encoder: dalib.encoders.make_classifier(encoder, classes)",
    )


def as_encoder(encoder: Any) -> Encoder:
    """Return an encoder of any library as pure functions; another object is an InputError."""
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, nn.Module):
        return linen_encoder(encoder)
    # An object of a library that was never imported can't have come.
    if (nnx := sys.modules.get("flax.nnx")) and isinstance(encoder, nnx.Module):
        return from_nnx(encoder)
    if equinox := sys.modules.get("equinox"):
        if isinstance(encoder, equinox.Module):
            return from_equinox(encoder)
        if isinstance(encoder, tuple) and len(encoder) == 2 and isinstance(encoder[1], equinox.nn.State):
            return from_equinox(*encoder)
    raise input_error("encoder", got=f"{type(encoder).__module__}.{type(encoder).__qualname__}", expected=ACCEPTED)


def make_classifier(
    encoder: Any,
    classes: int,
    bottleneck: nn.Module | str | None = None,
    head: nn.Module | str = "linear",
    crop: int = 0,
    numbers: bool = False,
) -> Net:
    """Make a net of an encoder of any library, with a bottleneck and a head of dalib's.

    ``encoder`` is what :func:`as_encoder` takes (else an InputError); the other arguments are the fields of
    :class:`Classifier`. A Linen encoder gives the net of :class:`Classifier`, bit for bit.
    """
    if isinstance(encoder, nn.Module):
        return from_linen(Classifier(encoder, classes, bottleneck, head, crop, numbers))
    tail = from_linen(Classifier(_Given(), classes, bottleneck, head, numbers=numbers))
    return _joined(as_encoder(encoder), tail, crop)


class _Given(nn.Module):
    """Identity encoder, for a classifier with its encoder elsewhere."""

    def __call__(self, features: Array, *, train: bool = False) -> Outputs:
        del train
        return Outputs(features)


def _joined(encoder: Encoder, tail: Net, crop: int) -> Net:
    """Join the encoder with bottleneck and head; the encoder's statistics and parameters are the group ``encoder``."""

    def cut(inputs: Array) -> Array:
        return central(inputs, crop) if crop else inputs

    def init(key: Array, inputs: Array) -> Variables:
        keys = jax.random.split(key)
        first = encoder.init(keys[0], cut(inputs))
        # Shapes alone tell how wide the features are; a forward pass to find out would cost a compilation.
        shaped = jax.eval_shape(
            lambda v, x: encoder.apply(v.get("params", {}), v.get("batch_stats", {}), x)[0].features, first, cut(inputs)
        )
        _check_features(shaped, inputs)
        second = tail.init(keys[1], jnp.zeros(shaped.shape, shaped.dtype))
        names = ("params", "batch_stats")
        joined = {name: {**_group(first.get(name, {})), **second.get(name, {})} for name in names}
        return {name: tree for name, tree in joined.items() if tree or name == "params"}

    def apply(
        params: PyTree, stats: PyTree, inputs: Array, *, key: Array | None = None, by_batch: bool = False
    ) -> tuple[Outputs, PyTree]:
        # Dropout of encoder and tail must not draw the same numbers.
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        own, of_tail = _apart(stats)
        encoded, own = encoder.apply(params.get("encoder", {}), own, cut(inputs), key=keys[0], by_batch=by_batch)
        out, of_tail = tail.apply(_apart(params)[1], of_tail, encoded.features, key=keys[1], by_batch=by_batch)
        hidden = {**encoded.hidden, "encoder": encoded.features}
        return Outputs(out.features, out.logits, hidden), {**_group(own), **of_tail}

    def statistics(params: PyTree, stats: PyTree, inputs: Array) -> PyTree:
        own, of_tail = _apart(stats)
        given = params.get("encoder", {})
        # The tail's statistics are of the features that the encoder gives under this batch's own statistics.
        features = encoder.apply(given, own, cut(inputs), by_batch=True)[0].features
        found = encoder.statistics(given, own, cut(inputs)) if own else own
        return {**_group(found), **(tail.statistics(_apart(params)[1], of_tail, features) if of_tail else {})}

    other = encoder.for_population
    form = None if other is None else lambda: _joined(other(), tail, crop)
    return Net(init, apply, statistics, tail.init_head, tail.apply_head, for_population=form)


def _group(tree: PyTree) -> dict[str, PyTree]:
    return {"encoder": tree} if jax.tree.leaves(tree) else {}


def _apart(tree: PyTree) -> tuple[PyTree, PyTree]:
    """Return the group ``encoder``, and the other groups."""
    return tree.get("encoder", {}), {name: sub for name, sub in tree.items() if name != "encoder"}


def _check_features(features: Any, inputs: Array) -> None:
    if len(features.shape) != 2 or features.shape[0] != inputs.shape[0]:
        raise input_error(
            "encoder",
            got=f"features of shape {features.shape} for inputs of shape {inputs.shape}",
            expected="features [n, d], one row an example",
            todo="pool or flatten at the end of the encoder",
        )
