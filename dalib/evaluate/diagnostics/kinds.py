"""Kinds of shift (inputs, class frequencies, concept), as far as they can be told without target labels."""

from typing import NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.accuracy.label_shift import Shift, bbse
from dalib.evaluate.diagnostics.two_samples import MMDTest, mmd_test
from dalib.evaluate.validators.evidence import Evidence


class Shifts(NamedTuple):
    """Two tests and a reminder.

    Attributes:
        inputs: test of the features' distributions; a small p-value: they differ.
        frequencies: class frequencies of the target, if the shift were one of frequencies alone.
        left: the test after the source is resampled to those frequencies; a small p-value: they do not explain it all.
        concept: constant: changed meanings cannot be seen.
    """

    inputs: MMDTest
    frequencies: Shift
    left: MMDTest
    concept: str = "whether classes mean something else in the target cannot be told without target labels"


def shifts(evidence: Evidence, *, permutations: int = 200) -> Shifts:
    """Tell a shift of the inputs from one of class frequencies, as far as unlabelled targets allow.

    Raises an InputError for evidence without features of both domains, source logits or source labels.
    """
    needs = ("target_features", "source_features", "source_logits", "source_labels")
    if lacking := evidence.lacks(needs):
        raise input_error("evidence", got=f"no {', '.join(lacking)}", expected=", ".join(needs))
    x, y, labels = evidence.source_features, evidence.target_features, evidence.source_labels
    found = bbse(evidence.source_logits, labels, evidence.target_logits)
    rows = _with_frequencies(labels, found.weights, np.random.default_rng(evidence.seed))
    # The second test sees the source at the target's frequencies: what it still finds is no label shift.
    first, second = (mmd_test(own, y, permutations=permutations, seed=evidence.seed) for own in (x, x[rows]))
    return Shifts(first, found, second)


def _with_frequencies(labels: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose as many rows as possible, none twice, so that classes occur ``weights`` times as often."""
    if weights.max() <= 0:
        return np.arange(len(labels))
    # As large as the scarcest class allows, without repeating a row: repeats would fool the test.
    counts = np.floor(np.bincount(labels, minlength=len(weights)) * weights / weights.max()).astype(int)
    own = [rng.permutation(np.flatnonzero(labels == c))[:count] for c, count in enumerate(counts)]
    rows = np.concatenate(own)
    return rows if len(rows) else np.arange(len(labels))
