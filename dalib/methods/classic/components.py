"""Transfer components: TCA and JDA, with the eigenproblem that they share."""

from collections.abc import Callable

import numpy as np

from dalib.core.checks import check_positive, choose, input_error
from dalib.methods.classic.shallow import (
    Fitted,
    Map,
    Shallow,
    check_count,
    checked,
    fitted,
    nearest_neighbour,
    squared_distances,
)

# Transfer components: the eigenproblem that TCA and JDA share, and its kernels.
#
# A kernel is a function of the pooled rows that returns ``embed``, a map from rows ``[·, d]`` to ``[·, r]``. With
# ``Φ = embed(X)`` the dual problem ``(K M Kᵀ + λI, K H Kᵀ)`` of the papers becomes ``(ΦᵀMΦ + λI, ΦᵀHΦ)`` of size r, and
# mapped rows are ``Φ`` times its eigenvectors: the linear kernel needs no matrix over all pairs of examples.


def linear(x: np.ndarray, *, gamma: float | None) -> Map:
    """``K = X Xᵀ``, penalty ‖A‖² on the dual coefficients, as the published tables. ``Φ = X V S`` of ``X = U S Vᵀ``."""
    del gamma
    spread, directions = _span(x)
    axes = directions.T * spread
    return lambda rows: rows @ axes


def primal(x: np.ndarray, *, gamma: float | None) -> Map:
    """No kernel: the penalty is ‖W‖² of the projection itself, and ``Φ = X V`` (X in a basis of what it spans)."""
    del gamma
    axes = _span(x)[1].T
    return lambda rows: rows @ axes


def rbf(x: np.ndarray, *, gamma: float | None) -> Map:
    """``exp(−γ‖a − b‖²)``; γ None is 1 / median squared distance. Φ = K, so O((n + m)³) in the eigenproblem."""
    if gamma is None:
        distances = squared_distances(x, x)[np.triu_indices(len(x), 1)]
        median = float(np.median(distances))
        gamma = 1 / median if median > 0 else 1.0
    return lambda rows: np.exp(-gamma * squared_distances(rows, x))


KERNELS = {"linear": linear, "primal": primal, "rbf": rbf}


def check_components(*, dim: int, regularization: float, kernel: str, gamma: float | None) -> None:
    """Checks that TCA and JDA share."""
    check_count(dim=dim)
    check_positive(regularization=regularization)
    choose("kernel", kernel, KERNELS)
    if gamma is not None:
        check_positive(gamma=gamma)


def mean_difference(n: int, m: int) -> np.ndarray:
    """``e`` ``[n + m, 1]``: 1/n at source rows, −1/m at target rows."""
    return np.concatenate([np.full((n, 1), 1 / n), np.full((m, 1), -1 / m)])


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


def components(features: np.ndarray, differences: np.ndarray, *, dim: int, regularization: float) -> np.ndarray:
    """Directions ``[r, k]`` along which the domains agree and the examples differ; equal examples raise an InputError.

    Args:
        features: Φ ``[N, r]`` of both domains.
        differences: E ``[N, b]`` with ``M = E Eᵀ / ‖E Eᵀ‖_F``; each column is the difference of two means.
        dim: k; lowered to the number of directions along which the examples vary.
        regularization: λ > 0.
    """
    from scipy.linalg import eigh

    gaps = features.T @ differences / np.sqrt(np.linalg.norm(differences.T @ differences))
    centred = features - features.mean(axis=0)
    # Leading vectors of (ΦᵀHΦ, ΦᵀMΦ + λI), the trailing ones of the papers' pair: this order has a positive definite
    # right side, even for degenerate features.
    values, vectors = eigh(centred.T @ centred, gaps @ gaps.T + regularization * np.eye(features.shape[1]))
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    scale = max(values[0], 0.0) + np.square(features).sum() / regularization
    # Directions below rounding are noise: the examples do not vary along them.
    rank = int((values > features.shape[1] * np.finfo(np.float64).eps * scale).sum())
    if rank == 0:
        raise input_error("xs, xt", got="equal rows throughout", expected="features that vary")
    return vectors[:, :rank]


def _span(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values ``[r]`` and right singular vectors ``[r, d]`` of ``x`` up to its numerical rank."""
    _, spread, directions = np.linalg.svd(x, full_matrices=False)
    rank = max(int((spread > max(x.shape) * np.finfo(np.float64).eps * spread[0]).sum()), 1)
    return spread[:rank], directions[:rank]


def tca(
    *,
    dim: int = 100,
    regularization: float = 1.0,
    kernel: str = "linear",
    gamma: float | None = None,
    unit_rows: bool = True,
) -> Shallow:
    """TCA: components that keep the variance of both samples and lose the difference of their means (the MMD). Mapped
    rows are ``K A`` with A the trailing generalised eigenvectors of ``(K M Kᵀ + λI, K H Kᵀ)``, ``M = e eᵀ/‖e eᵀ‖_F``,
    ``e = (1/n_s, −1/n_t)``, H centring. The paper leaves M without its norm; the tables of Office-Caltech divide by it.
    The paper's tables classify by 1-NN. Source: Pan, Tsang, Kwok, Yang, Domain Adaptation via Transfer Component
    Analysis, IEEE TNN 2011.

    Args:
        dim: components kept; lowered to the rank if that is less, see ``info["dim"]``.
        regularization: λ. With ``unit_rows`` 1 is usual; its meaning depends on the scale of K.
        kernel: ``"linear"``, ``"primal"`` (penalty on the projection instead of the dual coefficients), ``"rbf"``.
        gamma: of the rbf kernel; None is 1 / median squared distance of the pooled rows.
        unit_rows: brings every row to length 1 before and after, as the published tables do.
    """
    check_components(dim=dim, regularization=regularization, kernel=kernel, gamma=gamma)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt)
        before = unit if unit_rows else np.asarray
        pooled = before(np.concatenate([samples.xs, samples.xt]))
        embed = KERNELS[kernel](pooled, gamma=gamma)
        difference = mean_difference(len(samples.xs), len(samples.xt))
        axes = components(embed(pooled), difference, dim=dim, regularization=regularization)

        def project(x: np.ndarray) -> np.ndarray:
            return before(embed(before(x)) @ axes)

        return fitted(xs, xt, project, project, info={"dim": axes.shape[1]})

    return Shallow("tca", fit)


Classify = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def jda(
    *,
    dim: int = 100,
    regularization: float = 1.0,
    iterations: int = 10,
    kernel: str = "linear",
    gamma: float | None = None,
    unit_rows: bool = True,
    classify: Classify = nearest_neighbour,
) -> Shallow:
    """JDA: TCA with a further difference of means for every class; predictions serve as the target's classes. ``M =
    C·M₀ + Σ_c M_c`` over ``‖·‖_F``; ``M_c`` compares source rows of class c with target rows predicted as c. The first
    round is TCA; predictions are renewed after every round. ``info["changed"]`` counts those that changed in each of
    ``info["rounds"]`` rounds. Source: Long, Wang, Ding, Sun, Yu, Transfer Feature Learning with Joint Distribution
    Adaptation, ICCV 2013, algorithm 1.

    Args:
        dim: components kept; lowered to the rank if that is less, see ``info["dim"]``.
        regularization: λ; 1 for Office-Caltech and other objects, 0.1 for digits and faces in the paper.
        iterations: T ≥ 1 rounds; 10 in the paper. The last is taken, whatever its score.
        kernel, gamma, unit_rows: as in :func:`tca`.
        classify: ``(mapped source [n, k], labels [n], mapped target [m, k]) -> labels [m]``, the base classifier.
    """
    check_components(dim=dim, regularization=regularization, kernel=kernel, gamma=gamma)
    check_count(iterations=iterations)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt, needs_labels=True)
        n, labels = len(samples.xs), np.asarray(samples.ys)
        before = unit if unit_rows else np.asarray
        pooled = before(np.concatenate([samples.xs, samples.xt]))
        embed = KERNELS[kernel](pooled, gamma=gamma)
        embedded = embed(pooled)
        predicted: np.ndarray | None = None
        changed: list[int] = []
        for _ in range(iterations):
            differences = class_differences(labels, predicted, len(samples.xt))
            # The kernel stays the same over the rounds; only the class differences are made anew.
            axes = components(embedded, differences, dim=dim, regularization=regularization)
            mapped = before(embedded @ axes)
            renewed = np.asarray(classify(mapped[:n], labels, mapped[n:]))
            if renewed.shape != (len(samples.xt),):
                shape = f"labels of shape {renewed.shape}"
                raise input_error("classify", got=shape, expected=f"({len(samples.xt)},), one a target row")
            changed.append(len(renewed) if predicted is None else int((renewed != predicted).sum()))
            predicted = renewed
            # The next round would repeat this one.
            if changed[-1] == 0:
                break

        def project(x: np.ndarray) -> np.ndarray:
            return before(embed(before(x)) @ axes)

        info = {"dim": axes.shape[1], "rounds": len(changed), "changed": tuple(changed)}
        return fitted(xs, xt, project, project, info=info)

    return Shallow("jda", fit, needs_labels=True)


def class_differences(labels: np.ndarray, predicted: np.ndarray | None, m: int) -> np.ndarray:
    """E ``[n + m, 1 + b]`` with ``C·M₀ + Σ_c M_c = E Eᵀ``: differences overall and of the b predicted classes."""
    classes = np.unique(labels)
    n = len(labels)
    columns = [np.sqrt(len(classes)) * mean_difference(n, m)]
    for c in classes if predicted is not None else ():
        here, there = labels == c, predicted == c
        # A class without predictions is left out; the authors' programme keeps its source half, which pulls the class
        # to the origin.
        if there.any():
            columns.append(np.concatenate([here / here.sum(), -(there / there.sum())])[:, None])
    return np.concatenate(columns, axis=1)
