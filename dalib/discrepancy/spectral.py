"""Functions of singular values and eigenvalues whose derivatives stay finite where those of SVD and eigh do not.

Derivatives of singular *vectors* contain ``1/(σ_i² − σ_j²)``, infinite at ties. Sums over the spectrum need none of
them: with the vectors behind stop_gradient the derivative is exact, ties included. Where vectors themselves are
compared, :func:`svd` leaves the undefined rotation inside a tied pair out of the derivative.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.checks import check_samples

HIGHEST = lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=HIGHEST)
"""Matrix product that an accelerator may not round to bfloat16."""


@jax.custom_jvp
def symmetric_log(matrix: Array) -> Array:
    """Logarithm ``[d, d]`` of a symmetric positive definite matrix.

    Eigenvalues below rounding (ε_machine · d times the largest) are raised to it. The derivative uses divided
    differences ``(log λ_i − log λ_j)/(λ_i − λ_j)`` with their limit ``1/λ`` at ties. First derivatives only.
    """
    values, vectors = _floored_eigh(matrix)
    return matmul(vectors * jnp.log(values)[None], vectors.T)


@symmetric_log.defjvp
def _symmetric_log_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    values, vectors = _floored_eigh(primals[0])
    log = matmul(vectors * jnp.log(values)[None], vectors.T)
    # log λ_i − log λ_j = 2 atanh(u) with u = (λ_i − λ_j)/(λ_i + λ_j): no digits are lost near a tie, where the
    # series of atanh(u)/u takes over.
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
    """Sum of the singular values of ``[n, m]``, with gradient ``U Vᵀ``.

    Singular values at most ``floor``, or that are rounding beside the largest, count as 0 in value and gradient.

    Raises:
        InputError: unless the matrix is a floating array of two axes.
    """
    check_samples(matrix=matrix)
    u, s, vt = jnp.linalg.svd(lax.stop_gradient(matrix), full_matrices=False)
    above = s > jnp.maximum(floor, max(matrix.shape) * jnp.finfo(s.dtype).eps * jnp.max(s))
    direction = matmul(jnp.where(above[None], u, 0), vt)
    return jnp.sum(direction * matrix)


def squared_singular_values(matrix: Array, *, count: int, smallest: bool = False) -> Array:
    """The ``count`` largest (or smallest) squared singular values ``[count]`` of ``[n, d]``, in rising order.

    From the eigenvectors of the smaller Gram matrix, as ``‖matrix · v‖²`` with v behind stop_gradient: exact to second
    order in the error of v, with the right gradient wherever it exists and a subgradient at ties.
    """
    rows, columns = matrix.shape
    tall = matrix.T if rows < columns else matrix
    gram = lax.stop_gradient(matmul(tall.T, tall))
    vectors = jnp.linalg.eigh(gram)[1]
    chosen = vectors[:, :count] if smallest else vectors[:, -count:]
    return jnp.sum(jnp.square(matmul(tall, lax.stop_gradient(chosen))), axis=0)


@jax.custom_jvp
def svd(matrix: Array) -> tuple[Array, Array, Array]:
    """Thin SVD ``(U [n, k], s [k], V [m, k])`` of ``[n, m]`` with ``matrix = U diag(s) Vᵀ`` and k = min(n, m).

    Singular vectors whose squared singular values differ by less than rounding have no derivative along the rotation
    between them; it is taken as 0 there, and so is the inverse of a vanishing singular value. First derivatives only.
    """
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
