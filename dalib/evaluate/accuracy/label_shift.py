"""Shifts of the class frequencies: their estimate without target labels, and predictions corrected for them.

The premise is label shift: classes look alike in both domains, only their frequencies differ. Adapted features come
nearer to it; nothing here can test it. Logits are ``[m, C]`` of held-out source examples with labels ``[m]``, and
``[n, C]`` of the target; temperatures are > 0, from :func:`~dalib.evaluate.accuracy.calibration.source_temperature`.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import class_scores, classes_of, log_softmax, softmax


class Shift(NamedTuple):
    """Estimated class frequencies ``priors`` ``[C]`` of the target, which sum to 1, and those of the source.

    ``condition`` is of the system that was solved, NaN where none was; if it is large, the estimate is noise.
    """

    priors: np.ndarray
    source: np.ndarray
    condition: float = float("nan")

    @property
    def weights(self) -> np.ndarray:
        """``[C]`` ratio of target over source frequency; 0 for a class the source lacks."""
        return self.priors / np.where(self.source > 0, self.source, np.inf)


def _inputs(source_logits: Any, labels: Any, target_logits: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = class_scores("source_logits", source_logits)
    y = classes_of("labels", labels, classes=z.shape[1], rows=len(z))
    return z, y, class_scores("target_logits", target_logits, classes=z.shape[1])


def bbse(source_logits: Any, labels: Any, target_logits: Any) -> Shift:
    """Black box shift estimation: the frequencies that explain how often each class is predicted.

    Solves ``P(ŷ = i, y = j) w_j = Q(ŷ = i)`` for w ≥ 0 by least squares; needs no calibrated probabilities. Lipton,
    Wang, Smola, ICML 2018, arXiv 1802.03916.
    """
    from scipy.optimize import nnls

    z, y, t = _inputs(source_logits, labels, target_logits)
    classes = z.shape[1]
    joint = np.zeros((classes, classes))
    np.add.at(joint, (z.argmax(1), y), 1 / len(y))
    predicted = np.bincount(t.argmax(1), minlength=classes) / len(t)
    source = np.bincount(y, minlength=classes) / len(y)
    # Least squares without the bound w ≥ 0 would give negative frequencies on small samples.
    priors = nnls(joint, predicted)[0] * source
    total = priors.sum()
    # The condition of the columns that can be solved for: a missing class would make it infinite.
    present = joint[:, source > 0]
    # No source class explains the predictions: nothing is known.
    return Shift(priors / total if total > 0 else source, source, float(np.linalg.cond(present)))


def mlls(source_logits: Any, labels: Any, target_logits: Any, *, temperature: float = 1.0, steps: int = 1000) -> Shift:
    """Maximum likelihood of the target's frequencies, by EM; needs calibrated probabilities.

    Of the source only the labels' frequencies count. EM ends after ``steps``, or when no frequency moves by 1e-8.
    Saerens, Latinne, Decaestecker, Neural Computation 2002; Alexandari, Kundaje, Shrikumar, ICML 2020, arXiv
    1901.06852.
    """
    if not temperature > 0 or steps < 1:
        raise input_error("temperature", got=f"{temperature}, {steps} steps", expected="T > 0 and at least one step")
    z, y, t = _inputs(source_logits, labels, target_logits)
    source = np.bincount(y, minlength=z.shape[1]) / len(y)
    p = softmax(t / temperature)
    priors = source
    for _ in range(steps):
        moved = _weighted(p, priors, source).mean(0)
        # EM never lowers the likelihood; a fixed point is where it has converged.
        if np.abs(moved - priors).max() < 1e-8:
            break
        priors = moved
    return Shift(priors, source)


def _weighted(p: np.ndarray, priors: np.ndarray, source: np.ndarray) -> np.ndarray:
    q = p * (priors / np.where(source > 0, source, np.inf))
    total = q.sum(1, keepdims=True)
    # A row on classes that the source lacks keeps its prediction.
    return np.where(total > 0, q / np.where(total > 0, total, 1), p)


def corrected(target_logits: Any, shift: Shift, *, temperature: float = 1.0) -> np.ndarray:
    """Log-probabilities ``[n, C]`` of the target under its estimated frequencies: ``p(y | x) · q(y) / p(y)``.

    They are finite: a class of estimated frequency 0 gets −1e4.
    """
    if not temperature > 0:
        raise input_error("temperature", got=temperature, expected="a number > 0")
    z = class_scores("target_logits", target_logits, classes=len(shift.priors))
    with np.errstate(divide="ignore"):
        moved = np.maximum(log_softmax(z / temperature) + np.log(shift.weights)[None], -1e4)
    return np.maximum(log_softmax(moved), -1e4)


def recall_accuracy(source_logits: Any, labels: Any, shift: Shift) -> float:
    """Accuracy that the source's recalls give under the target's frequencies, ``Σ_c q_c · recall_c``, in [0, 1].

    Classes without source examples are left out and the other frequencies scaled to sum to 1.
    """
    z = class_scores("source_logits", source_logits, classes=len(shift.priors))
    y = classes_of("labels", labels, classes=z.shape[1], rows=len(z))
    count = np.bincount(y, minlength=z.shape[1])
    recall = np.bincount(y[z.argmax(1) == y], minlength=z.shape[1]) / np.maximum(count, 1)
    known = shift.priors * (count > 0)
    return float(known @ recall / known.sum()) if known.sum() > 0 else float("nan")
