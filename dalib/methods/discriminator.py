"""The net that tells domains apart."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dalib.methods.domains import apart, together
from dalib.types import Array, PyTree


class RowNorm(nn.Module):
    """BatchNorm over the rows passed in, without running statistics: a discriminator is never evaluated."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[n, d] -> [n, d]``."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x - x.mean(0, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.square(centred).mean(0, keepdims=True) + self.epsilon)
        return centred * inverse * scale[None] + bias[None]


class Discriminator(nn.Module):
    """Multi-layer perceptron to one logit per row: positive means source.

    Source has label 1 and target 0 everywhere in dalib.

    Attributes:
        hidden: widths of the hidden layers; () gives a linear discriminator.
        norm: BatchNorm (:class:`RowNorm`) after each hidden layer.
        dropout: rate after each hidden layer.
    """

    hidden: Sequence[int] = (1024, 1024)
    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, deterministic: bool = True) -> Array:
        """``[n, d] -> [n]`` logits."""
        for width in self.hidden:
            x = nn.Dense(width)(x)
            if self.norm:
                x = RowNorm()(x)
            x = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
        return nn.Dense(1)(x)[:, 0]


def discriminate(net: Discriminator, params: PyTree, rows: Array, key: Array | None = None) -> Array:
    """Logits ``[n]`` of rows ``[n, d]``; dropout is drawn from ``key``, None means none."""
    rngs = None if key is None else {"dropout": key}
    logits: Any = net.apply({"params": params}, rows, deterministic=net.dropout == 0 or key is None, rngs=rngs)
    return logits


def discriminate_both(
    net: Discriminator, params: PyTree, source: Array, target: Array, key: Array | None = None
) -> tuple[Array, Array]:
    """Logits ``[n]`` and ``[m]`` of both domains' rows ``[n, d]``, ``[m, d]`` from one pass over all of them."""
    return apart(discriminate(net, params, together(source, target), key), source.shape[0])


def domain_loss(
    source: Array,
    target: Array,
    *,
    source_weights: Array | None = None,
    target_weights: Array | None = None,
) -> tuple[Array, Array]:
    """Binary cross-entropy of domain logits, half a mean over each domain, and the balanced accuracy.

    At equilibrium the loss is ln 2 = 0.6931 and the accuracy 0.5; an accuracy of 1 says that the discriminator wins.

    Args:
        source: ``[n]`` logits of source rows (label 1).
        target: ``[m]`` logits of target rows (label 0).
        source_weights: ``[n]`` factors of the rows' losses; their mean is over n, **not** over the sum of weights.
        target_weights: ``[m]``, likewise.

    Returns:
        ``(loss, accuracy)``, scalars; the accuracy counts every row once.
    """
    of_source = optax.sigmoid_binary_cross_entropy(source, jnp.ones_like(source))
    of_target = optax.sigmoid_binary_cross_entropy(target, jnp.zeros_like(target))
    if source_weights is not None:
        of_source = source_weights * of_source
    if target_weights is not None:
        of_target = target_weights * of_target
    accuracy = 0.5 * ((source > 0).mean() + (target <= 0).mean())
    return 0.5 * (of_source.mean() + of_target.mean()), accuracy
