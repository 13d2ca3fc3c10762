"""Alignment of inverse Gram matrices, for regression."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_samples
from dalib.discrepancy.distances import at_least_float32, safe_norm
from dalib.discrepancy.moments import check_rows_for_covariance
from dalib.discrepancy.spectral import matmul, squared_singular_values


def dare_gram(
    x: Array,
    y: Array,
    *,
    threshold: float | Array = 0.9,
    angle_weight: float | Array = 0.05,
    scale_weight: float | Array = 0.001,
) -> Array:
    """DARE-GRAM: angles between the columns of the truncated inverse Gram matrices, and gaps between their spectra.

    With ``Z = [1, features]``, k leading eigenvalues λ of ``ZᵀZ`` and ``G⁺`` its pseudo-inverse on them: ``angle_weight
    · mean_c (1 − cos(G⁺_x[:, c], G⁺_y[:, c])) + scale_weight · ‖λ_x − λ_y‖ / k``. As in the authors' code, k is the
    larger count of eigenvalues with a cumulative share within ``threshold`` (or that of the first two, if larger), less
    one; its choice has no gradient. Least squares is what a linear regressor solves, so this aligns what it sees
    without changing the features' scale. Source: Nejjar, Wang, Fink, CVPR 2023, arXiv 2303.13325.

    Args:
        x, y: ``[n, d]`` and ``[m, d]`` with n, m ≥ 2. If n ≠ m both spectra are scaled to (n + m)/2 rows.
        threshold: share T of the spectrum to keep.
        angle_weight: α.
        scale_weight: γ.
    """
    check_samples(x=x, y=y)
    check_rows_for_covariance(x=x, y=y)
    x, y = _with_ones(at_least_float32(x)), _with_ones(at_least_float32(y))
    # All below works on the rows' Gram matrices: O(n²d), and no [d, d] matrix is built.
    rank = min(x.shape[0], y.shape[0], x.shape[1])
    of_x, of_y = _spectrum(x), _spectrum(y)
    kept = jnp.minimum(jnp.maximum(_count(of_x, threshold), _count(of_y, threshold)), rank)
    # Cosines do not depend on scale: with the largest eigenvalue at 1 the inverses stay within float32.
    unit_x, unit_y = (z * lax.rsqrt(lax.stop_gradient(spectrum[0])) for z, spectrum in ((x, of_x), (y, of_y)))
    # Columns of G⁺ = Zᵀ H Z enter only through dot products, which need Z Zᵀ and no [d, d] matrix.
    inner_x, inner_y = matmul(unit_x, unit_x.T), matmul(unit_y, unit_y.T)
    columns_x = _columns_to_one(matmul(_inverse_square(inner_x, kept), unit_x))
    columns_y = _columns_to_one(matmul(_inverse_square(inner_y, kept), unit_y))
    across = jnp.sum(columns_x * matmul(matmul(unit_x, unit_y.T), columns_y), axis=0)
    scale_x, present_x = _inverse_norms(columns_x, inner_x)
    scale_y, present_y = _inverse_norms(columns_y, inner_y)
    cosine = jnp.where(present_x & present_y, across * scale_x * scale_y, 1)
    rows = (x.shape[0] + y.shape[0]) / 2
    gaps = of_x[:rank] * (rows / x.shape[0]) - of_y[:rank] * (rows / y.shape[0])
    scale = safe_norm(jnp.where(jnp.arange(rank) < kept, gaps, 0)) / kept
    return angle_weight * jnp.mean(1 - cosine) + scale_weight * scale


def _with_ones(x: Array) -> Array:
    return jnp.concatenate([jnp.ones((x.shape[0], 1), x.dtype), x], axis=1)


def _columns_to_one(columns: Array) -> Array:
    """Divides each column by its largest entry, held constant: cosines stay, squares neither overflow nor vanish."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(columns), axis=0))
    return columns / jnp.where(largest > 0, largest, 1)[None]


def _inverse_norms(columns: Array, inner: Array) -> tuple[Array, Array]:
    """``1/‖G⁺[:, c]‖`` and whether the norm is above 0 (a feature that is 0 on every row has a zero column)."""
    square = jnp.sum(columns * matmul(inner, columns), axis=0)
    present = square > 0
    return lax.rsqrt(jnp.where(present, square, 1)), present


def _spectrum(z: Array) -> Array:
    """Eigenvalues of ``zᵀz`` that can differ from 0, in falling order."""
    return squared_singular_values(z, count=min(z.shape))[::-1]


def _count(spectrum: Array, threshold: float | Array) -> Array:
    share = lax.stop_gradient(jnp.cumsum(spectrum) / jnp.sum(spectrum))
    return jnp.maximum(jnp.sum(share <= jnp.maximum(threshold, share[1])) - 1, 1)


@jax.custom_jvp
def _inverse_square(matrix: Array, kept: Array) -> Array:
    """``U diag(λ⁻²) Uᵀ`` over the ``kept`` largest eigenvalues of a positive semi-definite ``[n, n]`` matrix."""
    vectors, inverse, _ = _truncate(matrix, kept)
    return matmul(vectors * jnp.square(inverse)[None], vectors.T)


@_inverse_square.defjvp
def _inverse_square_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    vectors, inverse, values = _truncate(*primals)
    a, b = inverse[:, None], inverse[None, :]
    # Divided differences of λ⁻²: both kept, −(1/λ_i + 1/λ_j)/(λ_i λ_j), without a tie to fear; one kept,
    # λ_i⁻²/(λ_i − λ_j), undefined (and left out) only if the cut splits a tie.
    gap = values[:, None] - values[None, :]
    split = ((a > 0) != (b > 0)) & (jnp.abs(gap) > jnp.finfo(gap.dtype).eps * jnp.max(values))
    across = jnp.where(split, (a * a - b * b) / jnp.where(split, gap, 1), 0)
    divided = across - a * b * (a + b)
    inner = divided * matmul(vectors.T, matmul(0.5 * (tangents[0] + tangents[0].T), vectors))
    return _inverse_square(*primals), matmul(vectors, matmul(inner, vectors.T))


def _truncate(matrix: Array, kept: Array) -> tuple[Array, Array, Array]:
    """Eigenvectors, inverse eigenvalues (0 where not kept) and eigenvalues, rising."""
    values, vectors = jnp.linalg.eigh(matrix)
    floor = jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(values)
    keep = (jnp.arange(values.shape[0]) >= values.shape[0] - kept) & (values > floor)
    return vectors, jnp.where(keep, 1 / jnp.where(keep, values, 1), 0), values
