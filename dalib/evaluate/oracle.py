"""The oracle: scores that use target labels, for the final report only.

They have a type and a name of their own. Nothing in training, validation or selection imports this module, and
:func:`dalib.evaluate.best` refuses an :class:`OracleScores`.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from dalib.core.types import Array
from dalib.evaluate.scores import score


class OracleScores(NamedTuple):
    """Scores made with target labels; fields as in :class:`~dalib.evaluate.scores.Scores`."""

    target_confusion: np.ndarray
    target_accuracy: float
    target_mean_class_accuracy: float
    target_macro_f1: float

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a run record; its event must carry ``oracle: true``."""
        return {
            "accuracy": self.target_accuracy,
            "mean_class_accuracy": self.target_mean_class_accuracy,
            "macro_f1": self.target_macro_f1,
        }


def oracle_score(predict: Callable[[Any], Array], labelled_target_batches: Iterable[Any]) -> OracleScores:
    """Score a classifier on labelled target examples; see :func:`dalib.evaluate.score` for the arguments."""
    scores = score(predict, labelled_target_batches)
    return OracleScores(scores.confusion, scores.accuracy, scores.mean_class_accuracy, scores.macro_f1)
