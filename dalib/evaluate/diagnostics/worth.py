"""Worth of an adaptation: recalls, negative transfer, bias by attribute, the ideal joint error.

:func:`recall_shift`, :func:`transfer` and :func:`ideal_joint_error` read target labels, or scores made with them: they
are for reports, never for a choice.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import classes_of, matrix, vector
from dalib.evaluate.validators.consensus import logistic_fit


class RecallShift(NamedTuple):
    """Recall after less before, and half the width of its 95 % interval, each ``[C]``; NaN without examples."""

    difference: np.ndarray
    half_width: np.ndarray


def recall_shift(before: Any, after: Any) -> RecallShift:
    """Measure what adaptation did to each class, from confusion counts ``[C, C]`` (rows true) of the same examples.

    ``before`` is source-only. The interval takes the two as independent: too wide where they agree on most examples.
    """
    a = matrix("before", before)
    b = matrix("after", after, rows=len(a), columns=len(a))
    if a.shape[1] != len(a) or (a < 0).any() or (b < 0).any() or not np.array_equal(a.sum(1), b.sum(1)):
        expected = "two [C, C] matrices of counts with equal row sums"
        raise input_error("before", got=f"row sums {a.sum(1)} and {b.sum(1)}", expected=expected)
    n = a.sum(1)
    p, q = (np.where(n > 0, np.diag(x) / np.maximum(n, 1), np.nan) for x in (a, b))
    variance = (p * (1 - p) + q * (1 - q)) / np.maximum(n, 1)
    return RecallShift(q - p, 1.96 * np.sqrt(variance))


class Transfer(NamedTuple):
    """Accuracy of a method less source-only's over seeds, its 95 % interval, and the verdict.

    ``verdict`` is "positive", "negative", "undecided" (the interval holds 0) or "too few seeds" (below 3).
    """

    difference: float
    low: float
    high: float
    verdict: str


def transfer(method: Any, source_only: Any) -> Transfer:
    """Flag negative transfer, by Student's t interval of the accuracies' differences seed by seed (``[s]`` each)."""
    x = vector("method", method)
    difference = x - vector("source_only", source_only, rows=len(x))
    mean = float(difference.mean())
    # Two seeds give an interval that is too wide to say anything.
    if len(x) < 3:
        return Transfer(mean, float(difference.min()), float(difference.max()), "too few seeds")
    from scipy.stats import t

    half = float(t.ppf(0.975, len(x) - 1)) * difference.std(ddof=1) / np.sqrt(len(x))
    verdict = "undecided" if mean - half <= 0 <= mean + half else "positive" if mean > 0 else "negative"
    return Transfer(mean, float(mean - half), float(mean + half), verdict)


class Bias(NamedTuple):
    """Predictions by the values of an attribute.

    Attributes:
        values: of the attribute ``[a]``.
        counts: examples of each ``[a]``.
        shares: predicted share of each class ``[a, C]``.
        accuracy: ``[a]``; NaN without labels.
        association: Cramér's V of predictions and attribute, 0 (none) to 1.
        of_labels: Cramér's V of labels and attribute; NaN without labels. Much less than ``association``: the model
            reads the attribute where the classes do not, a spurious feature.
    """

    values: np.ndarray
    counts: np.ndarray
    shares: np.ndarray
    accuracy: np.ndarray
    association: float
    of_labels: float


def bias_by_attribute(predictions: Any, attribute: Any, classes: int, *, labels: Any = None) -> Bias:
    """Dataset bias: predicted shares and accuracy for every value of an attribute that is no class.

    ``attribute`` ``[n]`` holds integers or texts (a camera, a hospital, a background); ``labels`` are of the source or,
    for reading only, of the target.
    """
    y = classes_of("predictions", predictions, classes=classes)
    a = np.asarray(attribute)
    if a.shape != y.shape or a.dtype.kind not in "iuUb":
        raise input_error("attribute", got=f"{a.dtype}{list(a.shape)}", expected=f"integers or texts [{len(y)}]")
    values, at = np.unique(a, return_inverse=True)
    counts = _table(at, y, len(values), classes)
    total = counts.sum(1)
    nothing = np.full(len(values), np.nan)
    if labels is None:
        return Bias(values, total, counts / total[:, None], nothing, cramers_v(counts), float("nan"))
    truth = classes_of("labels", labels, classes=classes, rows=len(y))
    right = np.bincount(at, weights=y == truth, minlength=len(values)) / total
    own = cramers_v(_table(at, truth, len(values), classes))
    return Bias(values, total, counts / total[:, None], right, cramers_v(counts), own)


def _table(a: np.ndarray, b: np.ndarray, rows: int, columns: int) -> np.ndarray:
    found = np.zeros((rows, columns), np.int64)
    np.add.at(found, (a, b), 1)
    return found


def cramers_v(counts: Any) -> float:
    """Cramér's V of a table of counts, in [0, 1]; NaN where a side has one value only."""
    table = matrix("counts", counts)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return float("nan")
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / (min(table.shape) - 1)))


def ideal_joint_error(source: Any, labels: Any, target: Any, target_labels: Any, *, seed: int = 0) -> float:
    """λ of the bound of Ben-David et al. 2010: the error on both domains of one classifier that learns from both.

    If it is large, no classifier on these features serves both domains, and aligning cannot help. It uses target
    labels. ``seed`` divides features ``[n, d]`` and ``[m, d]``, n, m ≥ 2, into halves to learn on and to test on. The
    result is the sum of both errors of a logistic regression with equal weight of the domains, in [0, 2].
    """
    x = matrix("source", source, least=2)
    y = matrix("target", target, columns=x.shape[1], least=2)
    many = np.iinfo(np.int32).max
    truth = classes_of("labels", labels, classes=many, rows=len(x))
    theirs = classes_of("target_labels", target_labels, classes=many, rows=len(y))
    rng = np.random.default_rng(seed)
    (a, a_test), (b, b_test) = (np.array_split(rng.permutation(len(rows)), 2) for rows in (x, y))
    # Equal weight: the smaller half is repeated.
    size = max(len(a), len(b))
    a, b = np.resize(a, size), np.resize(b, size)
    # One classifier of both domains, tested on the halves that it has not seen.
    predict = logistic_fit(np.concatenate([x[a], y[b]]), np.concatenate([truth[a], theirs[b]]))
    return float((predict(x[a_test]) != truth[a_test]).mean() + (predict(y[b_test]) != theirs[b_test]).mean())
