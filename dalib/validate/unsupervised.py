"""Scores of a trained model from its predictions and features on the target, without labels, and DEV's risk.

All are numpy in float64, to be called once an evaluation. What each can and cannot see: a score of predictions alone
cannot tell a good model from one whose classes are permuted, and confidence alone prefers a collapsed one.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.checks import input_error


def corr_c(probabilities: Any) -> float:
    """Corr-C, ``tr(PᵀP) / ‖PᵀP‖_F``: larger is more confident and more balanced.

    Args:
        probabilities: softmax outputs P ``[n, C]``.

    Returns:
        Between 1 (all in one class) and √C (confident and balanced).

    Raises:
        InputError: on other than finite, non-negative rows that sum to 1.

    References:
        Tu, Deng, Gedeon, Zheng 2023, "Assessing model out-of-distribution generalization with softmax prediction
        probability baselines and a correlation method".
    """
    p = _matrix("probabilities", probabilities)
    if (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise input_error("probabilities", got="rows that are no distributions", expected="rows that sum to 1")
    product = p.T @ p
    return float(np.trace(product) / np.linalg.norm(product))


def rank_me(features: Any) -> float:
    """RankMe, the effective rank ``exp H(σ / Σσ)`` of the singular values of the features.

    Args:
        features: F ``[n, d]``, not centred.

    Returns:
        Between 1 and min(n, d); 0 for features that are all zero.

    Raises:
        InputError: on other than finite ``[n, d]``.

    References:
        Garrido, Balestriero, Najman, LeCun 2023, "RankMe", arXiv 2210.02885, equation 1 without its epsilon.
    """
    singular = np.linalg.svd(_matrix("features", features), compute_uv=False)
    if singular.sum() == 0:
        return 0.0
    share = singular / singular.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


class Risk(NamedTuple):
    """DEV's estimate of the target risk.

    Attributes:
        value: the estimate; smaller is better, and it may be negative.
        effective: effective sample size ``(Σw)² / Σw²`` of the weights; far below n the estimate says little.
    """

    value: float
    effective: float


def dev_risk(weights: Any, losses: Any, *, normalise: bool = False) -> Risk:
    """Deep embedded validation: the importance-weighted source risk with a control variate.

    ``mean(wℓ) + η mean(w) − η`` with ``η = −Cov(wℓ, w) / Var(w)``: the regression of wℓ on w, read at w = 1. Where all
    weights are equal there is no slope, and the value is mean(wℓ).

    Args:
        weights: density ratios w ``[n]`` of the target over the source on held-out source examples.
        losses: their losses ℓ ``[n]``; 0–1 in the paper.
        normalise: DEVN: w / max w, then shifted to mean 1, against weights that explode where domains are separable.

    Raises:
        InputError: for other than two finite vectors of one length ≥ 2, or negative weights.

    References:
        You, Wang, Long, Jordan 2019, "Towards accurate model selection in deep unsupervised domain adaptation";
        Musgrave, Belongie, Lim 2022, arXiv 2208.07360 (DEVN).
    """
    w, loss = np.asarray(weights, np.float64), np.asarray(losses, np.float64)
    if w.ndim != 1 or w.shape != loss.shape or len(w) < 2:
        raise input_error("weights", got=f"{w.shape} beside losses {loss.shape}", expected="both [n], n ≥ 2")
    if not (np.isfinite(w).all() and np.isfinite(loss).all()) or (w < 0).any() or w.max() == 0:
        raise input_error("weights", got="values that are negative, all 0 or not finite", expected="finite weights ≥ 0")
    effective = float(w.sum() ** 2 / (w**2).sum())
    if normalise:
        w = w / w.max()
        w = w - w.mean() + 1
    weighted = w * loss
    covariance = np.cov(weighted, w, ddof=1)
    if covariance[1, 1] == 0:
        return Risk(float(weighted.mean()), effective)
    slope = -covariance[0, 1] / covariance[1, 1]
    return Risk(float(weighted.mean() + slope * w.mean() - slope), effective)


def _matrix(name: str, x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise input_error(name, got=f"shape {x.shape}" if x.ndim != 2 else "no finite rows", expected="finite [n, d]")
    return x
