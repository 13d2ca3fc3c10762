"""Co-Tuning: the pretrained head goes on learning, from its own view of the target's classes.

You, Kou, Long, Wang 2020, "Co-Tuning for transfer learning". Arrays are ``[n, K]`` over the K pretrained classes; other
shapes raise an InputError.
"""

import jax.numpy as jnp
import numpy as np
import optax

from dalib.core.checks import input_error
from dalib.core.types import Array


def category_relationship(probabilities: Array, labels: Array, num_classes: int) -> np.ndarray:
    """P(source class | target class) ``[C, K]``: the mean prediction of the pretrained head on each target class.

    ``probabilities`` are the (calibrated) head's softmax; ``labels`` ``[n]`` in [0, C) are of the new task, each with
    an example.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1] or y.dtype.kind not in "iu":
        raise input_error("labels", got=f"{y.dtype}{y.shape} beside {p.shape}", expected="integers [n] beside [n, K]")
    # A class without examples would have no row.
    if not set(np.unique(y)) == set(range(num_classes)):
        raise input_error(
            "labels", got=f"the classes {np.unique(y).tolist()}", expected=f"every class of 0 … {num_classes - 1}"
        )
    return np.stack([p[y == c].mean(0) for c in range(num_classes)])


def co_tuning_loss(logits: Array, targets: Array) -> Array:
    """Mean cross-entropy of the pretrained head's logits against ``category_relationship(…)[labels]``."""
    if jnp.shape(logits) != jnp.shape(targets) or jnp.ndim(logits) != 2:
        raise input_error("targets", got=f"{jnp.shape(targets)} beside {jnp.shape(logits)}", expected="both [n, K]")
    return optax.softmax_cross_entropy(logits, targets).mean()
