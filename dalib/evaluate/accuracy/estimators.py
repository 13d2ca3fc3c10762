"""Estimators of the accuracy on the target, without its labels: one function each, from logits to an estimate.

Each has a premise that the data cannot confirm; intervals cover the choice of examples only. ``target_logits`` are
``[n, C]``; ``source_logits`` ``[m, C]`` and ``labels`` ``[m]`` are of held-out source examples; ``seed`` is of the
interval. Where a function reads probabilities, first divide logits by the temperature of
:func:`~dalib.evaluate.accuracy.calibration.source_temperature`.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.evaluate.accuracy.estimate import RESAMPLES, Estimate, bootstrap, undefined
from dalib.evaluate.accuracy.label_shift import bbse, recall_accuracy
from dalib.evaluate.inputs import class_scores, classes_of, entropy_of, softmax, vector

MANY = 100
"""Number of classes above which linear algebra is resampled a tenth as often."""


def _checked(source_logits: Any, labels: Any, target_logits: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities of both domains, and the source's classes."""
    z = class_scores("source_logits", source_logits)
    y = classes_of("labels", labels, classes=z.shape[1], rows=len(z))
    return softmax(z), y, softmax(class_scores("target_logits", target_logits, classes=z.shape[1]))


def thresholded_confidence(
    source_logits: Any, labels: Any, target_logits: Any, *, score: str = "entropy", seed: int = 0
) -> Estimate:
    """ATC: share of target examples above a threshold of sureness, at which the source's share is its accuracy.

    Premise: sure means right equally often in both domains. A confident collapse looks perfect. ``score`` of sureness
    is "entropy" (negative) or "confidence" (largest probability). Garg et al., ICLR 2022, arXiv 2201.04234.
    """
    choose("score", score, dict.fromkeys(("entropy", "confidence")))
    p, y, q = _checked(source_logits, labels, target_logits)
    sure, sure_t = ((-entropy_of(x) if score == "entropy" else x.max(1)) for x in (p, q))
    wrong = p.argmax(1) != y

    def share(rows: np.ndarray, rows_t: np.ndarray) -> float:
        errors = int(wrong[rows].sum())
        # Below it are as many source examples as there are errors.
        threshold = np.sort(sure[rows])[errors] if errors < len(rows) else np.inf
        return float((sure_t[rows_t] >= threshold).mean())

    return bootstrap(share, (len(p), len(q)), seed=seed)


def difference_of_confidences(source_logits: Any, labels: Any, target_logits: Any, *, seed: int = 0) -> Estimate:
    """DoC: accuracy on the source less the drop of the mean largest probability from source to target.

    Premise: over-confidence is the same in both domains. A confident collapse looks perfect. Guillory et al., ICCV
    2021, arXiv 2107.03315; they regress on such differences, we take slope 1.
    """
    p, y, q = _checked(source_logits, labels, target_logits)
    gain, confidence = (p.argmax(1) == y) - p.max(1), q.max(1)
    return bootstrap(lambda i, j: gain[i].mean() + confidence[j].mean(), (len(p), len(q)), seed=seed)


def agreement_of_seeds(target_logits: Sequence[Any], *, seed: int = 0) -> Estimate:
    """GDE: mean share of target examples on which two seeds of one method agree.

    Premise: the seeds' ensemble is calibrated on the target. Seeds that collapse alike agree perfectly. Give two or
    more logits ``[n, C]`` of the same examples. Jiang et al., ICLR 2022, arXiv 2106.13799.
    """
    if len(target_logits) < 2:
        return undefined("needs two seeds")
    first = class_scores("target_logits", target_logits[0])
    predicted = [
        class_scores("target_logits", z, rows=len(first), classes=first.shape[1]).argmax(1) for z in target_logits
    ]
    agree = np.mean([a == b for a, b in combinations(predicted, 2)], axis=0)
    return bootstrap(lambda i: agree[i].mean(), (len(first),), seed=seed)


def transport(source_logits: Any, labels: Any, target_logits: Any, *, seed: int = 0) -> Estimate:
    """COT: 1 − the cost of transporting the target's predictions to the source's labels, ``½‖p − e_y‖₁``.

    Premise: class frequencies are those of the source, so that a collapse is expensive. Solved in the dual; its C
    potentials also give the interval. Lu et al., NeurIPS 2023, arXiv 2305.15640.
    """
    _, y, q = _checked(source_logits, labels, target_logits)
    # Potentials of the whole samples serve the resamples too: each solution is an optimisation.
    potentials = _potentials(q, np.bincount(y, minlength=q.shape[1]) / len(y))
    rows, columns = (q - potentials[None]).max(1), potentials[y]
    return bootstrap(lambda i, j: columns[i].mean() + rows[j].mean(), (len(y), len(q)), seed=seed)


def _potentials(q: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Find g ``[C]`` of least ``mean_i max_c (q_ic − g_c) + Σ_c share_c g_c``, by smooth maxima of falling width."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    def dual(g: np.ndarray) -> float:
        return float((q - g).max(1).mean() + share @ g)

    g = best = np.zeros(q.shape[1])
    # Narrow maxima are hard to start on: each width starts where the wider one ended.
    for width in (0.1, 0.03, 0.01, 0.003, 0.001):

        def smooth(g: np.ndarray, width: float = width) -> tuple[float, np.ndarray]:
            z = (q - g) / width
            total = logsumexp(z, axis=1, keepdims=True)
            return float(width * total.mean() + share @ g), share - np.exp(z - total).mean(0)

        g = minimize(smooth, g, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        # A smooth minimum is none of the true dual: keep the best one seen, since any g bounds the cost.
        best = min(best, g, key=dual)
    return best


def nuclear_norm(source_logits: Any, labels: Any, target_logits: Any, *, seed: int = 0) -> Estimate:
    """Accuracy on the source less the drop of the predictions' normalised nuclear norm from source to target.

    Premise: the norm, which sees confidence and spread over classes, falls as the accuracy does; class frequencies are
    equal. The paper (Deng et al., ICML 2023, arXiv 2302.01094) regresses on sets of known accuracy; we take slope 1.
    """
    p, y, q = _checked(source_logits, labels, target_logits)
    right, n = p.argmax(1) == y, min(len(p), len(q))
    rng = np.random.default_rng(seed)
    # The norm depends on the number of rows: both samples get equally many.
    firsts = [rng.permutation(len(x))[:n] for x in (p, q)]

    def norm(x: np.ndarray) -> float:
        return float(np.linalg.svd(x, compute_uv=False).sum() / np.sqrt(min(x.shape) * len(x)))

    def read(i: np.ndarray, j: np.ndarray) -> float:
        return right[firsts[0][i]].mean() + norm(q[firsts[1][j]]) - norm(p[firsts[0][i]])

    found = bootstrap(read, (n, n), seed=seed, resamples=_resamples(p.shape[1]))
    return found._replace(value=float(np.clip(right.mean() + norm(q[firsts[1]]) - norm(p[firsts[0]]), 0, 1)))


def importance_weighted(weights: Any, wrong: Any, *, seed: int = 0) -> Estimate:
    """Accuracy on the held-out source, weighted by density ratios scaled to the mean 1.

    Premise: covariate shift, and domains that overlap; see the effective sample size. ``weights`` are ratios ``[m]``,
    ``wrong`` 0–1 losses ``[m]``. Sugiyama, Krauledat, Müller, JMLR 2007.
    """
    w = vector("weights", weights)
    right = 1 - vector("wrong", wrong, rows=len(w))
    if (w < 0).any() or w.max() == 0:
        raise input_error("weights", got="negative ones, or only zeros", expected="finite weights ≥ 0")
    # In a resample of zero weights alone nothing is known.
    return bootstrap(lambda i: w[i] @ right[i] / w[i].sum() if w[i].sum() > 0 else np.nan, (len(w),), seed=seed)


def label_shifted(source_logits: Any, labels: Any, target_logits: Any, *, seed: int = 0) -> Estimate:
    """The source's recalls under the target's class frequencies, which BBSE estimates.

    Premise: label shift; classes look alike in both domains.
    """
    z, y = np.asarray(source_logits), np.asarray(labels)
    _checked(z, y, target_logits)
    t = np.asarray(target_logits)

    def accuracy(i: np.ndarray, j: np.ndarray) -> float:
        return recall_accuracy(z[i], y[i], bbse(z[i], y[i], t[j]))

    return bootstrap(accuracy, (len(y), len(t)), seed=seed, resamples=_resamples(z.shape[1]))


def _resamples(classes: int) -> int:
    return RESAMPLES if classes <= MANY else RESAMPLES // 10
