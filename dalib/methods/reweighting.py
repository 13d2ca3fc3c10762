"""Weights on source examples, for targets that have only some of the source's classes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dalib.types import Array

SCALES: dict[str, Callable[[Array], Array]] = {"max": jnp.max, "mean": jnp.mean}
"""What class weights are divided by: their largest, as in PADA's paper and TLlib, or their mean, as in its code."""


def class_weights(logits: Array, *, temperature: float | Array = 1.0, divide_by: str = "max") -> Array:
    """PADA's class weights: mean target prediction of each class, over the largest or the mean of them.

    Args:
        logits: ``[N, C]`` of the whole target.
        temperature: T of ``softmax(logits / T)``; below 1 it sharpens the predictions.
        divide_by: a name of :data:`SCALES`.

    Returns:
        ``[C]``, behind stop_gradient: in (0, 1] with "max", of mean 1 with "mean".
    """
    mean = jax.nn.softmax(jax.lax.stop_gradient(logits) / temperature).mean(0)
    return mean / SCALES[divide_by](mean)


def importance_weights(domain_logits: Array) -> Array:
    """IWAN's example weights: the discriminator's probability of "target", over its batch mean.

    Args:
        domain_logits: ``[n]`` of source rows; positive means source.

    Returns:
        ``[n]`` ≥ 0 with a mean near 1 (the mean has 1e-5 added, as in TLlib), behind stop_gradient. All 0 when the
        discriminator is certain of every row.
    """
    target = jax.nn.sigmoid(-jax.lax.stop_gradient(domain_logits))
    return target / (target.mean() + 1e-5)
