"""Discrepancies of moments: covariances (CORAL), central moments (CMD), higher-order moments (HoMM)."""

import functools
import math

import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, centred, safe_norm
from dalib.discrepancy.mmd import mean_of_matrix, tiled_quadratic
from dalib.discrepancy.spectral import matmul, symmetric_log
from dalib.discrepancy.tiled import tile_rows


def covariance(x: Array) -> Array:
    """Sample covariance ``[d, d]`` of the rows of ``x`` ``[n, d]``, with divisor n − 1."""
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
    """Deep CORAL: ``‖C_x − C_y‖²_F / (4d²)`` with sample covariances of divisor n − 1; n, m ≥ 2. Because of the
    ``1/d²`` a trade-off weight belongs to one width d. Source: Sun, Saenko, ECCV Workshops 2016, arXiv 1607.01719.

    Args:
        mean_term: adds ``‖μ_x − μ_y‖²/d`` to the paper's value.
        tllib_form: the number of TLlib and DomainBed, mean squares of entries: ``‖μ_x − μ_y‖²/d + 4 · (paper's
            value)``.
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
    """Log-Euclidean CORAL: ``‖log(C_x + εI) − log(C_y + εI)‖²_F / (4d²)``; n, m ≥ 2. The εI keeps the logarithm finite
    for fewer rows than columns. It makes equal eigenvalues, at which the gradient is nevertheless exact. Two
    eigendecompositions cost O(d³): d up to some hundreds. 0 with gradient 0 when both samples are constant. Source:
    Wang, Li, Dai, Van Gool, ICCV Workshops 2017, arXiv 1707.09842. Morerio, Cavazza, Murino, ICLR 2018, arXiv
    1711.10288.

    Args:
        epsilon: > 0.
        relative: scales ε by the mean variance ``tr(C_x + C_y)/(2d)`` (without gradient), so units do not matter.
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


def cmd(x: Array, y: Array, *, order: int = 5, interval: tuple[float, float] = (0.0, 1.0)) -> Array:
    """CMD: ``‖E x − E y‖/(b − a) + Σ_{k=2..K} ‖c_k(x) − c_k(y)‖/(b − a)^k`` with central moments per coordinate. Norms
    are not squared; at equal moments the gradient is 0. Source: Zellinger, Grubinger, Lughofer, Natschläger,
    Saminger-Platz, ICLR 2017, arXiv 1702.08811.

    Args:
        order: K ≥ 1, the highest moment, static.
        interval: (a, b) with a < b, the range of the features (after a sigmoid or tanh); outside it moments grow
            without limit.
    """
    check_samples(x=x, y=y)
    if not isinstance(order, int) or order < 1:
        raise input_error("order", got=order, expected="an integer ≥ 1")
    low, high = interval
    if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
        raise input_error("interval", got=interval, expected="(a, b) with a < b, the range of the features")
    x, y = centred(at_least_float32(x), at_least_float32(y))
    length = jnp.asarray(high - low, x.dtype)
    mean_x, mean_y = jnp.mean(x, axis=0), jnp.mean(y, axis=0)
    total = safe_norm(mean_x - mean_y) / length
    x, y = x - mean_x[None], y - mean_y[None]
    for k in range(2, order + 1):
        difference = jnp.mean(lax.integer_pow(x / length, k), axis=0) - jnp.mean(lax.integer_pow(y / length, k), axis=0)
        total = total + safe_norm(difference)
    return total


def homm(x: Array, y: Array, *, order: int = 3, tile: int | None = None) -> Array:
    """HoMM: ``‖E[x^{⊗p}] − E[y^{⊗p}]‖² / d^p`` of the centred samples, for any order p; ≥ 0 up to rounding. Each sample
    is centred at its own mean: order 1 is 0, order 2 ``‖C_x − C_y‖²_F/d²`` with divisor n, and samples of one row give
    0. The value is small, so the paper's weights are very large (1e4 for order 3); its code samples the tensors'
    entries from order 4 up, which estimates this number. Source: Chen, Fu, Chen, Jin, Cheng, Jin, Hua, AAAI 2020, arXiv
    1912.11976.

    Args:
        order: p ≥ 1, static.
        tile: as in :func:`~dalib.discrepancy.mmd.mmd2`.
    """
    check_samples(x=x, y=y)
    if not isinstance(order, int) or order < 1:
        raise input_error("order", got=order, expected="an integer ≥ 1")
    x, y = at_least_float32(x), at_least_float32(y)
    x, y = x - jnp.mean(x, axis=0)[None], y - jnp.mean(y, axis=0)[None]
    # ⟨a^{⊗p}, b^{⊗p}⟩ = ⟨a, b⟩^p: a polynomial-kernel MMD in O((n + m)² d), without the d^p entries.
    gram = functools.partial(polynomial_gram, order)
    rows = tile_rows(x.shape[0], y.shape[0], tile)
    if rows:
        return tiled_quadratic(gram, (), (x,), (y,), distinct=False, tile=rows)
    within = mean_of_matrix(gram((), (x,), (x,))) + mean_of_matrix(gram((), (y,), (y,)))
    return within - 2 * mean_of_matrix(gram((), (x,), (y,)))


def polynomial_gram(order: int, parameters: tuple[()], x: tuple[Array], y: tuple[Array]) -> Array:
    """``(⟨x_i, y_j⟩ / d)^order`` for all pairs, ``[n, m]``."""
    del parameters
    # Dividing before the power keeps float32 from overflowing at high orders.
    return lax.integer_pow(jnp.matmul(x[0], y[0].T, precision=lax.Precision.HIGHEST) / x[0].shape[1], order)
