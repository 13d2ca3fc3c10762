"""Calibration of probabilities: the error, a temperature from source labels, and TransCal's for the target.

Logits are ``[n, C]``, labels ``[n]``. Temperatures are searched in [0.05, 20]; they change no prediction.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import class_scores, classes_of, log_softmax, softmax, vector

BINS = 15
RANGE = (0.05, 20.0)
"""Temperatures that are tried."""


def calibration_error(logits: Any, labels: Any, *, temperature: float = 1.0, bins: int = BINS) -> float:
    """ECE: mean over examples of |accuracy − confidence| of their bin, in [0, 1].

    The ``bins`` are of equal width, over the largest probability at ``temperature`` T > 0. Guo et al., ICML 2017.
    """
    z, y = _labelled(logits, labels)
    if not temperature > 0 or bins < 1:
        raise input_error("temperature", got=f"{temperature}, {bins} bins", expected="T > 0 and at least one bin")
    confidence = softmax(z / temperature).max(1)
    # Bins are open on the left, so that a confidence of 1 is in the last one.
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(at, weights=(z.argmax(1) == y) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(z))


def source_temperature(logits: Any, labels: Any) -> float:
    """Find the temperature of the least mean cross-entropy on held-out source examples; 0.05 where all are right."""
    z, y = _labelled(logits, labels)
    return _least(lambda t: -log_softmax(z / t)[np.arange(len(z)), y].mean())


def target_temperature(logits: Any, weights: Any, wrong: Any, confidence: Any, *, power: float = 0.5) -> float:
    """TransCal: the temperature at which the mean confidence on the target meets its estimated accuracy.

    The accuracy is 1 − the importance-weighted error of held-out source examples, with TransCal's two control variates
    (of the weights, and of the source's accuracy). Wang et al., NeurIPS 2020, arXiv 2007.08259, in the form of
    ``pytorch/utils.py`` in thuml/TransCal, with T below 1 allowed.

    Args:
        logits: of target examples.
        weights: density ratios of held-out source examples ``[m]``, m ≥ 2.
        wrong: their 0–1 losses ``[m]``.
        confidence: mean largest probability of the source's own calibrated predictions.
        power: λ in [0, 1] of ``w^λ``. The paper learns it with T from one equation, which does not determine both; its
            search starts at 0.5.
    """
    z = class_scores("logits", logits)
    w = vector("weights", weights, least=2)
    error = vector("wrong", wrong, rows=len(w))
    if (w < 0).any() or not 0 <= power <= 1 or not 0 <= confidence <= 1:
        got = f"weights from {w.min():g}, power {power}, confidence {confidence}"
        raise input_error("weights", got=got, expected="weights ≥ 0, power and confidence in [0, 1]")
    wanted = 1 - _controlled_risk(w**power, error, float(confidence))
    return _least(lambda t: abs(softmax(z / t).max(1).mean() - wanted))


def _controlled_risk(w: np.ndarray, error: np.ndarray, confidence: float) -> float:
    """Subtract from the weighted error what it shares with the weights' mean and with the source's accuracy."""
    # A control variate of known mean takes away variance without moving the expectation.
    weighted = w * error
    first = _slope(weighted, w)
    controlled = weighted + first * (w - 1)
    right = 1 - error
    second = _slope(controlled, right)
    return float(np.clip(controlled.mean() + second * (right.mean() - confidence), 0, 1))


def _slope(x: np.ndarray, control: np.ndarray) -> float:
    covariance = np.cov(x, control, ddof=1)
    return 0.0 if covariance[1, 1] == 0 else -covariance[0, 1] / covariance[1, 1]


class Calibration(NamedTuple):
    """Temperature, and the source's ECE before and after it; the target's ECE needs an oracle."""

    temperature: float
    before: float
    after: float


def calibrate(logits: Any, labels: Any) -> Calibration:
    """Find the temperature from all held-out source examples, with their ECE before and after.

    Each half is scored at the other half's temperature; a shared one would flatter the ECE.
    """
    z, y = _labelled(logits, labels)
    if len(z) < 4:
        raise input_error("logits", got=f"{len(z)} examples", expected="at least 4")
    halves = slice(0, None, 2), slice(1, None, 2)
    # Every other row: classes that come in order are in both halves.
    fitted = np.empty_like(z)
    for own, other in (halves, halves[::-1]):
        fitted[own] = z[own] / source_temperature(z[other], y[other])
    return Calibration(source_temperature(z, y), calibration_error(z, y), calibration_error(fitted, y))


def _least(loss: Any) -> float:
    """Minimise over the logarithm of the temperature: a grid, then Brent's method around its best point."""
    from scipy.optimize import minimize_scalar

    grid = np.linspace(np.log(RANGE[0]), np.log(RANGE[1]), 25)
    # The loss may have several minima: the grid finds the basin, the bounded search its lowest point.
    i = int(np.argmin([loss(np.exp(t)) for t in grid]))
    around = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    found = minimize_scalar(lambda t: loss(np.exp(t)), bounds=around, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _labelled(logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    z = class_scores("logits", logits)
    return z, classes_of("labels", labels, classes=z.shape[1], rows=len(z))
