"""Maximum mean discrepancy: the public forms, and the estimators they share."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from dalib.core.checks import check_samples, choose, input_error
from dalib.discrepancy.distances import (
    MULTIPLIERS,
    Bandwidth,
    Multipliers,
    at_least_float32,
    centred,
    centred_squared_distances,
    check_multipliers,
    gaussian_mixture,
    kernel_variance,
    paired_squared_distances,
)
from dalib.discrepancy.tiled import pair_sum, tile_rows

# Estimators of a squared MMD, for any kernel that is a function of squared distances layer by layer.
#
# A *sample* here is a tuple of layers, ``([n, d_1], [n, d_2], ...)``: one layer for MMD, several for JAN's joint MMD.
# A *combine* function turns the squared distances of the layers into kernel values elementwise.


Layers = tuple[Array, ...]
Combine = Callable[[Any, Layers], Array]
"""``(parameters, squared distances of each layer) -> kernel values`` of the same shape; parameters get no gradient."""

ESTIMATORS = {"biased": 1, "unbiased": 2, "linear": 2}
"""Estimators of MMD² and the fewest rows a sample may have."""


def check_estimator(estimator: str, **samples: Array) -> None:
    """Check that ``estimator`` is known and that every sample has the rows it needs."""
    fewest = choose("estimator", estimator, ESTIMATORS)
    for name, x in samples.items():
        if x.shape[0] < fewest:
            raise input_error(
                name,
                got=f"shape {x.shape}",
                expected=f"at least {fewest} rows for estimator={estimator!r}",
                todo='use estimator="biased", which is defined for a single row, or a larger batch',
            )


def tllib_constant(x: Array, y: Array) -> float:
    """TLlib's additive constant ``2/(n − 1)``, which it defines for n = m ≥ 2 only."""
    if x.shape[0] != y.shape[0] or x.shape[0] < 2:
        raise input_error("tllib_offset", got=f"n = {x.shape[0]}, m = {y.shape[0]}", expected="n = m ≥ 2")
    return 2 / (x.shape[0] - 1)


def estimate(combine: Combine, parameters: Any, x: Layers, y: Layers, *, estimator: str, tile: int | None) -> Array:
    """Estimate MMD² by one of :data:`ESTIMATORS`, densely or in tiles.

    Args:
        combine: the kernel; a function that closes over no traced value (these go into ``parameters``).
        parameters: pytree of widths and the like, without gradient.
        x, y: the same layers of n and of m rows.
        estimator: ``"biased"``, ``"unbiased"`` or ``"linear"``.
        tile: rows of a tile, 0 for the dense form, None to choose by size (:func:`~dalib.discrepancy.tiled.tile_rows`).
    """
    if estimator == "linear":
        return linear_time(combine, parameters, x, y)
    pairs = [centred(a, b) for a, b in zip(x, y, strict=True)]
    x, y = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    gram = functools.partial(gram_matrix, combine)
    distinct = estimator == "unbiased"
    rows = tile_rows(x[0].shape[0], y[0].shape[0], tile)
    if rows:
        return tiled_quadratic(gram, parameters, x, y, distinct=distinct, tile=rows)
    within_x = pair_mean(gram(parameters, x, x), distinct=distinct)
    within_y = pair_mean(gram(parameters, y, y), distinct=distinct)
    return within_x + within_y - 2 * mean_of_matrix(gram(parameters, x, y))


def gram_matrix(combine: Combine, parameters: Any, x: Layers, y: Layers) -> Array:
    """Kernel values ``[n, m]`` of all rows of ``x`` against all rows of ``y``, for layers near the origin."""
    return combine(parameters, tuple(centred_squared_distances(a, b) for a, b in zip(x, y, strict=True)))


def mean_of_matrix(matrix: Array) -> Array:
    """Mean of a matrix in two stages, which loses fewer digits in float32 than one running sum."""
    return jnp.mean(jnp.mean(matrix, axis=1))


def pair_mean(gram: Array, *, distinct: bool) -> Array:
    """Mean of a square Gram matrix ``[n, n]`` over all pairs, or over the n(n − 1) pairs of distinct rows."""
    if not distinct:
        return mean_of_matrix(gram)
    rows = gram.shape[0]
    return mean_of_matrix(jnp.where(jnp.eye(rows, dtype=bool), 0, gram)) * (rows / (rows - 1))


def tiled_quadratic(
    gram: Callable[..., Array], parameters: Any, x: Layers, y: Layers, *, distinct: bool, tile: int
) -> Array:
    """The quadratic estimators as one weighted sum over the pairs of the pooled rows."""
    n, m = x[0].shape[0], y[0].shape[0]
    dtype = x[0].dtype
    # Weight of a pair by its rows' samples; with signs, so that one sweep gives all three means.
    within = [1 / (n * (n - 1)), 1 / (m * (m - 1))] if distinct else [1 / n**2, 1 / m**2]
    weights = jnp.array([[within[0], -1 / (n * m)], [-1 / (n * m), within[1]]], dtype)
    member = jnp.concatenate(
        [jnp.tile(jnp.eye(2, dtype=dtype)[:1], (n, 1)), jnp.tile(jnp.eye(2, dtype=dtype)[1:], (m, 1))]
    )
    pooled = tuple(jnp.concatenate(layers) for layers in zip(x, y, strict=True))
    return pair_sum(gram, distinct, tile, parameters, pooled, member @ weights, member)


def linear_time(combine: Combine, parameters: Any, x: Layers, y: Layers) -> Array:
    """Linear-time MMD² as :func:`~dalib.discrepancy.mmd.mmd2` defines it, in O((n + m) d)."""
    n, m = x[0].shape[0], y[0].shape[0]
    longest = max(n, m)

    def rows(layers: Layers, shift: int, length: int) -> Layers:
        # The shorter sample goes round again.
        index = (np.arange(length) + shift) % layers[0].shape[0]
        return tuple(layer[index] for layer in layers)

    def mean_kernel(first: Layers, second: Layers) -> Array:
        squared = tuple(paired_squared_distances(a, b) for a, b in zip(first, second, strict=True))
        return jnp.mean(combine(parameters, squared))

    within = mean_kernel(x, rows(x, 1, n)) + mean_kernel(y, rows(y, 1, m))
    forth = mean_kernel(rows(x, 0, longest), rows(y, 1, longest))
    back = mean_kernel(rows(x, 1, longest), rows(y, 0, longest))
    return within - forth - back


def mmd2(
    x: Array,
    y: Array,
    *,
    bandwidth: Bandwidth = "mean",
    multipliers: Multipliers = (1.0,),
    estimator: str = "biased",
    tile: int | None = None,
) -> Array:
    """Squared maximum mean discrepancy, ``E k(x, x') + E k(y, y') − 2 E k(x, y)``, with a sum of Gaussian kernels.

    0 with gradient 0 when all rows are equal. Source: Gretton, Borgwardt, Rasch, Schölkopf, Smola, A Kernel Two-Sample
    Test, JMLR 2012.

    - ``"biased"`` (V-statistic): means over all pairs, a row with itself included. ≥ 0 up to rounding; its expectation
      is positive, of order 1/n, even for two samples of one distribution.
    - ``"unbiased"`` (U-statistic): within a sample only pairs of distinct rows. **May be negative**.
    - ``"linear"`` (linear time, high variance): neighbouring rows only, as DAN's reference code pairs them: ``mean_i
      k(x_i, x_{i+1}) + mean_j k(y_j, y_{j+1}) − mean_l [k(x_l, y_{l+1}) + k(x_{l+1}, y_l)]``, indices modulo n and m,
      ``l`` over the longer sample. Unbiased, may be negative, depends on the order of the rows.

    Args:
        x, y: ``[n, d]`` and ``[m, d]``; at least 2 rows for all but ``"biased"``.
        bandwidth: rule for σ² on the pooled rows (``"mean"``, ``"mean_off_diagonal"``, ``"median"``) or σ itself;
            :func:`~dalib.discrepancy.distances.kernel_variance` tells the σ² in use.
        multipliers: factors of σ², one kernel each; kernels are summed.
        estimator: ``"biased"``, ``"unbiased"`` or ``"linear"``.
        tile: quadratic estimators only: rows of a tile, for memory O((n + m) · tile) in value and gradient; 0 builds
            the pair matrices; None chooses by size (:func:`~dalib.discrepancy.tiled.tile_rows`). The number is the same
            but for rounding. Tiles support first derivatives in reverse mode.
    """
    check_samples(x=x, y=y)
    check_multipliers(multipliers)
    check_estimator(estimator, x=x, y=y)
    x, y = at_least_float32(x), at_least_float32(y)
    parameters = (kernel_variance(x, y, bandwidth=bandwidth), jnp.asarray(multipliers, x.dtype))
    return estimate(gaussian_kernel, parameters, (x,), (y,), estimator=estimator, tile=tile)


def mk_mmd(
    x: Array,
    y: Array,
    *,
    bandwidth: Bandwidth = "mean",
    multipliers: Multipliers = MULTIPLIERS,
    estimator: str = "unbiased",
    tllib_offset: bool = False,
    tile: int | None = None,
) -> Array:
    """Multi-kernel MMD² of DAN: :func:`mmd2` with five adaptive kernels, summed with equal weights. Re-implementations
    fix the weights at 1; the paper learns them by a quadratic program. TLlib adds ``2/(n − 1)``, in the quadratic form
    (its class's default, here ``"unbiased"``) and the linear one (its script's default). That constant has no gradient
    and no meaning. Source: Long, Cao, Wang, Jordan, ICML 2015, arXiv 1502.02791.

    Args:
        x, y, bandwidth, multipliers, tile: as in :func:`mmd2`.
        estimator: as in :func:`mmd2`; ``"unbiased"`` and ``"linear"`` **may be negative**.
        tllib_offset: adds ``2/(n − 1)``, for comparison with numbers from TLlib; needs n = m.
    """
    value = mmd2(x, y, bandwidth=bandwidth, multipliers=multipliers, estimator=estimator, tile=tile)
    return value + tllib_constant(x, y) if tllib_offset else value


def linear_mmd2(x: Array, y: Array) -> Array:
    """Squared MMD with the linear kernel: ``‖mean x − mean y‖²``, the term of DDC, which sees the means only. The
    linear-*time* estimator is ``mmd2(..., estimator="linear")``. Source: Tzeng, Hoffman, Zhang, Saenko, Darrell, 2014,
    arXiv 1412.3474 (unsquared)."""
    check_samples(x=x, y=y)
    x, y = centred(at_least_float32(x), at_least_float32(y))
    return jnp.sum(jnp.square(jnp.mean(x, axis=0) - jnp.mean(y, axis=0)))


def gaussian_kernel(parameters: Any, squared: Layers) -> Array:
    """Mixture of Gaussians of one layer's squared distances, with parameters ``(variance, multipliers [K])``."""
    variance, multipliers = parameters
    return gaussian_mixture(squared[0], variance=variance, multipliers=multipliers)
