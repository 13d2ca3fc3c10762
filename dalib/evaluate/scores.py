"""Scores from predictions and labels: accuracies and confusion counts, and those of open sets."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.types import Array

# Scores of a classifier on labelled examples, from masked sums: every example counts exactly once.


class Scores(NamedTuple):
    """Scores of a confusion matrix ``[C, C]`` of int64 counts; rows are true classes, columns predicted ones."""

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
        """Return the metrics of a run record."""
        return {
            "accuracy": self.accuracy,
            "mean_class_accuracy": self.mean_class_accuracy,
            "macro_f1": self.macro_f1,
        }


def confusion_counts(logits: Array, labels: Array, mask: Array) -> Array:
    """Confusion matrix of one batch, ``[C, C]`` int32: a sum over the rows with a True ``mask``; padding is False.

    Logits are ``[n, C]``, labels ``[n]`` int in [0, C).
    """
    classes = logits.shape[-1]
    # Padding goes to a cell of its own, which is cut off: shapes stay fixed under ``jit``.
    cell = jnp.where(mask, labels * classes + logits.argmax(-1), classes * classes)
    return jnp.zeros(classes * classes + 1, jnp.int32).at[cell].add(1)[:-1].reshape(classes, classes)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix ``[C, C]`` int64 of predicted classes ``[n]``, on the host; rows are true classes."""
    cells = np.asarray(labels, np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


_counts = jax.jit(confusion_counts)


def score(predict: Callable[[Any], Array], batches: Iterable[Any]) -> Scores:
    """Score a classifier ``inputs -> [n, C]`` over an evaluation stream (:func:`dalib.data.evaluation_batches`).

    Raises an InputError when there is no example.
    """
    counts = [_counts(predict(b.inputs), jnp.asarray(b.labels), jnp.asarray(b.mask)) for b in batches]
    total = sum(np.asarray(c, np.int64) for c in jax.device_get(counts)) if counts else np.zeros((0, 0))
    if np.sum(total) == 0:
        raise InputError("batches: the evaluation stream holds no example")
    return Scores(np.asarray(total))


# Scores of open-set and universal adaptation, from a confusion matrix with "unknown" as its last class.
#
# They are made with target labels, so they are oracle scores: for the final report, never to select anything.


class OpenSetScores(NamedTuple):
    """Scores of a confusion matrix with an unknown class; all shares in [0, 1].

    Attributes:
        os: mean of the shares that are right over all classes, unknown included ("OS").
        os_star: the same over the known classes only ("OS*").
        unknown: share of the unknown examples that are found unknown ("UNK").
        hos: harmonic mean ``2 · OS* · UNK / (OS* + UNK)``; 0 if either is 0.
        accuracy: share of all examples that are right.
    """

    os: float
    os_star: float
    unknown: float
    hos: float
    accuracy: float

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a run record; its event must carry ``oracle: true``."""
        return self._asdict()


def open_set_scores(confusion: np.ndarray) -> OpenSetScores:
    """Open-set scores of counts ``[C + 1, C + 1]``: rows are true classes, the last is unknown.

    OS averages over many known classes and hides that nothing is found unknown; HOS does not (Bucci, Loghmani, Tommasi,
    ECCV 2020, arXiv 2007.12360; Fu et al., ECCV 2020, name it H-score). Known classes without examples are left out of
    the means. Raises an InputError for no known or no unknown example: UNK and HOS are not defined, use the accuracy.
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or confusion.shape[0] < 2:
        raise input_error(
            "confusion", got=f"shape {confusion.shape}", expected="[C + 1, C + 1] counts with C ≥ 1 known classes"
        )
    if not np.isfinite(confusion).all() or (confusion < 0).any():
        raise input_error("confusion", got="a negative or non-finite entry", expected="counts ≥ 0")
    rows = confusion.sum(1)
    if rows[:-1].sum() == 0 or rows[-1] == 0:
        raise input_error(
            "confusion",
            got=f"{rows[:-1].sum():g} known and {rows[-1]:g} unknown examples",
            expected="at least one of each",
            todo="without unknown examples score by accuracy; the unknown class must be the last row",
        )
    # Known classes without examples have no share that is right: they would be 0 / 0.
    right = np.diag(confusion)[rows > 0] / rows[rows > 0]
    os_star, unknown = float(right[:-1].mean()), float(right[-1])
    hos = 2 * os_star * unknown / (os_star + unknown) if os_star and unknown else 0.0
    return OpenSetScores(float(right.mean()), os_star, unknown, hos, float(np.trace(confusion) / confusion.sum()))
