"""Transferability of an encoder: scores of its features or predictions on the labelled target, without training.

All are numpy in float64, and larger is better. Compare encoders on the same examples; no score means anything by
itself. Features F are ``[n, d]``, labels integer classes ``[n]``. An InputError is raised for other shapes, features
that are not finite, or fewer than two classes.
"""

from typing import Any

import numpy as np

from dalib.core.checks import input_error

TINY = 1e-300
"""Floor of a denominator: a perfect fit has no residual, and its β is as large as numbers go."""


def log_me(features: Any, labels: Any, *, steps: int = 11) -> float:
    """LogME: the evidence of Bayesian linear regression per example, mean over one-vs-rest targets; no fixed range.

    The fixed-point steps of α and β stop after ``steps``, or when α / β moves by less than a hundredth; the rule is
    part of the number. You, Liu, Wang, Long 2021, arXiv 2102.11005, algorithm 1.
    """
    f, y = _labelled(features, labels)
    n, d = f.shape
    u, singular, _ = np.linalg.svd(f, full_matrices=False)
    s = singular**2
    values = []
    for c in np.unique(y):
        target = (y == c).astype(np.float64)
        # One SVD serves all classes: in its basis each step of α and β costs O(min(n, d)).
        projected = u.T @ target
        outside = max((target**2).sum() - (projected**2).sum(), 0.0)
        alpha = beta = 1.0
        for _ in range(steps):
            ratio = alpha / beta
            gamma = (s / (s + ratio)).sum()
            mean2 = (s * projected**2 / (s + ratio) ** 2).sum()
            residual = ((ratio * projected / (s + ratio)) ** 2).sum() + outside
            alpha = gamma / max(mean2, TINY)
            beta = max(n - gamma, TINY) / max(residual, TINY)
            if abs(alpha / beta - ratio) / ratio <= 1e-2:
                break
        # Norm and residual stay those of the last step, made with the α / β before it: that is part of the number.
        # Directions outside the features' span have the eigenvalue 0.
        determinant = np.log(alpha + beta * s).sum() + (d - len(s)) * np.log(alpha)
        evidence = d * np.log(alpha) + n * np.log(beta) - determinant - beta * residual - alpha * mean2
        values.append((evidence - n * np.log(2 * np.pi)) / (2 * n))
    return float(np.mean(values))


def leep(probabilities: Any, labels: Any) -> float:
    """LEEP: the mean log-likelihood of the labels through the joint with the source head's predictions; at most 0.

    ``probabilities`` are softmax outputs θ ``[n, K]`` over the source's K classes; classes without mass are left out.
    Nguyen, Hassner, Seeger, Archambeau 2020, arXiv 2002.12462, equation 2.
    """
    theta, y = _labelled(probabilities, labels, name="probabilities")
    if (theta < 0).any() or not np.allclose(theta.sum(1), 1, atol=1e-4):
        raise input_error("probabilities", got="rows that are no distributions", expected="rows that sum to 1")
    classes, codes = np.unique(y, return_inverse=True)
    joint = np.zeros((len(classes), theta.shape[1]))
    np.add.at(joint, codes, theta / len(theta))
    mass = joint.sum(0)
    conditional = joint[:, mass > 0] / mass[mass > 0]
    return float(np.log((conditional[codes] * theta[:, mass > 0]).sum(1)).mean())


def trans_rate(features: Any, labels: Any, *, epsilon: float = 1e-4, weighted: bool = False) -> float:
    """TransRate: coding rate of all features less that within classes, ``R(F) − mean_c R(F_c)``.

    ``R(F) = ½ log det(I + FᵀF / (n ε))``, F centred on its mean, ``epsilon`` the distortion. ``weighted`` counts
    classes by their size, as in the paper; False counts them alike, as its common implementation. Huang et al. 2022,
    arXiv 2106.09362.
    """
    f, y = _labelled(features, labels)
    f = f - f.mean(0)

    def rate(x: np.ndarray) -> float:
        return 0.5 * float(np.linalg.slogdet(np.eye(x.shape[1]) + x.T @ x / (len(x) * epsilon))[1])

    classes, counts = np.unique(y, return_counts=True)
    rates = [rate(f[y == c]) for c in classes]
    return rate(f) - float(np.average(rates, weights=counts if weighted else None))


def h_score(features: Any, labels: Any, *, regularised: bool = True) -> float:
    """H-score: between-class covariance of the features, whitened by their whole covariance; at least 0.

    ``regularised`` shrinks the covariance by Ledoit–Wolf α, with 1 − α on the numerator (Ibrahim, Ponomareva, Mazumder
    2022, "Newer is not always better"). False is the original score (Bao et al. 2019, "An information-theoretic
    approach to transferability"), at most C − 1, unstable where d is not far below n.
    """
    f, y = _labelled(features, labels)
    f = f - f.mean(0)
    means = np.zeros_like(f)
    for c in np.unique(y):
        means[y == c] = f[y == c].mean(0)
    between = np.atleast_2d(np.cov(means, rowvar=False))
    if not regularised:
        return float(np.trace(np.linalg.pinv(np.atleast_2d(np.cov(f, rowvar=False))) @ between))
    from sklearn.covariance import ledoit_wolf

    # The numerator is shrunk by the same share.
    covariance, shrinkage = ledoit_wolf(f, assume_centered=False)
    return float((1 - shrinkage) * np.trace(np.linalg.pinv(covariance) @ between))


def _labelled(features: Any, labels: Any, name: str = "features") -> tuple[np.ndarray, np.ndarray]:
    f, y = np.asarray(features, np.float64), np.asarray(labels)
    if f.ndim != 2 or 0 in f.shape or y.shape != f.shape[:1] or y.dtype.kind not in "iu":
        raise input_error(
            name, got=f"{f.shape} beside labels {y.dtype}{y.shape}", expected="[n, d] beside integer labels [n]"
        )
    if not np.isfinite(f).all():
        raise input_error(name, got="values that are not finite", expected="finite values")
    if len(np.unique(y)) < 2:
        raise input_error("labels", got="one class", expected="at least two classes")
    return f, y
