"""One small net, convolution – BatchNorm – ReLU – mean – dropout, in three libraries, with its weights copied."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dalib.core.types import Batch, Outputs, Source, Target
from dalib.encoders import Bottleneck, Classifier, Encoder, from_equinox, from_nnx, linen_encoder, make_classifier
from tests.contract.cases import quick_jit

CLASSES, WIDTH = 3, 4
LIBRARIES = ("linen", "nnx", "equinox")
# BatchNorm takes the bias of a convolution away, so there is none: every gradient differs from zero.


class Linen(nn.Module):
    rate: float = 0.0

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(WIDTH, (3, 3), padding="VALID", use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)
        x = nn.relu(x).mean((1, 2))
        return Outputs(nn.Dropout(self.rate)(x, deterministic=not train))


class NNX(nnx.Module):
    def __init__(self, rate, *, rngs):
        self.layers = nnx.List([nnx.Conv(2, WIDTH, (3, 3), padding="VALID", use_bias=False, rngs=rngs)])
        self.norm = nnx.BatchNorm(WIDTH, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.layers[0](x))
        return self.dropout(nnx.relu(x).mean((1, 2)))


class Equinox(eqx.Module):
    layers: list[Any]
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout

    def __init__(self, rate, key):
        self.layers = [eqx.nn.Conv2d(2, WIDTH, 3, use_bias=False, key=key)]
        self.norm = eqx.nn.BatchNorm(WIDTH, "rows", momentum=0.9, mode="batch")
        self.dropout = eqx.nn.Dropout(rate)

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(self.layers[0](x), state)
        return self.dropout(jax.nn.relu(x).mean((1, 2)), key=key), state


def encoder(library: str, rate: float = 0.0) -> Encoder:
    if library == "linen":
        return linen_encoder(Linen(rate))
    if library == "nnx":
        return from_nnx(lambda rngs: NNX(rate, rngs=rngs))
    return from_equinox(eqx.nn.make_with_state(lambda key: Equinox(rate, key)), channels_first=True)


def net(library: str, rate: float = 0.0):
    return make_classifier(encoder(library, rate), CLASSES, Bottleneck(5))


LINEN = Classifier(Linen(), CLASSES, Bottleneck(5))
"""The reference that all of them are compared with."""


def copied(library: str, variables: Any) -> Any:
    """The variables of :data:`LINEN` under the names and in the forms of another library."""
    params, stats = variables["params"]["encoder"], variables["batch_stats"]["encoder"]
    kernel, norm = params["Conv_0"]["kernel"], params["BatchNorm_0"]
    if library == "nnx":
        params, stats = {"layers": {"0": {"kernel": kernel}}, "norm": norm}, {"norm": stats["BatchNorm_0"]}
    if library == "equinox":
        turned = {"0": {"weight": jnp.transpose(kernel, (3, 2, 0, 1))}}
        params = {"layers": turned, "norm": {"weight": norm["scale"], "bias": norm["bias"]}}
        stats = {"norm": stats["BatchNorm_0"]}
    return {
        "params": {**variables["params"], "encoder": params},
        "batch_stats": {**variables["batch_stats"], "encoder": stats},
    }


def images(n: int, seed: int = 0, mean: float = 0.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(mean, 1, (n, 5, 5, 2)).astype(np.float32))


BATCH = Batch(Source(images(6), jnp.arange(6) % CLASSES), Target(images(6, 1, 0.5)))


@lru_cache
def variables() -> Any:
    """Variables of :data:`LINEN` with running statistics that differ from the first ones."""
    first = quick_jit(LINEN.init)(jax.random.key(0), BATCH.source.inputs)
    return {**first, "batch_stats": jax.tree.map(lambda x: x + 0.25, first["batch_stats"])}
