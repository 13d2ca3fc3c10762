"""The supervised loss of an example, and how right a batch's outputs are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dalib.checks import input_error
from dalib.types import Array, Metrics


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of each row, ``[n, C], [n] -> [n]``; NaN where the label is outside [0, C).

    Without that a negative label would count from the last class, unnoticed.
    """
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, optax.softmax_cross_entropy_with_integer_labels(logits, labels), jnp.nan)


def smoothed_cross_entropy(smoothing: float) -> Callable[[Array, Array], Array]:
    """Cross-entropy against labels of which a share is spread over all classes.

    Args:
        smoothing: α in [0, 1).

    Returns:
        ``(logits [n, C], labels [n]) -> [n]``, (1 − α) · :func:`cross_entropy` − α · mean over classes of ln p.

    Raises:
        InputError: for an α outside [0, 1).

    References:
        Szegedy et al., CVPR 2016, arXiv 1512.00567, section 7.
    """
    if not 0 <= smoothing < 1:
        raise input_error("smoothing", got=smoothing, expected="a number in [0, 1)")

    def loss(logits: Array, labels: Array) -> Array:
        spread = -jax.nn.log_softmax(logits).mean(-1)
        return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * spread

    return loss


def source_quality(logits: Array, labels: Array) -> Metrics:
    """How right the outputs are, by the kind of labels: a metric for the record.

    Args:
        logits: ``[n, C]``, or predictions ``[n, k]`` of a regression.
        labels: ``[n]`` integers; for a regression floating, ``[n, k]`` or (k = 1) ``[n]``.

    Returns:
        ``accuracy/source`` for integer labels, ``error/source`` (mean absolute error) for floating ones.

    Raises:
        InputError: when predictions and floating labels differ in size.
    """
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        return {"accuracy/source": (logits.argmax(-1) == labels).mean()}
    if labels.size != logits.size:
        raise input_error(
            "labels",
            got=f"{labels.dtype}{list(labels.shape)} beside outputs {list(logits.shape)}",
            expected="floating labels of the outputs' shape, or integer class labels [n]",
        )
    return {"error/source": jnp.abs(logits.reshape(labels.shape) - labels).mean()}
