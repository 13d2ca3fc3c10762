"""Classification: one of C classes for each example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dalib.core.checks import input_error
from dalib.core.types import Array, Metrics, Outputs, PyTree, Task
from dalib.evaluate.scores import Scores, confusion_counts


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of each row, ``[n, C], [n] -> [n]``; NaN where the label is outside [0, C).

    A negative label would otherwise count from the last class, unnoticed. ``dalib.train.run`` reports the NaN as an
    error at that step; the readers of :mod:`dalib.data` refuse such labels before.
    """
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, optax.softmax_cross_entropy_with_integer_labels(logits, labels), jnp.nan)


def smoothed_cross_entropy(logits: Array, labels: Array, *, smoothing: float) -> Array:
    """(1 − α) · :func:`cross_entropy` − α · mean over classes of ln p, ``[n, C], [n] -> [n]``.

    α (``smoothing``) is the share of a label that is spread over all classes. Szegedy et al., CVPR 2016, arXiv
    1512.00567, section 7.
    """
    spread = -jax.nn.log_softmax(logits).mean(-1)
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * spread


def classification(classes: int, *, smoothing: float = 0.0) -> Task:
    """Make the task of telling C classes apart, with ``smoothing`` α in [0, 1) of :func:`smoothed_cross_entropy`.

    Counts are confusion matrices ``[C, C]``; metrics are accuracy, mean class accuracy and macro F1.
    """
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise input_error("classes", got=repr(classes), expected="an integer ≥ 1")
    if not 0 <= smoothing < 1:
        raise input_error("smoothing", got=smoothing, expected="a number in [0, 1)")

    def loss(outputs: Outputs, labels: Array) -> Array:
        assert outputs.logits is not None
        # Without smoothing the plain form, so that earlier numbers stay to the bit.
        if smoothing:
            return smoothed_cross_entropy(outputs.logits, labels, smoothing=smoothing)
        return cross_entropy(outputs.logits, labels)

    return Task("classification", int(classes), loss, accuracy, predict, counts, metrics)


def accuracy(outputs: Outputs, labels: Array) -> Metrics:
    """``accuracy/source`` of a training batch."""
    assert outputs.logits is not None
    return {"accuracy/source": (outputs.logits.argmax(-1) == labels).mean()}


def predict(outputs: Outputs) -> Array:
    """The class of the largest logit, ``[n]``."""
    assert outputs.logits is not None
    return outputs.logits.argmax(-1)


def counts(outputs: Outputs, labels: Array, mask: Array) -> Array:
    """Confusion matrix ``[C, C]`` of the rows with a True mask."""
    assert outputs.logits is not None
    return confusion_counts(outputs.logits, labels, mask)


def metrics(total: PyTree) -> dict[str, float]:
    """Accuracy, mean class accuracy and macro F1 of a confusion matrix."""
    return Scores(np.asarray(total)).metrics()
