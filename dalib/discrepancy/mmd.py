"""Maximum mean discrepancy with Gaussian kernels, in three estimators, and with the linear kernel."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from dalib.checks import check_samples
from dalib.discrepancy.distances import at_least_float32, centred
from dalib.discrepancy.estimators import (
    Layers,
    check_estimator,
    estimate,
    tllib_constant,
)
from dalib.discrepancy.kernels import (
    MULTIPLIERS,
    Bandwidth,
    Multipliers,
    check_multipliers,
    gaussian_mixture,
    kernel_variance,
)


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

    Estimators:
        - ``"biased"`` (V-statistic): means over all pairs, a row with itself included. ≥ 0 up to rounding; its
          expectation is positive, of order 1/n, even for two samples of one distribution.
        - ``"unbiased"`` (U-statistic): within a sample only pairs of distinct rows. **May be negative**.
        - ``"linear"`` (linear time, high variance): neighbouring rows only, as DAN's reference code pairs them:
          ``mean_i k(x_i, x_{i+1}) + mean_j k(y_j, y_{j+1}) − mean_l [k(x_l, y_{l+1}) + k(x_{l+1}, y_l)]`` with indices
          modulo n and m and ``l`` running over the longer sample (the shorter one goes round again). Unbiased, may be
          negative, and depends on the order of the rows.

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``; n and m may differ.
        bandwidth: rule for σ² on the pooled rows (``"mean"``, ``"mean_off_diagonal"``, ``"median"``) or σ itself.
            :func:`~dalib.discrepancy.kernels.kernel_variance` tells the σ² in use.
        multipliers: factors of σ², one kernel each; kernels are summed.
        estimator: ``"biased"``, ``"unbiased"`` or ``"linear"``.
        tile: quadratic estimators only: rows of a tile, for memory O((n + m) · tile) in value and gradient; 0 builds
            the pair matrices; None chooses: on a CPU dense up to n + m = 1024 and tiles of 256 rows above, elsewhere
            4096 and 2048. The number is the same but for rounding. Tiles support first derivatives in reverse mode.

    Returns:
        Scalar, float32 or wider. 0 with gradient 0 when all rows are equal.

    Raises:
        InputError: on other shapes or dtypes, an unknown rule or estimator, or fewer than 2 rows where an
            estimator needs pairs of distinct rows.

    References:
        Gretton, Borgwardt, Rasch, Schölkopf, Smola, A Kernel Two-Sample Test, JMLR 2012.
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
    """Multi-kernel MMD² of DAN: :func:`mmd2` with five adaptive kernels, summed with equal weights.

    The kernel weights that the paper learns by a quadratic program are fixed at 1, as all re-implementations do.
    TLlib adds the constant ``2/(n − 1)`` to this number, in the quadratic form (its class's default, here
    ``"unbiased"``) and in the linear one (its training script's default, here ``"linear"``). It has no gradient and
    no meaning; dalib's value is TLlib's without it.

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``; n and m may differ.
        bandwidth: as in :func:`mmd2`.
        multipliers: factors of σ², one kernel each.
        estimator: as in :func:`mmd2`; ``"unbiased"`` and ``"linear"`` **may be negative**.
        tllib_offset: adds ``2/(n − 1)``, for comparison with numbers from TLlib; needs n = m.
        tile: as in :func:`mmd2`.

    Returns:
        Scalar, float32 or wider.

    Raises:
        InputError: as :func:`mmd2`; also for ``tllib_offset`` with n ≠ m, which TLlib does not define.

    References:
        Long, Cao, Wang, Jordan, Learning Transferable Features with Deep Adaptation Networks, ICML 2015,
        arXiv 1502.02791.
    """
    value = mmd2(x, y, bandwidth=bandwidth, multipliers=multipliers, estimator=estimator, tile=tile)
    return value + tllib_constant(x, y) if tllib_offset else value


def linear_mmd2(x: Array, y: Array) -> Array:
    """Squared MMD with the linear kernel: ``‖mean x − mean y‖²``, the term of DDC.

    It sees differences of the means only. (The linear-*time* estimator is ``mmd2(..., estimator="linear")``.)

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``; n and m may differ.

    Returns:
        Scalar ≥ 0, float32 or wider.

    Raises:
        InputError: unless both are floating ``[·, d]`` arrays of one width.

    References:
        Tzeng, Hoffman, Zhang, Saenko, Darrell, Deep Domain Confusion, 2014, arXiv 1412.3474 (there not squared).
    """
    check_samples(x=x, y=y)
    x, y = centred(at_least_float32(x), at_least_float32(y))
    return jnp.sum(jnp.square(jnp.mean(x, axis=0) - jnp.mean(y, axis=0)))


def gaussian_kernel(parameters: Any, squared: Layers) -> Array:
    """Mixture of Gaussians of one layer's squared distances, with parameters ``(variance, multipliers [K])``."""
    variance, multipliers = parameters
    return gaussian_mixture(squared[0], variance=variance, multipliers=multipliers)
