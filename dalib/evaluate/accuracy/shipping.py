"""Facts on a model that is about to be shipped: its calibration, and the class frequencies of the target."""

from typing import NamedTuple

import numpy as np

from dalib.evaluate.accuracy.calibration import Calibration, calibrate, target_temperature
from dalib.evaluate.accuracy.label_shift import Shift, bbse, mlls
from dalib.evaluate.inputs import softmax
from dalib.evaluate.validators.evidence import Evidence
from dalib.evaluate.validators.registry import SOURCE, WEIGHTED
from dalib.evaluate.validators.scoring import doubts

FEWEST = 4


class Shipping(NamedTuple):
    """Facts on one model, none of them from target labels.

    Attributes:
        calibration: temperature from the source, and the source's ECE before and after.
        target_temperature: TransCal's; NaN without features, or where the density ratios say too little.
        frequencies: of the target's classes by BBSE.
        by_likelihood: the same by MLLS, on calibrated predictions.
        predicted: share of each predicted class ``[C]``.
    """

    calibration: Calibration
    target_temperature: float
    frequencies: Shift
    by_likelihood: Shift
    predicted: np.ndarray


def shipping(evidence: Evidence) -> Shipping | None:
    """Collect the facts; None without at least four held-out source examples."""
    if evidence.lacks(SOURCE) or len(evidence.source_labels) < FEWEST:
        return None
    z, y, t = evidence.source_logits, evidence.source_labels, evidence.target_logits
    found = calibrate(z, y)
    target = float("nan")
    if not evidence.lacks(WEIGHTED) and not doubts(evidence.weights):
        # The source is calibrated first, as in the paper.
        confidence = float(softmax(z / found.temperature).max(1).mean())
        target = target_temperature(t, evidence.weights, evidence.wrong, confidence)
    predicted = np.bincount(evidence.predictions, minlength=t.shape[1]) / len(t)
    return Shipping(found, target, bbse(z, y, t), mlls(z, y, t, temperature=found.temperature), predicted)
