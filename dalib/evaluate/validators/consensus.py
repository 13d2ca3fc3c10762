"""Validators that need more than one pass or model: EnsV, MixVal, reverse validation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import class_scores, classes_of, matrix, softmax

SHARE = 0.55
"""Weight of the first example in MixVal's mixture."""


def ensemble_agreement(candidates: Sequence[Any]) -> np.ndarray:
    """EnsV: share ``[M]`` of target examples on which each candidate agrees with the mean prediction of all.

    Give one array of logits ``[n, C]`` a candidate. It needs about five candidates that are not near-copies; of one it
    is 1. Hu, Luo, Liang, Foo, Towards Reliable Model Selection for Unsupervised Domain Adaptation, NeurIPS 2024.
    """
    if not len(candidates):
        raise input_error("candidates", got="none", expected="logits of one candidate or more")
    first = class_scores("candidates", candidates[0])
    n, classes = first.shape
    # The ensemble averages probabilities, not logits: scales of logits differ between candidates.
    p = np.stack([softmax(class_scores("candidates", z, rows=n, classes=classes)) for z in candidates])
    return (p.argmax(2) == p.mean(0).argmax(1)[None]).mean(1)


class Mixed(NamedTuple):
    """MixVal's accuracies on pairs with equal predictions (``intra``) and with others; NaN without such pairs."""

    intra: float
    inter: float


def mix_accuracy(logits: Any, mixed: Any, partners: Any) -> Mixed:
    """MixVal: accuracy in [0, 1] on mixtures ``0.55 x_i + 0.45 x_partner`` against the pseudo-label of x_i.

    ``logits`` ``[n, C]`` are of the target examples, ``mixed`` of the mixtures, ``partners`` ``[n]`` the rows mixed in.
    ``intra`` rewards a collapse. Hu et al., Mixed Samples as Probes, NeurIPS 2023.
    """
    z = class_scores("logits", logits)
    predicted = z.argmax(1)
    right = class_scores("mixed", mixed, rows=len(z), classes=z.shape[1]).argmax(1) == predicted
    same = predicted == predicted[classes_of("partners", partners, classes=len(z), rows=len(z))]
    return Mixed(*(float(right[own].mean()) if own.any() else float("nan") for own in (same, ~same)))


def mean_rank(columns: Sequence[Any]) -> np.ndarray:
    """Mean over columns ``[M]`` of ranks among candidates, 1 for the best and 0 for the worst; ties share theirs.

    Larger scores are better, a NaN comes last; all ranks are 1 for a single candidate.
    """
    from scipy.stats import rankdata

    ranks = []
    for column in columns:
        x = np.asarray(column, np.float64)
        ranks.append(rankdata(np.where(np.isnan(x), -np.inf, x), method="average"))
    mean = np.mean(ranks, axis=0)
    return (mean - 1) / (len(mean) - 1) if len(mean) > 1 else np.ones(len(mean))


Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""``(inputs, labels) -> (inputs -> predicted classes)``: any training."""


def logistic_fit(inputs: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a logistic regression on standardised rows; with one class alone it predicts that class."""
    from sklearn.linear_model import LogisticRegression

    if (labels == labels[0]).all():
        return lambda rows: np.full(len(rows), labels[0])
    scale = inputs.std(0)
    centre, scale = inputs.mean(0), np.where(scale > 0, scale, 1)
    model = LogisticRegression(max_iter=500).fit((inputs - centre) / scale, labels)
    return lambda rows: np.asarray(model.predict((rows - centre) / scale))


def reverse_accuracy(target: Any, predictions: Any, source: Any, labels: Any, *, fit: Fit = logistic_fit) -> float:
    """Reverse (circular) validation: learn from the target with pseudo-labels, test on the held-out source, in [0, 1].

    ``target`` ``[n, …]`` has the pseudo-labels ``predictions`` of the adapted model, ``source`` ``[m, …]`` true
    ``labels``. ``fit`` is the reverse training, by default a logistic regression on features ``[n, d]``; the paper
    adapts anew from target to source. Zhong et al., ECML 2010; Ganin et al., JMLR 2016.
    """
    x, y = np.asarray(target), np.asarray(source)
    if fit is logistic_fit:
        x = matrix("target", x)
        y = matrix("source", y, columns=x.shape[1])
    pseudo = classes_of("predictions", predictions, classes=np.iinfo(np.int32).max, rows=len(x))
    truth = classes_of("labels", labels, classes=np.iinfo(np.int32).max, rows=len(y))
    return float((np.asarray(fit(x, pseudo)(y)) == truth).mean())
