"""Discrepancies of singular values and subspaces: nuclear norms, BSP, BSS, AFN and RSD."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, safe_norm

# Functions of singular values and eigenvalues with finite derivatives where those of SVD and eigh are not.
#
# Derivatives of singular *vectors* contain ``1/(σ_i² − σ_j²)``, infinite at ties. Sums over the spectrum need none of
# them: with the vectors without gradient the derivative is exact, ties included. Where vectors themselves are
# compared, :func:`svd` leaves the undefined rotation inside a tied pair out of the derivative.


HIGHEST = lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=HIGHEST)
"""Matrix product that an accelerator may not round to bfloat16."""


@jax.custom_jvp
def symmetric_log(matrix: Array) -> Array:
    """Logarithm ``[d, d]`` of a symmetric positive definite matrix; first derivatives only. Eigenvalues below rounding
    (ε_machine · d times the largest) are raised to it."""
    values, vectors = _floored_eigh(matrix)
    return matmul(vectors * jnp.log(values)[None], vectors.T)


@symmetric_log.defjvp
def _symmetric_log_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    values, vectors = _floored_eigh(primals[0])
    log = matmul(vectors * jnp.log(values)[None], vectors.T)
    # log λ_i − log λ_j = 2 atanh(u) with u = (λ_i − λ_j)/(λ_i + λ_j): no digits are lost near a tie, where the
    # series of atanh(u)/u takes over.
    # Divided differences (log λ_i − log λ_j)/(λ_i − λ_j), with the limit 1/λ at ties.
    total = values[:, None] + values[None, :]
    u = (values[:, None] - values[None, :]) / total
    near = jnp.abs(u) < 1e-2
    far_u = jnp.clip(jnp.where(near, 0.5, u), -1 + jnp.finfo(u.dtype).epsneg, 1 - jnp.finfo(u.dtype).epsneg)
    far = jnp.where(
        jnp.abs(far_u) < 0.9,
        jnp.arctanh(far_u) / far_u,
        0.5 * (jnp.log(values)[:, None] - jnp.log(values)[None, :]) / far_u,
    )
    square = u * u
    series = 1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9)))
    divided = 2 * jnp.where(near, series, far) / total
    tangent = 0.5 * (tangents[0] + tangents[0].T)
    inner = divided * matmul(vectors.T, matmul(tangent, vectors))
    return log, matmul(vectors, matmul(inner, vectors.T))


def _floored_eigh(matrix: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    limits = jnp.finfo(values.dtype)
    floor = jnp.maximum(limits.eps * values.shape[0] * jnp.max(values), limits.tiny)
    return jnp.maximum(values, floor), vectors


def nuclear_norm(matrix: Array, *, floor: float | Array = 0.0) -> Array:
    """Sum of the singular values of ``[n, m]``, with gradient ``U Vᵀ``. Singular values at most ``floor``, or within
    rounding of 0, count as 0 in value and gradient."""
    check_samples(matrix=matrix)
    # LAPACK has no half precision.
    u, s, vt = jnp.linalg.svd(at_least_float32(lax.stop_gradient(matrix)), full_matrices=False)
    above = s > jnp.maximum(floor, max(matrix.shape) * jnp.finfo(s.dtype).eps * jnp.max(s))
    direction = matmul(jnp.where(above[None], u, 0), vt)
    return jnp.sum(direction * at_least_float32(matrix))


def squared_singular_values(matrix: Array, *, count: int, smallest: bool = False) -> Array:
    """The ``count`` largest (or smallest) squared singular values ``[count]`` of ``[n, d]``, in rising order. The
    gradient is right wherever it exists, and a subgradient at ties."""
    rows, columns = matrix.shape
    # ‖matrix · v‖² with eigenvectors v of the smaller Gram matrix, without gradient: exact to second order in the error
    # of v.
    tall = matrix.T if rows < columns else matrix
    gram = lax.stop_gradient(matmul(tall.T, tall))
    vectors = jnp.linalg.eigh(gram)[1]
    chosen = vectors[:, :count] if smallest else vectors[:, -count:]
    return jnp.sum(jnp.square(matmul(tall, lax.stop_gradient(chosen))), axis=0)


@jax.custom_jvp
def svd(matrix: Array) -> tuple[Array, Array, Array]:
    """Thin SVD ``(U [n, k], s [k], V [m, k])`` of ``[n, m]`` with ``matrix = U diag(s) Vᵀ`` and k = min(n, m). First
    derivatives only. Where two squared singular values differ by less than rounding, the rotation between their vectors
    has no derivative; it is 0 there, and so is the inverse of a vanishing singular value."""
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    return u, s, vt.T


@svd.defjvp
def _svd_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    u, s, v = svd(primals[0])
    change = tangents[0]
    tolerance = max(primals[0].shape) * jnp.finfo(s.dtype).eps * jnp.max(s)
    gap = (s[None, :] - s[:, None]) * (s[None, :] + s[:, None])
    apart = jnp.abs(gap) > tolerance * jnp.max(s)
    rotation = jnp.where(apart, 1 / jnp.where(apart, gap, 1), 0)
    inverse = jnp.where(s > tolerance, 1 / jnp.where(s > tolerance, s, 1), 0)
    inner = matmul(u.T, matmul(change, v))
    of_u = rotation * (inner * s[None, :] + s[:, None] * inner.T)
    of_v = rotation * (s[:, None] * inner + inner.T * s[None, :])
    along_v = matmul(change, v) * inverse[None, :]
    along_u = matmul(change.T, u) * inverse[None, :]
    du = matmul(u, of_u) + along_v - matmul(u, matmul(u.T, along_v))
    dv = matmul(v, of_v) + along_u - matmul(v, matmul(v.T, along_u))
    return (u, s, v), (du, jnp.diagonal(inner), dv)


def rsd(x: Array, y: Array, *, weight: float | Array = 0.1) -> Array:
    """Representation subspace distance: ``Σ sin θ_i + weight · ‖|P| − |Q|‖_F``. θ are the principal angles between the
    spans of the rows of x and y. The rotations P and Q align the bases of left singular vectors: ``U_xᵀ U_y = P cos(θ)
    Qᵀ``. The second term (bases mismatch penalisation) needs distinct singular values; at ties its derivative along the
    tied rotation is 0. The features' scale stays, which regression needs. Angles below 8 d ε_machine count as 0,
    without gradient. Source: Chen, Wang, Wang, Long, Representation Subspace Distance for Domain Adaptation Regression,
    ICML 2021.

    Args:
        x, y: ``[n, d]`` and ``[m, d]`` with min(n, m) < d, or each span is the whole space; the leading min(n, m)
            directions count.
        weight: trade-off of the bases mismatch.
    """
    check_samples(x=x, y=y)
    directions = min(x.shape[0], y.shape[0])
    if directions >= x.shape[1]:
        raise input_error(
            "x, y",
            got=f"shapes {x.shape} and {y.shape}",
            expected="fewer rows than columns in at least one sample",
            todo="use smaller batches or wider features: as many rows as columns span the whole space",
        )
    x, y = at_least_float32(x), at_least_float32(y)
    basis_x, basis_y = svd(x.T)[0][:, :directions], svd(y.T)[0][:, :directions]
    inner = matmul(basis_x.T, basis_y)
    # The sines are the singular values of the part of U_y outside the span of U_x: near equal subspaces this keeps
    # the digits that √(1 − cos²) loses, and the nuclear norm has no infinite slope there.
    outside = basis_y - matmul(basis_x, inner)
    sines = nuclear_norm(outside, floor=8 * x.shape[1] * float(jnp.finfo(outside.dtype).eps))
    p, _, q = svd(inner)
    return sines + weight * safe_norm(jnp.abs(p) - jnp.abs(q), axis=None)


def bsp(x: Array, *, count: int = 1) -> Array:
    """Batch spectral penalty: the sum of the ``count`` ≤ min(n, d) largest squared singular values of ``[n, d]``. Added
    to an adversarial method, once per domain, it keeps a few directions from carrying all transferability. It is a sum
    over the batch: its weight belongs to a batch size. Source: Chen, Wang, Long, Wang, Transferability vs.
    Discriminability: Batch Spectral Penalization for Adversarial Domain Adaptation, ICML 2019."""
    _check_spectrum(x, count)
    return jnp.sum(squared_singular_values(at_least_float32(x), count=count))


def bss(x: Array, *, count: int = 1) -> Array:
    """Batch spectral shrinkage: the sum of the ``count`` ≤ min(n, d) smallest squared singular values of ``[n, d]``. A
    fine-tuning penalty on the least transferable directions: those of the features for n ≥ d, otherwise those that the
    batch spans. Source: Chen, Wang, Fu, Long, Wang, Catastrophic Forgetting Meets Negative Transfer: Batch Spectral
    Shrinkage for Safe Transfer Learning, NeurIPS 2019."""
    _check_spectrum(x, count)
    return jnp.sum(squared_singular_values(at_least_float32(x), count=count, smallest=True))


def afn(x: Array, *, step: float | Array = 1.0) -> Array:
    """Stepwise adaptive feature norm of one domain ``[n, d]``: ``mean (‖f‖ − sg(‖f‖ + Δ))²``, Δ = ``step``. The value
    is always Δ²; its gradient pushes every norm but 0 outwards by the same amount. Add it for source and target.
    Source: Xu, Li, Yang, Lin, ICCV 2019, arXiv 1811.07456."""
    check_samples(x=x)
    norms = safe_norm(at_least_float32(x))
    return jnp.mean(jnp.square(norms - lax.stop_gradient(norms + step)))


def _check_spectrum(x: Array, count: int) -> None:
    check_samples(x=x)
    if not isinstance(count, int) or not 1 <= count <= min(x.shape):
        raise input_error("count", got=count, expected=f"an integer from 1 to {min(x.shape)} for shape {x.shape}")
