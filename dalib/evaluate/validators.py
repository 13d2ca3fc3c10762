"""Validators: scores of a model that use no target labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dalib.core.checks import check_samples, input_error
from dalib.discrepancy import bnm, mean_entropy, mutual_information, soft_neighbourhood_density
from dalib.discrepancy.distances import safe_norm

# What a run's unlabelled target examples say of it at each evaluation: scores to select by, higher is better.
#
# Scores of predictions alone (all but ``v_measure``) cannot tell a good model from one whose classes are permuted.
# ``entropy`` does not see a collapse onto one class and ``snd`` prefers one; ``im``, ``bnm`` and ``corr_c`` catch it,
# and presume classes of about equal frequency. Values of different n are not comparable.


TARGET_SCORES = ("v_measure", "im", "bnm", "corr_c", "entropy", "snd")
"""Names of the scores, in the order in which we would trust them."""
ROUNDS = 20


def target_scores(features: Array, logits: Array) -> dict[str, Array]:
    """All scores of :data:`TARGET_SCORES`, and the diagnostic ``largest_class``; pure, for ``jit`` and ``vmap``.

    * ``v_measure``: agreement of predictions with clusters of the features, see :func:`cluster_agreement`, in [0, 1].
    * ``im``: H(p̄) − mean H(p), from 0 to ln C (Shi, Sha, ICML 2012).
    * ``bnm``: ‖P‖_* / √(n · min(n, C)), up to 1 (Cui et al., CVPR 2020; as a validator Musgrave et al. 2022).
    * ``corr_c``: tr(PᵀP) / ‖PᵀP‖_F, from 1 to √C (Tu et al. 2023).
    * ``entropy``: −mean H(p), from −ln C to 0.
    * ``snd``: soft neighbourhood density of P, T = 0.05, from 0 to ln(n − 1) (Saito et al., ICCV 2021).
    * ``largest_class``: share of the class predicted most often; near 1 the model has collapsed.

    Args:
        features: ``[n, d]`` of target examples, n ≥ 2.
        logits: ``[n, C]`` of the same.

    Returns:
        Scalars by name.

    Raises:
        InputError: unless both are floating matrices with one number of rows.
    """
    check_samples(features=features)
    check_samples(logits=logits)
    if features.shape[0] != logits.shape[0]:
        raise input_error("features", got=f"{features.shape[0]} rows beside {logits.shape[0]}", expected="one n")
    n, classes = logits.shape
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    p = jax.nn.softmax(logits)
    gram = jnp.matmul(p.T, p, precision=lax.Precision.HIGHEST)
    predictions = logits.argmax(-1)
    return {
        "v_measure": cluster_agreement(features, predictions, classes),
        "im": mutual_information(logits),
        "bnm": -bnm(logits) * jnp.sqrt(n / min(n, classes)),
        "corr_c": jnp.trace(gram) / jnp.linalg.norm(gram),
        "entropy": -mean_entropy(logits),
        "snd": soft_neighbourhood_density(p),
        "largest_class": jnp.bincount(predictions, length=classes).max() / n,
    }


def cluster_agreement(features: Array, predictions: Array, classes: int) -> Array:
    """V-measure of predicted classes against k-means of the rows of unit length, begun at the classes' mean rows.

    Twenty rounds of Lloyd's algorithm with K = C; a class without rows begins at the origin. There is no chance in it,
    and it needs neither labels nor the source. The chance-adjusted relatives, with k-means from random starts, are in
    :func:`dalib.evaluate.class_agreement`.

    Args:
        features: ``[n, d]``.
        predictions: integers ``[n]`` in [0, C).
        classes: C.

    Returns:
        ``2 I / (H(classes) + H(clusters))``, scalar in [0, 1]; 0 where all predictions are one class, so that a
        collapse is not taken for agreement.

    References:
        Rosenberg, Hirschberg, EMNLP 2007 (V-measure); Musgrave, Belongie, Lim 2022, arXiv 2208.07360 (clusters of the
        features as a validator).
    """
    x = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    norm = safe_norm(x)[:, None]
    x = x / jnp.where(norm > 0, norm, 1)

    def means(labels: Array) -> Array:
        member = jax.nn.one_hot(labels, classes, dtype=x.dtype)
        return jnp.matmul(member.T, x) / jnp.maximum(member.sum(0), 1)[:, None]

    def nearest(centres: Array) -> Array:
        return (jnp.sum(centres**2, axis=1)[None] - 2 * jnp.matmul(x, centres.T)).argmin(1)

    clusters = lax.fori_loop(0, ROUNDS, lambda _, labels: nearest(means(labels)), nearest(means(predictions)))
    # Whole counts first: sums of 1/n would give one class an entropy of 1e-7, and a collapse the agreement 1.
    joint = jnp.zeros((classes, classes), jnp.int32).at[predictions, clusters].add(1)
    of_class, of_cluster, of_both = (_entropy(c / x.shape[0]) for c in (joint.sum(1), joint.sum(0), joint.ravel()))
    value = 2 * (of_class + of_cluster - of_both) / jnp.where(of_class > 0, of_class + of_cluster, 1)
    return jnp.where(of_class > 0, jnp.clip(value, 0, 1), 0)


def _entropy(q: Array) -> Array:
    return -jnp.sum(q * jnp.log(jnp.where(q > 0, q, 1)))


# Scores of a trained model from its predictions and features on the target, without labels, and DEV's risk.
#
# All are numpy in float64, to be called once an evaluation. What each can and cannot see: a score of predictions alone
# cannot tell a good model from one whose classes are permuted, and confidence alone prefers a collapsed one.


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
