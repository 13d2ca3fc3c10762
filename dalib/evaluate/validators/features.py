"""Validators of the target's features: effective rank, tendency to cluster, soft neighbourhoods, transfer score."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.discrepancy import soft_neighbourhood_density
from dalib.evaluate.inputs import class_scores, entropy_of, matrix, vector
from dalib.evaluate.validators.predictions import mutual_information


def rank_me(features: Any) -> float:
    """RankMe, the effective rank ``exp H(σ / Σσ)`` of the singular values of features ``[n, d]``, not centred.

    From 1 to min(n, d); 0 for features that are all zero. Garrido, Balestriero, Najman, LeCun 2023, arXiv 2210.02885,
    equation 1 without its epsilon.
    """
    singular = np.linalg.svd(matrix("features", features), compute_uv=False)
    if singular.sum() == 0:
        return 0.0
    return float(np.exp(entropy_of(singular / singular.sum())))


def neighbourhood_density(rows: Any, *, temperature: float = 0.05) -> float:
    """SND of probabilities or features ``[n, d]``, n ≥ 2, from 0 to ln(n − 1); tiled above 1024 rows.

    **It rewards a collapse**: all rows equal have the largest value. Compare at one n only. Saito et al., ICCV 2021,
    arXiv 2108.10860; see :func:`dalib.discrepancy.soft_neighbourhood_density`.
    """
    x = matrix("rows", rows, least=2)
    return float(soft_neighbourhood_density(jnp.asarray(x, jnp.float32), temperature=temperature))


def hopkins(features: Any, *, share: float = 0.1, seed: int = 0) -> float:
    """Hopkins' statistic, ``Σ u^d / (Σ u^d + Σ w^d)``: tendency of rows to cluster; ½ for uniform rows, 1 for clusters.

    u are distances of random points of the bounding box to their nearest row, w those of as many rows to their nearest
    other row. ``share`` of the n ≥ 2 rows gives the number of points. NaN where all rows are equal. Hopkins, Skellam, A
    New Method for Determining the Type of Distribution of Plant Individuals, 1954.
    """
    from scipy.spatial import cKDTree
    from scipy.special import logsumexp

    x = matrix("features", features, least=2)
    if not 0 < share <= 1:
        raise input_error("share", got=share, expected="a number in (0, 1]")
    rng = np.random.default_rng(seed)
    count = max(1, round(share * len(x)))
    # Uniform points are the null hypothesis: rows without clusters are as far from one another.
    points = rng.uniform(x.min(0), x.max(0), (count, x.shape[1]))
    tree = cKDTree(x)
    u = tree.query(points)[0]
    w = tree.query(x[rng.permutation(len(x))[:count]], k=2)[0][:, 1]
    # d is in the hundreds: the sums are taken of logarithms.
    with np.errstate(divide="ignore"):
        of_points, of_rows = (logsumexp(x.shape[1] * np.log(r)) for r in (u, w))
    if of_points == of_rows == -np.inf:
        return float("nan")
    return float(1 / (1 + np.exp(np.clip(of_rows - of_points, -700, 700))))


def uniformity(head: Any) -> float:
    """Mean over pairs of class weights of (angle − arccos(−1/(C − 1)))², from 0 (spread as far as can be) to π².

    ``head`` holds the weights ``[d, C]`` of the last linear layer, C ≥ 2, no column of zeros.
    """
    weights = class_scores("head", head)
    norm = np.linalg.norm(weights, axis=0)
    if (norm == 0).any():
        raise input_error(
            "head", got=f"{int((norm == 0).sum())} classes of weight 0", expected="weights of every class"
        )
    classes = weights.shape[1]
    cosine = (weights.T @ weights / np.outer(norm, norm))[np.triu_indices(classes, 1)]
    return float(((np.arccos(np.clip(cosine, -1, 1)) - np.arccos(-1 / (classes - 1))) ** 2).mean())


def transfer_score(head: Any, features: Any, logits: Any, *, seed: int = 0) -> float:
    """Transfer Score: −:func:`uniformity` + :func:`hopkins` + mutual information / ln C, up to 2.

    ``head`` ``[d, C]`` may be of features of another width than ``features`` ``[n, e]`` of the target; ``logits`` are
    ``[n, C]``. Yang, Qian, Xu, Wang, Xie, ICLR 2024, arXiv 2305.18712.
    """
    z = class_scores("logits", logits)
    x = matrix("features", features, rows=len(z))
    weights = class_scores("head", head, classes=z.shape[1])
    information = abs(mutual_information(z)) / np.log(z.shape[1])
    return -uniformity(weights) + hopkins(x, seed=seed) + information


def saturated(scores: Any, *, window: int = 3, threshold: float = 0.01) -> int | None:
    """Return the first evaluation from which a score ``[t]`` hardly moves; None where it never rests.

    There σ/|μ| over the last ``window`` evaluations is below ``threshold``. The Transfer Score's authors stop training
    by it.
    """
    x = vector("scores", scores)
    if window < 2 or not threshold > 0:
        raise input_error("window", got=f"{window}, threshold {threshold}", expected="a window ≥ 2 and a number > 0")
    for i in range(window, len(x) + 1):
        part = x[i - window : i]
        if part.std() < threshold * abs(part.mean()):
            return i - 1
    return None
