"""Alignment of subspaces and covariances in closed form: SA, GFK and CORAL."""

from typing import NamedTuple

import numpy as np

from dalib.core.checks import check_positive, choose, input_error
from dalib.methods.classic.shallow import Fitted, Map, Shallow, check_count, checked, fitted, identity


class Basis(NamedTuple):
    """Mean ``[d]`` and orthonormal directions ``[d, r]`` of a sample, by falling variance, up to its rank."""

    mean: np.ndarray
    directions: np.ndarray


def principal_basis(name: str, x: np.ndarray) -> Basis:
    """PCA of the rows of ``x`` ``[n, d]``, cut at their numerical rank; equal rows raise an InputError."""
    mean = x.mean(axis=0)
    _, spread, directions = np.linalg.svd(x - mean, full_matrices=False)
    # Relative to the entries themselves, not to the spread: subtracting the mean leaves rounding of their size.
    noise = max(x.shape) * np.finfo(np.float64).eps * max(spread[0], np.linalg.norm(x))
    rank = int((spread > noise).sum())
    if rank == 0:
        raise input_error(
            name, got=f"{len(x)} equal rows", expected="features that vary", todo="check the features of this domain"
        )
    return Basis(mean, directions[:rank].T)


def principal_bases(xs: np.ndarray, xt: np.ndarray, dim: int) -> tuple[Basis, Basis]:
    """Bases of both domains of one dimension: ``dim``, or the smaller rank if that is less."""
    source, target = principal_basis("xs", xs), principal_basis("xt", xt)
    dim = min(dim, source.directions.shape[1], target.directions.shape[1])
    return (
        Basis(source.mean, source.directions[:, :dim]),
        Basis(target.mean, target.directions[:, :dim]),
    )


def sa(*, dim: int = 40) -> Shallow:
    """Subspace alignment: the source's principal basis turned onto the target's, ``x P_s P_sᵀ P_t`` against ``x P_t``.
    Each domain is centred by its own mean. Source: Fernando, Habrard, Sebban, Tuytelaars, Unsupervised Visual Domain
    Adaptation Using Subspace Alignment, ICCV 2013, algorithm 1. (The SA rows in the DANN paper chose ``dim`` on target
    labels.)

    Args:
        dim: columns of P_s and P_t, lowered to the rank of the centred samples (``info["dim"]``). The paper picks it by
            a stability bound and source cross-validation; 20 to 80 is usual, 40 the geometric middle of that.
    """
    check_count(dim=dim)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt)
        source, target = principal_bases(samples.xs, samples.xt, dim)
        aligned = source.directions @ (source.directions.T @ target.directions)
        return fitted(
            xs,
            xt,
            lambda x: (x - source.mean) @ aligned,
            lambda x: (x - target.mean) @ target.directions,
            info={"dim": target.directions.shape[1]},
        )

    return Shallow("sa", fit)


def gfk(*, dim: int = 20) -> Shallow:
    """Geodesic flow kernel ``x G x'ᵀ`` with ``G = ∫₀¹ Φ(t) Φ(t)ᵀ dt``, Φ the geodesic between principal subspaces. One
    matrix F ``[d, 2·dim]`` with ``G = F Fᵀ`` maps both domains: inner products of mapped rows are the kernel, and 1-NN
    on them is the paper's classifier. Bases are by centred PCA; rows are not centred, so standardise each domain first.
    Equal subspaces give the projection onto them; ``info["angles"]`` are the principal angles in radians, ascending.
    Source: Gong, Shi, Sha, Grauman, Geodesic Flow Kernel for Unsupervised Domain Adaptation, CVPR 2012, section 3.

    Args:
        dim: of the subspaces, lowered to the rank of the centred samples (``info["dim"]``); 10 to 20 in the paper.
    """
    check_count(dim=dim)

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt)
        source, target = principal_bases(samples.xs, samples.xt, dim)
        root, angles = geodesic_root(source.directions, target.directions)
        info = {"dim": len(angles), "angles": tuple(angles.tolist())}
        return fitted(xs, xt, lambda x: x @ root, lambda x: x @ root, info=info)

    return Shallow("gfk", fit)


def geodesic_root(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``F`` ``[d, 2k]`` with ``F Fᵀ = G``, and the principal angles ``[k]`` of two orthonormal bases ``[d, k]``."""
    turned, cosines, right = np.linalg.svd(source.T @ target)
    inside = source @ turned
    # The rest of the target's directions outside the source's subspace; its lengths are the sines, which unlike
    # √(1 − cos²) keep their digits at small angles.
    outside = target @ right.T - inside * cosines
    sines = np.linalg.norm(outside, axis=0)
    outside = np.divide(outside, sines, out=np.zeros_like(outside), where=sines > 0)
    angles = np.arctan2(sines, np.clip(cosines, 0, 1))
    # On the geodesic cos(tθ)·inside + sin(tθ)·outside; G's 2×2 block of an angle is the mean over t of the outer
    # product of (cos tθ, sin tθ) with itself. np.sinc(x) is sin(πx)/(πx), 1 at 0.
    near = 0.5 * (1 + np.sinc(2 * angles / np.pi))
    cross = 0.5 * np.sin(angles) * np.sinc(angles / np.pi)
    # The far entry, ½(1 − sin 2θ/2θ), only enters through what Cholesky leaves of it.
    first = np.sqrt(near)
    second = cross / first
    left = np.sqrt(np.maximum(0.5 * (1 - np.sinc(2 * angles / np.pi)) - second**2, 0))
    return np.concatenate([inside * first + outside * second, outside * left], axis=1), angles


FORMS = ("relative", "paper")


def coral(*, epsilon: float = 1.0, form: str = "relative") -> Shallow:
    """CORAL: source features whitened and re-coloured with the target's covariance, ``x ← μ_s + (x − μ_s) (C_s + ε v_s
    I)^{−½} (C_t + ε v_t I)^{½}``; the target stays as it is.

    Covariances have divisor n − 1, v is a domain's mean variance, and the source keeps its mean, so the result follows
    the units of the features. On z-scores per domain both forms are the paper's, which standardises first; its base
    classifier is a linear SVM. Constant features have zero covariance: finite. A domain of one row raises an
    InputError. Source: Sun, Feng, Saenko, AAAI 2016, arXiv 1511.05547, algorithm 1.

    Args:
        epsilon: ε > 0, 1 in the paper.
        form: ``"relative"``, or ``"paper"``: ``x (C_s + εI)^{−½} (C_t + εI)^{½}``. There ε is in units of a variance
            (on rows of length 1 it outweighs every variance, and nothing happens), and a mean far from 0 is moved.
    """
    check_positive(epsilon=epsilon)
    choose("form", form, dict.fromkeys(FORMS))

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt)
        for name, x in (("xs", samples.xs), ("xt", samples.xt)):
            if len(x) < 2:
                raise input_error(name, got=f"shape {x.shape}", expected="at least 2 rows: one row has no covariance")
        centre = samples.xs.mean(axis=0) if form == "relative" else np.zeros(samples.xs.shape[1])
        whiten, colour = (
            covariance_power(x, exponent, ridge=epsilon * mean_variance(x) if form == "relative" else epsilon)
            for x, exponent in ((samples.xs, -0.5), (samples.xt, 0.5))
        )
        return fitted(xs, xt, lambda x: colour(whiten(x - centre)) + centre, identity)

    return Shallow("coral", fit)


def mean_variance(x: np.ndarray) -> float:
    """Mean over columns of the variances of ``x`` ``[n, d]``; 1 where nothing varies."""
    found = float(x.var(axis=0, ddof=1).mean())
    return found if found > 0 else 1.0


def covariance_power(x: np.ndarray, exponent: float, *, ridge: float) -> Map:
    """``rows → rows (C + ridge I)^exponent``, C the covariance of ``x`` ``[n, d]``; no matrix ``[d, d]`` for n < d."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        # Rounding leaves eigenvalues below 0 where the covariance is singular, and a small ridge would not cover them.
        matrix = (vectors * (np.maximum(values, 0) + ridge) ** exponent) @ vectors.T
        return lambda rows: rows @ matrix
    # Only the span of the n rows changes: (C + rI)^p = r^p I + X̃ᵀ U f(λ) Uᵀ X̃ with X̃ X̃ᵀ = U λ Uᵀ for the centred
    # rows X̃ over √(n − 1), and f(λ) = ((λ + r)^p − r^p) / λ.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0)
    # As λ → 0 the quotient has the limit p r^(p − 1); the difference itself would lose all digits before.
    gain = np.full_like(values, exponent / ridge)
    np.divide(np.expm1(exponent * np.log1p(values / ridge)), values, out=gain, where=values > 1e-12 * ridge)
    axes = centred.T @ vectors
    return lambda rows: ridge**exponent * (rows + ((rows @ axes) * gain) @ axes.T)
