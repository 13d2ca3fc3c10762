"""Parts of adversarial methods: gradient reversal, discriminators, and branches with parameters of their own."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dalib.core.options import Weight
from dalib.core.types import Array, PyTree
from dalib.methods.parts.domains import apart, together
from dalib.methods.view import Forward, Spec

# Gradient reversal and its schedules (Ganin et al., JMLR 2016, §4.2 and §5.2).


Reversal = Weight
"""A reversal's coefficient ≥ 0: a number, a traced scalar, or a function of the view or of a
:class:`~dalib.core.types.Time`."""


@jax.custom_vjp
def reverse_gradient(x: PyTree, coefficient: Array | float = 1.0) -> PyTree:
    """Identity with its gradient, for an array or a tree of them, multiplied by ``-coefficient`` (λ ≥ 0, scalar). The
    coefficient is an argument, so that one compiled step serves a whole schedule. It gets no gradient."""
    del coefficient
    return x


def _forward(x, coefficient):
    return x, coefficient


def _backward(coefficient, g):
    return jax.tree.map(lambda leaf: -jnp.asarray(coefficient, leaf.dtype) * leaf, g), jnp.zeros_like(coefficient)


reverse_gradient.defvjp(_forward, _backward)


def reverse_by(reversal: Reversal, time: Any, x: PyTree) -> tuple[Any, Array]:
    """``(reversed x, coefficient)`` with the coefficient of ``reversal`` at this step; ``x`` is a tree of one dtype."""
    coefficient = jnp.asarray(reversal(time) if callable(reversal) else reversal, jax.tree.leaves(x)[0].dtype)
    return reverse_gradient(x, coefficient), coefficient


def dann_schedule(time: Any, *, gamma: float = 10.0, low: float = 0.0, high: float = 1.0) -> Array:
    """λ_p = 2/(1 + e^(−γp)) − 1, scaled to [low, high]; 0 at p = 0 and 0.9999 at p = 1 (Ganin et al. 2016, §5.2).
    ``time`` is anything with ``progress``, such as a :class:`~dalib.core.types.Time` or a view."""
    return ramp(time.progress, gamma=gamma, low=low, high=high)


def ramp(x: Any, *, gamma: float = 1.0, low: float = 0.0, high: float = 1.0) -> Array:
    """low + (high − low) · tanh(γx/2), the S-shaped ramp of all reversals."""
    return low + (high - low) * jnp.tanh(0.5 * gamma * jnp.asarray(x))


def iteration_schedule(
    time: Any, *, alpha: float = 1.0, low: float = 0.0, high: float = 1.0, steps: int = 1000
) -> Array:
    """The ramp in iterations: ``2(high−low)/(1 + e^(−α·step/steps)) − (high−low) + low`` (TLlib's warm start). ``time``
    is anything with ``step``. The defaults equal :func:`dann_schedule` with γ = 10 in a run of 10,000 steps."""
    return ramp(jnp.asarray(time.step) / steps, gamma=alpha, low=low, high=high)


class RowNorm(nn.Module):
    """BatchNorm over the rows passed in, without running statistics: a discriminator is never evaluated."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[n, d] -> [n, d]``."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x - x.mean(0, keepdims=True)
        # Of the rows passed in: joint or per domain is the caller's choice of rows.
        inverse = jax.lax.rsqrt(jnp.square(centred).mean(0, keepdims=True) + self.epsilon)
        return centred * inverse * scale[None] + bias[None]


class Discriminator(nn.Module):
    """Multi-layer perceptron to one logit per row: positive means source (label 1 everywhere in dalib, target 0).

    Attributes:
        hidden: widths of the hidden layers; () gives a linear discriminator.
        norm: :class:`RowNorm` after each hidden layer.
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
    """Binary cross-entropy of domain logits ``[n]`` and ``[m]``, half a mean over each, and balanced accuracy. At
    equilibrium the loss is ln 2 = 0.6931 and the accuracy 0.5; at 1 the discriminator wins. Weights are factors of the
    rows' losses: means are over n and m, **not** over the sum of weights; the accuracy counts every row once."""
    of_source = optax.sigmoid_binary_cross_entropy(source, jnp.ones_like(source))
    of_target = optax.sigmoid_binary_cross_entropy(target, jnp.zeros_like(target))
    if source_weights is not None:
        of_source = source_weights * of_source
    if target_weights is not None:
        of_target = target_weights * of_target
    accuracy = 0.5 * ((source > 0).mean() + (target <= 0).mean())
    return 0.5 * (of_source.mean() + of_target.mean()), accuracy


# A classifier head for each source domain, stacked so that they run as one ``vmap``.
#
# The net's own head is always one of them: it is trained like the others, and a method with k heads owns k − 1.


def init_heads(key: Array, spec: Spec, count: int) -> PyTree:
    """``count`` more heads of the classifier's form, stacked: every leaf ``[count, ...]``."""
    return jax.vmap(spec.init_head)(jax.random.split(key, count))


def with_first(first: PyTree, others: PyTree) -> PyTree:
    """One more in front of a stack: leaves ``[...]`` and ``[count, ...]`` to ``[1 + count, ...]``."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, others)


def apply_heads(forward: Forward, heads: PyTree, features: Array, key: Array | None) -> Array:
    """Every head on its own features: ``[k, n, d]`` (or ``[n, d]`` for all) to ``[k, n, C]``; no key at evaluation."""
    count = jax.tree.leaves(heads)[0].shape[0]
    axis = 0 if features.ndim == 3 else None
    if key is None:
        return jax.vmap(lambda p, x: forward.head(p, x, None), in_axes=(0, axis))(heads, features)
    return jax.vmap(forward.head, in_axes=(0, axis, 0))(heads, features, jax.random.split(key, count))


def mixture(logits: Array) -> Array:
    """Logits ``[n, C]`` of the mean of the heads' probabilities, from logits ``[k, n, C]``, in log space."""
    return jax.scipy.special.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(logits.shape[0])
