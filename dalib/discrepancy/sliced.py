"""Wasserstein distances in one dimension, and averaged over random directions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, safe_norm


def random_directions(key: Array, width: int, count: int = 128) -> Array:
    """Uniform unit vectors as the columns of a float32 ``[width, count]`` array; both ≥ 1."""
    check_positive(width=width, count=count)
    directions = jax.random.normal(key, (width, count), jnp.float32)  # the same directions with and without x64
    return directions / jnp.maximum(safe_norm(directions, axis=0), jnp.finfo(directions.dtype).tiny)[None]


def sliced_wasserstein(
    x: Array,
    y: Array,
    *,
    key: Array | None = None,
    num_directions: int = 128,
    directions: Array | None = None,
    order: int = 2,
) -> Array:
    """Sliced Wasserstein distance to its power: the mean over directions θ of ``W_p^p(x·θ, y·θ)``. For n = m it is
    ``mean (sort(x·θ) − sort(y·θ))^p`` over positions and directions. SWD applies it to two heads' softmax outputs on
    one batch; between domains it aligns features. Take fresh directions at every step: ``key = fold_in(key, step)``.
    Source: Lee, Batra, Baig, Ulbricht, CVPR 2019, arXiv 1903.04064.

    Args:
        key: random key for :func:`random_directions`; exclusive with ``directions``.
        num_directions: M, with ``key``.
        directions: ``[d, M]`` unit columns.
        order: p ≥ 1, static.
    """
    check_samples(x=x, y=y)
    if (key is None) == (directions is None):
        raise input_error("key, directions", got="both or neither", expected="exactly one of the two")
    x, y = at_least_float32(x), at_least_float32(y)
    if key is not None:
        directions = random_directions(key, x.shape[1], num_directions)
    theta = jnp.asarray(directions, x.dtype)
    if theta.ndim != 2 or theta.shape[0] != x.shape[1]:
        raise input_error("directions", got=f"shape {theta.shape}", expected=f"[{x.shape[1]}, M] for these samples")
    return jnp.mean(
        wasserstein_1d(
            jnp.matmul(x, theta, precision=lax.Precision.HIGHEST),
            jnp.matmul(y, theta, precision=lax.Precision.HIGHEST),
            order=order,
        )
    )


def wasserstein_1d(x: Array, y: Array, *, order: int = 2) -> Array:
    """Exact ``W_p^p`` ``[M]`` between columns of ``[n, M]``, ``[m, M]``: ``∫_0^1 |F_x⁻¹(u) − F_y⁻¹(u)|^p du``.
    ``order`` is p ≥ 1, static."""
    check_samples(x=x, y=y)
    if not isinstance(order, int) or order < 1:
        raise input_error("order", got=order, expected="an integer ≥ 1")
    x, y = jnp.sort(at_least_float32(x), axis=0), jnp.sort(at_least_float32(y), axis=0)
    n, m = x.shape[0], y.shape[0]
    # Quantile functions of equally many steps: the mean over sorted positions. Otherwise the integral is a sum over
    # their merged steps, which n and m alone decide.
    if n == m:
        return jnp.mean(jnp.abs(x - y) ** order, axis=0)
    # Step ends in units of 1/(nm), as integers: merging them in floating point would leave slivers.
    ends = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    widths = jnp.asarray(np.diff(ends) / (n * m), x.dtype)
    gaps = x[ends[:-1] // m] - y[ends[:-1] // n]
    return jnp.sum(widths[:, None] * jnp.abs(gaps) ** order, axis=0)
