"""Differences of covariances."""

import math

import jax.numpy as jnp
from jax import Array, lax

from dalib.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, centred
from dalib.discrepancy.spectral import matmul, symmetric_log


def covariance(x: Array) -> Array:
    """Sample covariance ``[d, d]`` of the rows of ``x`` ``[n, d]``, with divisor n − 1.

    Raises:
        InputError: unless ``x`` is a floating ``[n, d]`` array with at least 2 rows.
    """
    check_samples(x=x)
    check_rows_for_covariance(x=x)
    x = x - jnp.mean(x, axis=0)[None]
    return matmul(x.T, x) / (x.shape[0] - 1)


def covariance_gap(x: Array, y: Array) -> Array:
    """``‖C_x − C_y‖²_F`` of two samples ``[n, d]``, ``[m, d]``; O((n + m)² d) where that is less than O((n + m) d²)."""
    if x.shape[0] + y.shape[0] >= x.shape[1]:
        return squared_norm(covariance(x) - covariance(y))
    # ‖XᵀX − YᵀY‖² = ‖XXᵀ‖² + ‖YYᵀ‖² − 2‖XYᵀ‖²: batches of 32 with 2048 features need no [2048, 2048] matrix.
    x, y = ((z - jnp.mean(z, axis=0)[None]) / math.sqrt(z.shape[0] - 1) for z in (x, y))
    within, across = squared_norm(matmul(x, x.T)) + squared_norm(matmul(y, y.T)), squared_norm(matmul(x, y.T))
    return jnp.maximum(within - 2 * across, 0)


def squared_norm(matrix: Array) -> Array:
    """Squared Frobenius norm."""
    return jnp.sum(jnp.square(matrix))


def coral(x: Array, y: Array, *, mean_term: bool = False, tllib_form: bool = False) -> Array:
    """Deep CORAL: ``‖C_x − C_y‖²_F / (4d²)`` with sample covariances of divisor n − 1.

    Because of the ``1/d²`` a trade-off weight belongs to one width d. TLlib and DomainBed compute another number, the
    mean over entries without the 4 and with the means:
    ``mean((μ_x − μ_y)²) + mean((C_x − C_y)²) = ‖μ_x − μ_y‖²/d + 4 · (paper's value)``.

    Args:
        x: ``[n, d]`` with n ≥ 2.
        y: ``[m, d]`` with m ≥ 2; n and m may differ.
        mean_term: adds ``‖μ_x − μ_y‖²/d`` to the paper's value.
        tllib_form: returns TLlib's number instead (its mean term is always in).

    Returns:
        Scalar ≥ 0, float32 or wider.

    Raises:
        InputError: on other shapes or dtypes, or a sample of one row, which has no covariance.

    References:
        Sun, Saenko, Deep CORAL, ECCV Workshops 2016, arXiv 1607.01719.
    """
    check_samples(x=x, y=y)
    check_rows_for_covariance(x=x, y=y)
    x, y = centred(at_least_float32(x), at_least_float32(y))
    entries = covariance_gap(x, y) / x.shape[1] ** 2
    means = jnp.mean(jnp.square(jnp.mean(x, axis=0) - jnp.mean(y, axis=0)))
    if tllib_form:
        return means + entries
    return entries / 4 + means if mean_term else entries / 4


def log_coral(x: Array, y: Array, *, epsilon: float | Array = 1e-3, relative: bool = True) -> Array:
    """Log-Euclidean CORAL: ``‖log(C_x + εI) − log(C_y + εI)‖²_F / (4d²)``.

    The εI keeps the logarithm finite when there are fewer rows than columns, and makes equal eigenvalues on the way,
    at which the gradient is nevertheless exact. Costs two eigendecompositions, O(d³): for widths up to some hundreds.

    Args:
        x: ``[n, d]`` with n ≥ 2.
        y: ``[m, d]`` with m ≥ 2; n and m may differ.
        epsilon: > 0.
        relative: scales ε by the mean variance ``tr(C_x + C_y)/(2d)`` (behind stop_gradient), which makes the value
            independent of the units of the features; False takes ε as it is.

    Returns:
        Scalar ≥ 0, float32 or wider. 0 with gradient 0 when both samples are constant.

    Raises:
        InputError: on other shapes or dtypes, a sample of one row, or ε ≤ 0.

    References:
        Wang, Li, Dai, Van Gool, Deep Domain Adaptation by Geodesic Distance Minimization, ICCV Workshops 2017,
        arXiv 1707.09842. Morerio, Cavazza, Murino, Minimal-Entropy Correlation Alignment, ICLR 2018,
        arXiv 1711.10288.
    """
    check_samples(x=x, y=y)
    check_rows_for_covariance(x=x, y=y)
    check_positive(epsilon=epsilon)
    x, y = at_least_float32(x), at_least_float32(y)
    of_x, of_y = covariance(x), covariance(y)
    ridge = jnp.asarray(epsilon, of_x.dtype)
    if relative:
        ridge = ridge * lax.stop_gradient((jnp.trace(of_x) + jnp.trace(of_y)) / (2 * x.shape[1]))
    identity = jnp.eye(x.shape[1], dtype=of_x.dtype)
    difference = symmetric_log(of_x + ridge * identity) - symmetric_log(of_y + ridge * identity)
    return jnp.mean(jnp.square(difference)) / 4


def check_rows_for_covariance(**samples: Array) -> None:
    """Raises an InputError for a sample of fewer than 2 rows."""
    for name, x in samples.items():
        if x.shape[0] < 2:
            raise input_error(
                name,
                got=f"shape {x.shape}",
                expected="at least 2 rows: one row has no spread",
                todo="larger batches",
            )
