"""Attention and the transformer block that the image, text and speech encoders here share.

Query, key and value are three layers of their own, also where a published file holds one fused matrix; the rule tables
split it. Masks are boolean, True where a query may look, and broadcast against ``[n, heads, t, s]``; ``&`` joins them.
Softmax and the statistics of LayerNorm are float32 whatever the compute dtype. Dropout needs ``rngs={"dropout": …}``.

References: Vaswani et al. 2017, "Attention is all you need"; Touvron et al. 2021, "Going deeper with image
transformers" (layer scale); Huang et al. 2016, "Deep networks with stochastic depth".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import choose, input_error
from dalib.core.types import Array

normal = nn.initializers.normal(0.02)


def quick_gelu(x: Array) -> Array:
    """Compute x · sigmoid(1.702 x), the approximation of GELU that CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
}
"""``gelu`` is the exact one (erf), ``gelu_tanh`` the approximation of GPT-2."""


def layer_norm(epsilon: float, *, dtype: Any = None, name: str | None = None) -> nn.LayerNorm:
    """Make a LayerNorm over the last axis; parameters ``scale`` and ``bias``.

    The variance is that of centred values: E[x²] − E[x]² loses digits where a channel's mean is large, as in the deep
    layers of trained transformers.
    """
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def padding_mask(valid: Array) -> Array:
    """Make a mask ``[n, 1, 1, t]`` from ``valid`` ``[n, t]``; no query looks where ``valid`` is 0 or False."""
    return valid.astype(bool)[:, None, None, :]


def causal_mask(length: int) -> Array:
    """Make a mask ``[1, 1, t, t]``: position i looks at 0 … i."""
    return jnp.tril(jnp.ones((1, 1, length, length), dtype=bool))


def attend(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    bias: Array | None = None,
    dropout: Callable[[Array], Array] | None = None,
) -> Array:
    """Compute softmax(q·k / √d + bias) v for each head, ``[n, t, heads, d']`` in the dtype of ``value``.

    Args:
        query: ``[n, t, heads, d]``.
        key: ``[n, s, heads, d]``.
        value: ``[n, s, heads, d']``.
        mask: True where the query may look. A query that may look nowhere looks everywhere alike (finite, and without
            meaning).
        bias: added to the scaled products, broadcast against ``[n, heads, t, s]``.
        dropout: applied to the softmax.
    """
    at_least_float32 = jnp.promote_types(query.dtype, jnp.float32)
    # Heads first: on two CPU cores the forward pass of a ViT-B block takes 251 ms, with the heads third 304 ms, with
    # jax.nn.dot_product_attention (which has no dropout) 289 ms; the gradients take the same time in all.
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    scores = jnp.einsum("nhtd,nhsd->nhts", query, key, preferred_element_type=at_least_float32)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    if mask is not None:
        # The most negative finite number: with -inf a row without any True would be NaN, and so would its gradient.
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    if dropout is not None:
        weights = dropout(weights)
    return jnp.einsum("nhts,nhsd->nhtd", weights, value).transpose(0, 2, 1, 3)


class Attention(nn.Module):
    """Multi-head self-attention over ``[n, t, width]``, same shape out.

    Parameters: ``query``, ``key``, ``value``, ``out``. ``heads`` must divide the width (else an InputError);
    ``dropout`` is the rate on the softmax in training.
    """

    heads: int
    use_bias: bool = True
    dropout: float = 0.0
    kernel_init: Any = nn.initializers.xavier_uniform()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, train: bool = False) -> Array:
        width = x.shape[-1]
        if self.heads < 1 or width % self.heads:
            got = f"{self.heads} heads for a width of {width}"
            raise input_error("heads", got=got, expected="a number of heads that divides the width")
        dense = partial(nn.Dense, width, use_bias=self.use_bias, kernel_init=self.kernel_init, dtype=self.dtype)
        split = (*x.shape[:-1], self.heads, width // self.heads)
        query, key, value = (dense(name=name)(x).reshape(split) for name in ("query", "key", "value"))
        drop = partial(nn.Dropout(self.dropout), deterministic=not train) if self.dropout else None
        return dense(name="out")(attend(query, key, value, mask=mask, dropout=drop).reshape(x.shape))


class MLP(nn.Module):
    """Two layers, ``fc1`` to ``width`` and ``fc2`` back, with ``activation`` between and dropout after each."""

    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    kernel_init: Any = nn.initializers.xavier_uniform()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        activation = choose("activation", self.activation, ACTIVATIONS)
        y = activation(nn.Dense(self.width, kernel_init=self.kernel_init, dtype=self.dtype, name="fc1")(x))
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        return nn.Dense(x.shape[-1], kernel_init=self.kernel_init, dtype=self.dtype, name="fc2")(y)


class Block(nn.Module):
    """One transformer block on ``[n, t, width]``: self-attention and an MLP, each added to its input.

    Parameters: ``norm1``, ``attention``, ``norm2``, ``mlp``, and ``scale1``, ``scale2`` with layer scale.

    Attributes:
        heads: heads of the attention.
        mlp_width: hidden width of the MLP.
        norm_first: x + f(norm(x)) (pre-norm) instead of norm(x + f(x)) (post-norm).
        epsilon: of both LayerNorms.
        activation: a name of ``ACTIVATIONS``.
        use_bias: biases in the attention's layers.
        layer_scale: initial value of a learnt factor per channel on each branch; None: no factors.
        dropout: rate after the attention, inside and after the MLP, in training. ``mlp_dropout`` sets the one inside.
        mlp_dropout: rate inside the MLP after the activation; None: ``dropout``.
        attention_dropout: rate on the softmax in training.
        stochastic_depth: probability with which a training example skips a branch; what is kept is scaled up.
    """

    heads: int
    mlp_width: int
    norm_first: bool = True
    epsilon: float = 1e-6
    activation: str = "gelu"
    use_bias: bool = True
    layer_scale: float | None = None
    dropout: float = 0.0
    mlp_dropout: float | None = None
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.0
    kernel_init: Any = nn.initializers.xavier_uniform()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, train: bool = False) -> Array:
        norm = partial(layer_norm, self.epsilon, dtype=self.dtype)
        attention = Attention(
            self.heads, self.use_bias, self.attention_dropout, self.kernel_init, self.dtype, name="attention"
        )
        # The two sublayers share this tail: dropout, a learnt factor, and stochastic depth.
        inner = self.dropout if self.mlp_dropout is None else self.mlp_dropout
        mlp = MLP(self.mlp_width, self.activation, inner, self.kernel_init, self.dtype, name="mlp")

        def branch(y: Array, name: str) -> Array:
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
            if self.layer_scale is not None:
                scale = self.param(name, nn.initializers.constant(self.layer_scale), (y.shape[-1],))
                y = y * scale.astype(y.dtype)[None, None]
            # One draw for each example, broadcast over its tokens and channels.
            return nn.Dropout(self.stochastic_depth, broadcast_dims=(1, 2))(y, deterministic=not train)

        # Pre-norm keeps the sum of branches unnormalised; post-norm, as in BERT, normalises after each sum.
        if self.norm_first:
            x = x + branch(attention(norm(name="norm1")(x), mask, train), "scale1")
            return x + branch(mlp(norm(name="norm2")(x), train), "scale2")
        x = norm(name="norm1")(x + branch(attention(x, mask, train), "scale1"))
        return norm(name="norm2")(x + branch(mlp(x, train), "scale2"))


def blocks(
    x: Array,
    depth: int,
    *,
    mask: Array | None = None,
    train: bool = False,
    remat: bool = False,
    stochastic_depth: float = 0.0,
    **fields: Any,
) -> tuple[Array, dict[str, Array]]:
    """Apply a stack of blocks, ``block_0`` to ``block_{depth - 1}``; to be called inside a compact ``__call__``.

    ``remat`` stores only the blocks' inputs for the gradient and computes the rest again (same names, same values). The
    rate ``stochastic_depth`` of the last block rises linearly from 0 at the first. ``fields`` are those of
    :class:`Block`.

    Returns:
        The last block's output and the outputs of all by name.
    """
    make = nn.remat(Block, static_argnums=(3,)) if remat else Block
    hidden = {}
    for i in range(depth):
        rate = stochastic_depth * i / max(depth - 1, 1)
        x = make(stochastic_depth=rate, name=f"block_{i}", **fields)(x, mask, train)
        hidden[f"block_{i}"] = x
    return x, hidden


def blocks_of(net: Any, x: Array, *, train: bool, **fields: Any) -> tuple[Array, dict[str, Array]]:
    """Apply :func:`blocks` with the depth, heads, dtype and dropout of ``net``, as transformers' models have them.

    Dropout acts on branches and on the attention's softmax, not inside the MLP.
    """
    fields |= {"remat": net.remat, "heads": net.heads, "dtype": net.dtype, "kernel_init": normal}
    rates = {"dropout": net.dropout, "mlp_dropout": 0.0, "attention_dropout": net.dropout}
    return blocks(x, net.depth, train=train, **rates, **fields)
