"""Judgement of a validator's choice, once accuracies on the target are known: for studies and reports only.

``scores`` ``[M]`` are larger for the better, not finite for candidates that are out (they become the smallest finite
one); ``accuracies`` ``[M]`` are shares, from target labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import vector


class Verdict(NamedTuple):
    """One validator on the candidates of one task.

    Attributes:
        correlation: weighted Spearman, in [−1, 1]; NaN where scores or accuracies are all equal.
        regret: the best accuracy less that of the pick, ≥ 0.
        top: mean accuracy of the N best by score.
        gain: accuracy of the pick less source-only's; NaN where that is not given.
    """

    correlation: float
    regret: float
    top: float
    gain: float


def weighted_spearman(scores: Any, accuracies: Any) -> float:
    """Correlation of dense ranks over their maxima, with weights ``max(rank, rank')²``: the good ones count most.

    Musgrave, Belongie, Lim 2022, arXiv 2208.07360 (powerful-benchmarker).
    """
    x, y = _both(scores, accuracies)
    # Dense ranks: ties share one, and the weights are of ranks, not of scores.
    a, b = (np.unique(z, return_inverse=True)[1] + 1.0 for z in (x, y))
    a, b = a / a.max(), b / b.max()
    w = np.maximum(a, b) ** 2
    a, b = (z - (w * z).sum() / w.sum() for z in (a, b))
    spread = np.sqrt((w * a * a).sum() * (w * b * b).sum())
    return float((w * a * b).sum() / spread) if spread > 0 else float("nan")


def judge(scores: Any, accuracies: Any, *, source_only: Sequence[int] = (), top: int = 5) -> Verdict:
    """Judge a validator's ranking.

    ``source_only`` are rows of candidates trained on the source alone, with their mean accuracy as reference; ``top``
    is N.
    """
    x, y = _both(scores, accuracies)
    if not 1 <= top:
        raise input_error("top", got=top, expected="a number ≥ 1")
    # Stable: at a tie the earlier candidate is the pick, as in a ranking.
    order = np.argsort(-x, kind="stable")
    chosen = y[order[0]]
    reference = float(y[list(source_only)].mean()) if len(source_only) else float("nan")
    return Verdict(
        weighted_spearman(x, y), float(y.max() - chosen), float(y[order[:top]].mean()), float(chosen - reference)
    )


def _both(scores: Any, accuracies: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(scores, np.float64)
    y = vector("accuracies", accuracies)
    if x.shape != y.shape:
        raise input_error("scores", got=f"shape {x.shape} with {len(y)} accuracies", expected="one score each")
    if not (finite := np.isfinite(x)).any():
        raise input_error("scores", got="none that is finite", expected="one at least")
    return np.where(finite, x, x[finite].min()), y
