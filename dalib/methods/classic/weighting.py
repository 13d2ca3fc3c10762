"""Weights of source examples by importance: KLIEP, uLSIF and the odds of a classifier.

All serve covariate shift without labels. They leave features alone and give ``weights`` of mean 1 for weighted training
on the source, with ``info["effective_sample_size"]``. Equal features everywhere give equal weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dalib.core.checks import check_positive, input_error
from dalib.methods.classic.shallow import (
    Fitted,
    Samples,
    Shallow,
    check_count,
    checked,
    fitted,
    identity,
    squared_distances,
)


def effective_sample_size(weights: np.ndarray) -> float:
    """``(Σw)² / Σw²``, between 1 and n: the number of equally weighted examples that the weights ``[n]`` are worth.
    Raises an InputError on other shapes, negative or non-finite weights, or a sum of 0."""
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise input_error("weights", got=f"shape {weights.shape}", expected="finite weights [n] ≥ 0, not all 0")
    weights = weights / weights.max()
    return float(weights.sum() ** 2 / (weights * weights).sum())


def weighted(xs: Any, xt: Any, weights: np.ndarray, info: Mapping[str, Any]) -> Fitted:
    """The result of a weighting method; weights that are all 0, for domains far apart, raise an InputError."""
    if not (np.isfinite(weights).all() and weights.sum() > 0):
        raise input_error(
            "xs, xt",
            got="no weight on any source example",
            expected="domains that overlap",
            todo="standardise the features, or take a larger bandwidth",
        )
    weights = weights / weights.mean()
    info = {"effective_sample_size": effective_sample_size(weights), **info}
    return fitted(xs, xt, identity, identity, weights=weights, info=info)


def chosen_centres(xt: np.ndarray, centres: int, seed: int) -> np.ndarray:
    """At most ``centres`` rows of the target, drawn without replacement."""
    if len(xt) <= centres:
        return xt
    return xt[np.random.default_rng(seed).choice(len(xt), centres, replace=False)]


def log_kernel(x: np.ndarray, centres: np.ndarray, bandwidth: float) -> np.ndarray:
    """``−‖x_i − c_l‖² / (2σ²)``, ``[n, L]``."""
    return -squared_distances(x, centres) / (2 * bandwidth**2)


def median_distance(xs: np.ndarray, centres: np.ndarray, xt: np.ndarray) -> float:
    """Median distance of all rows to the centres; 1 if that is 0."""
    median = float(np.median(squared_distances(np.concatenate([xs, xt]), centres)))
    return np.sqrt(median) if median > 0 else 1.0


def _centred(
    xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray, bandwidth: float | None, centres: int, seed: int
) -> tuple[Samples, np.ndarray, float]:
    """The samples checked, the kernels' centres and their width σ."""
    samples = checked(xs, ys, xt)
    at = chosen_centres(samples.xt, centres, seed)
    return samples, at, median_distance(samples.xs, at, samples.xt) if bandwidth is None else bandwidth


# KLIEP: importance weights by Kullback–Leibler divergence.


def kliep(
    *,
    bandwidth: float | None = None,
    centres: int = 100,
    tolerance: float = 1e-4,
    max_iterations: int = 10_000,
    seed: int = 0,
) -> Shallow:
    """KLIEP: ``w(x) = Σ_l α_l exp(−‖x − c_l‖²/2σ²)`` that maximises the mean of ``log w`` over the target, with mean 1
    over the source and α ≥ 0; the centres c_l are target rows. ``info``: ``bandwidth``, ``converged``, ``gap``. Source:
    Sugiyama, Nakajima, Kashima, von Bünau, Kawanabe, Direct Importance Estimation with Model Selection and Its
    Application to Covariate Shift Adaptation, NIPS 2007.

    Args:
        bandwidth: σ; None is the median distance of all rows to the centres (the paper: likelihood cross-validation).
        centres: at most so many, drawn from the target; 100 in the paper.
        tolerance: > 0, of the gap to the maximum.
        max_iterations: ≥ 1.
        seed: of the draw, where the target has more rows than ``centres``.
    """
    check_count(centres=centres, max_iterations=max_iterations)
    check_positive(tolerance=tolerance)
    if bandwidth is not None:
        check_positive(bandwidth=bandwidth)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        from scipy.special import logsumexp

        samples, at, sigma = _centred(xs, ys, xt, bandwidth, centres, seed)
        # In logarithms, or a centre far from every source row would be divided by an underflown mean.
        of_source, of_target = log_kernel(samples.xs, at, sigma), log_kernel(samples.xt, at, sigma)
        log_mean = logsumexp(of_source, axis=0) - np.log(len(samples.xs))
        of_source, of_target = of_source - log_mean, of_target - log_mean
        # Each target row in units of its largest entry: the certificate is a ratio within rows.
        basis = np.exp(of_target - of_target.max(axis=1, keepdims=True))
        # Convex: with each basis function over its source mean, α is on the simplex, and the EM step of mixture weights
        # climbs without a step size.
        mixture, gap = np.full(len(at), 1 / len(at)), np.inf
        for _ in range(max_iterations):
            growth = (basis / (basis @ mixture)[:, None]).mean(axis=0)
            # A certificate: max_l mean_j (φ_l / w)(x_j) − 1 bounds what is missing of the maximum.
            gap = float(growth.max() - 1)
            if gap <= tolerance:
                break
            mixture = mixture * growth
            mixture /= mixture.sum()
        info = {"bandwidth": float(sigma), "converged": gap <= tolerance, "gap": gap}
        return weighted(xs, xt, np.exp(of_source) @ mixture, info)

    return Shallow("kliep", fit)


# uLSIF: importance weights by least squares.


def ulsif(*, bandwidth: float | None = None, regularization: float = 0.1, centres: int = 100, seed: int = 0) -> Shallow:
    """uLSIF: ``w(x) = Σ_l α_l exp(−‖x − c_l‖²/2σ²)`` fitted to ``p_t/p_s`` by regularised least squares, ``α = max(0,
    (Ĥ + λI)⁻¹ ĥ)``: Ĥ the basis's second moments on the source, ĥ its means on the target. ``info``: ``bandwidth``.
    Source: Kanamori, Hido, Sugiyama, A Least-squares Approach to Direct Importance Estimation, JMLR 2009.

    Args:
        bandwidth, centres, seed: as in :func:`kliep`. (The paper selects σ and λ by leave-one-out on unlabelled data.)
        regularization: λ > 0.
    """
    check_count(centres=centres)
    check_positive(regularization=regularization)
    if bandwidth is not None:
        check_positive(bandwidth=bandwidth)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples, at, sigma = _centred(xs, ys, xt, bandwidth, centres, seed)
        of_source = np.exp(log_kernel(samples.xs, at, sigma))
        moments = of_source.T @ of_source / len(of_source)
        means = np.exp(log_kernel(samples.xt, at, sigma)).mean(axis=0)
        alpha = np.linalg.solve(moments + regularization * np.eye(len(at)), means)
        return weighted(xs, xt, of_source @ np.maximum(alpha, 0), {"bandwidth": float(sigma)})

    return Shallow("ulsif", fit)


def odds(*, regularization: float = 1.0) -> Shallow:
    """Discriminator odds: ``w(x) = (n_s/n_t) · P(target | x) / P(source | x)`` of a ridge logistic regression. Features
    are z-scored over the pooled rows inside. Do not z-score them per domain before: a linear function cannot tell
    domains of equal means apart, and all weights come out as 1. Nearly separable domains put all weight on few
    examples: read ``info["effective_sample_size"]`` and ``info["domain_accuracy"]`` (of the discriminator on its own
    data). Source: Bickel, Brückner, Scheffer, Discriminative Learning for Differing Training and Test Distributions,
    ICML 2007.

    Args:
        regularization: λ > 0 of ``Σ log-loss + ½ λ ‖w‖²`` (the offset is free), 1 as is usual for this form.
    """
    check_positive(regularization=regularization)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt)
        pooled = np.concatenate([samples.xs, samples.xt])
        spread = pooled.std(axis=0)
        # Rounding in the mean of a constant column must not become a feature of size 1.
        varies = spread > 1e-12 * np.abs(pooled).max(axis=0)
        pooled = np.where(varies, (pooled - pooled.mean(axis=0)) / np.where(varies, spread, 1), 0)
        n = len(samples.xs)
        logits = _logistic(pooled, np.arange(len(pooled)) >= n, regularization)
        accuracy = float(((logits > 0) == (np.arange(len(pooled)) >= n)).mean())
        # Up to a factor, which the mean of 1 takes away along with n_s/n_t; the shift guards exp.
        weights = np.exp(logits[:n] - logits[:n].max())
        return weighted(xs, xt, weights, {"domain_accuracy": accuracy})

    return Shallow("odds", fit)


def _logistic(x: np.ndarray, target: np.ndarray, regularization: float) -> np.ndarray:
    """Logits ``[N]`` of the ridge logistic regression of ``target`` ``[N]`` on ``x`` ``[N, d]``."""
    from scipy.optimize import minimize
    from scipy.special import expit

    sign = np.where(target, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, offset = parameters[:-1], parameters[-1]
        margins = sign * (x @ slope + offset)
        pull = -sign * expit(-margins)
        value = np.logaddexp(0, -margins).sum() + 0.5 * regularization * (slope @ slope)
        return value, np.append(x.T @ pull + regularization * slope, pull.sum())

    start = np.zeros(x.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-8, "ftol": 1e-14})
    if not np.isfinite(found.x).all():
        raise input_error("xs, xt", got="no finite discriminator", expected="features of moderate size")
    return x @ found.x[:-1] + found.x[-1]
