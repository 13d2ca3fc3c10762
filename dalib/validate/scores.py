"""Scores of a classifier on labelled examples, from masked sums: every example counts exactly once."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.checks import InputError
from dalib.types import Array


class Scores(NamedTuple):
    """What a confusion matrix says.

    Attributes:
        confusion: ``[C, C]`` int64 counts; rows are true classes, columns predicted ones.
    """

    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of all examples that are right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def per_class(self) -> np.ndarray:
        """``[C]`` share of each true class that is right; NaN for a class without examples."""
        rows = self.confusion.sum(1)
        return np.where(rows > 0, np.diag(self.confusion) / np.maximum(rows, 1), np.nan)

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of :attr:`per_class` over the classes that have examples (VisDA's headline number)."""
        return float(np.nanmean(self.per_class))

    @property
    def macro_f1(self) -> float:
        """Mean F1 = 2 tp / (2 tp + fp + fn) over the classes that have examples or were predicted."""
        right, either = np.diag(self.confusion), self.confusion.sum(0) + self.confusion.sum(1)
        return float(np.mean(2 * right[either > 0] / either[either > 0]))

    def metrics(self) -> dict[str, float]:
        """For a run record."""
        return {
            "accuracy": self.accuracy,
            "mean_class_accuracy": self.mean_class_accuracy,
            "macro_f1": self.macro_f1,
        }


def confusion_counts(logits: Array, labels: Array, mask: Array) -> Array:
    """Confusion matrix of one batch, ``[C, C]`` int32: a sum over the rows whose ``mask`` is True.

    Args:
        logits: ``[n, C]``.
        labels: ``[n]`` int in [0, C).
        mask: ``[n]`` bool; padding is False.
    """
    classes = logits.shape[-1]
    cell = jnp.where(mask, labels * classes + logits.argmax(-1), classes * classes)
    return jnp.zeros(classes * classes + 1, jnp.int32).at[cell].add(1)[:-1].reshape(classes, classes)


_counts = jax.jit(confusion_counts)


def score(predict: Callable[[Any], Array], batches: Iterable[Any]) -> Scores:
    """Scores a classifier over an evaluation stream.

    Args:
        predict: ``inputs -> [n, C]`` logits.
        batches: with ``inputs``, ``labels`` and ``mask`` (:func:`dalib.data.evaluation_batches`).

    Raises:
        InputError: when there is no example.
    """
    counts = [_counts(predict(b.inputs), jnp.asarray(b.labels), jnp.asarray(b.mask)) for b in batches]
    total = sum(np.asarray(c, np.int64) for c in jax.device_get(counts)) if counts else np.zeros((0, 0))
    if np.sum(total) == 0:
        raise InputError("batches: the evaluation stream holds no example")
    return Scores(np.asarray(total))
