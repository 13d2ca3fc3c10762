"""Validators from source labels: accuracy, and risks weighted by the density ratio of target over source.

Weights w ``[n]`` (density ratios) and losses ``[n]`` are of held-out source examples; an InputError is raised for
vectors of other shapes, numbers that are not finite, and negative weights or zeros alone.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.inputs import class_scores, classes_of, matrix, vector

DECAYS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Weight decays of the domain classifier that are tried."""
COMPONENTS = 64
"""Most principal components that it sees: with as many dimensions as rows any two samples are separable."""


def source_accuracy(logits: Any, labels: Any) -> float:
    """Share of held-out source examples that are right, in [0, 1]; logits ``[n, C]``, labels ``[n]``."""
    z = class_scores("logits", logits)
    return float((z.argmax(1) == classes_of("labels", labels, classes=z.shape[1], rows=len(z))).mean())


def density_ratio(train: Any, target: Any, at: Any, *, seed: int = 0) -> np.ndarray:
    """Density ratios of the target over the source, by a domain classifier on features.

    A logistic regression on at most 64 principal components tells source training examples ``train`` ``[n, d]`` from
    ``target`` examples ``[m, d]``, n, m ≥ 5. Of nine weight decays the one with the least log-loss on a fifth of the
    rows, drawn by ``seed``, is taken. You et al., ICML 2019, take a small net without a seed.

    Returns:
        ``(n / m) · P(target | f) / P(source | f)``, ``[k]``, finite and ≥ 0, of held-out source examples ``at``
        ``[k, d]``. Where the domains are separable it is near 0 nearly everywhere; see :func:`effective_size`.
    """
    from sklearn.linear_model import LogisticRegression

    x = matrix("train", train, least=5)
    y = matrix("target", target, columns=x.shape[1], least=5)
    rows, domain = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    scale = rows.std(0)
    centre, scale = rows.mean(0), np.where(scale > 0, scale, 1)
    rows, here = (rows - centre) / scale, (matrix("at", at, columns=x.shape[1]) - centre) / scale
    if rows.shape[1] > COMPONENTS:
        axes = np.linalg.svd(rows, full_matrices=False)[2][:COMPONENTS].T
        rows, here = rows @ axes, here @ axes
    rng = np.random.default_rng(seed)
    # A fifth of each domain, not of all rows: a small domain must be in both parts.
    held = np.concatenate([o + rng.permutation(n)[: -(-n // 5)] for o, n in ((0, len(x)), (len(x), len(y)))])
    kept = np.setdiff1d(np.arange(len(rows)), held)
    # From strong to weak decay, each fit starts where the one before ended.
    model, found = LogisticRegression(solver="newton-cholesky", warm_start=True), []
    for decay in DECAYS:
        model.set_params(C=1 / (decay * len(kept))).fit(rows[kept], domain[kept])
        margin = model.decision_function(rows[held])
        loss = np.logaddexp(0, np.where(domain[held] == 1, -margin, margin)).mean()
        found.append((loss, model.decision_function(here)))
    # Odds become densities' ratio by the sizes of the samples fitted on; the clip keeps it finite.
    margin = min(found, key=lambda pair: pair[0])[1]
    return np.exp(np.clip(margin, -50, 50)) * (kept < len(x)).sum() / (kept >= len(x)).sum()


def effective_size(weights: Any) -> float:
    """``(Σw)² / Σw²``: the number of equally weighted examples that say as much; from 1 to n."""
    w = _weights(weights)
    return float(w.sum() ** 2 / (w**2).sum())


def importance_weighted_risk(weights: Any, losses: Any) -> float:
    """IWCV's risk, mean(wℓ); smaller is better, so that the validator takes its negative.

    Sugiyama, Krauledat, Müller, JMLR 2007.
    """
    w = _weights(weights)
    return float((w * vector("losses", losses, rows=len(w))).mean())


class Risk(NamedTuple):
    """DEV's estimate of the target risk: smaller is better, and it may be negative.

    ``effective`` is the :func:`effective_size` of the weights; far below n the estimate says little.
    """

    value: float
    effective: float


def dev_risk(weights: Any, losses: Any, *, normalise: bool = False) -> Risk:
    """Deep embedded validation: the importance-weighted source risk with a control variate; n ≥ 2.

    ``mean(wℓ) + η mean(w) − η`` with ``η = −Cov(wℓ, w) / Var(w)``: the regression of wℓ on w, read at w = 1. Where all
    weights are equal there is no slope, and the value is mean(wℓ). Losses are 0–1 in You, Wang, Long, Jordan, ICML
    2019. ``normalise`` is DEVN (Musgrave, Belongie, Lim 2022, arXiv 2208.07360): w / max w, then shifted to mean 1,
    against weights that explode where domains are separable.
    """
    w = _weights(weights, least=2)
    loss = vector("losses", losses, rows=len(w))
    effective = effective_size(w)
    if normalise:
        w = w / w.max()
        w = w - w.mean() + 1
    weighted = w * loss
    covariance = np.cov(weighted, w, ddof=1)
    if covariance[1, 1] == 0:
        return Risk(float(weighted.mean()), effective)
    slope = -covariance[0, 1] / covariance[1, 1]
    return Risk(float(weighted.mean() + slope * w.mean() - slope), effective)


def _weights(weights: Any, least: int = 1) -> np.ndarray:
    w = vector("weights", weights, least=least)
    if (w < 0).any() or w.max() == 0:
        raise input_error("weights", got="negative ones, or only zeros", expected="finite weights ≥ 0")
    return w
