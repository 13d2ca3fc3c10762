"""Distances between rows of two samples, and Gaussian kernels of them. Samples are ``[n_i, d]``."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_positive, check_samples, choose, input_error

MEDIAN_ROWS = 4096
"""Above this many rows in all, :func:`median_squared_distance` looks at that many evenly spaced rows."""


def at_least_float32(x: Array) -> Array:
    """``x`` as a jax array, widened to float32 if it is bfloat16 or float16; float32 and float64 are kept."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def safe_norm(x: Array, *, axis: int | None = -1) -> Array:
    """Euclidean norm along ``axis`` (None: of all entries), with gradient 0 at 0. That of ``sqrt`` is infinite there,
    that of ``jnp.linalg.norm`` NaN. Squares are of numbers scaled to at most 1."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True))
    scale = jnp.where(largest > 0, largest, 1)
    square = jnp.sum(jnp.square(x / scale), axis=axis)
    positive = square > 0
    # Both wheres are needed: the inner one keeps sqrt's infinite slope out of the backward pass, where 0 * inf is NaN.
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
    return root * jnp.squeeze(scale, axis=axis)


def joint_mean(*samples: Array) -> Array:
    """Mean ``[d]`` of all rows of all samples, without gradient."""
    rows = sum(x.shape[0] for x in samples)
    # Summing per sample instead of concatenating keeps row-sharded samples where they are.
    total = sum((jnp.sum(x, axis=0) for x in samples), start=jnp.zeros((), samples[0].dtype))
    return lax.stop_gradient(total / rows)


def centred(*samples: Array) -> tuple[Array, ...]:
    """The samples less their :func:`joint_mean`, which keeps digits far from the origin."""
    centre = joint_mean(*samples)[None]
    return tuple(x - centre for x in samples)


def squared_distances(x: Array, y: Array | None = None) -> Array:
    """Squared Euclidean distances ``[n, m]`` ≥ 0 between all rows of ``x`` and all rows of ``y``. ``y`` None means
    ``x`` itself, with a diagonal of exactly 0. Finite for finite squared norms (about 1e19 per entry in float32)."""
    if y is None:
        check_samples(x=x)
        # Centring keeps the digits of close points far from the origin. Distances do not depend on the centre, so its
        # stopped gradient leaves the gradient exact.
        (x,) = centred(at_least_float32(x))
        square = centred_squared_distances(x, x)
        return jnp.where(jnp.eye(x.shape[0], dtype=bool), 0, square)
    check_samples(x=x, y=y)
    return centred_squared_distances(*centred(at_least_float32(x), at_least_float32(y)))


def centred_squared_distances(x: Array, y: Array) -> Array:
    """:func:`squared_distances` ``[n, m]`` without checks, for samples that are already near the origin."""
    inner = jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)
    square = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2 * inner
    return jnp.maximum(square, 0)


def mean_squared_distance(*samples: Array) -> Array:
    """Mean of the squared distances over all N² ordered pairs of the pooled rows, zero diagonal included. It equals
    twice the trace of the pooled covariance (divisor N): O(Nd), no pair matrix. A spread that is only rounding noise of
    constant rows (1e-6 of their norm in float32) is exactly 0."""
    check_samples(**{f"sample {i}": x for i, x in enumerate(samples)})
    samples = tuple(at_least_float32(x) for x in samples)
    rows = sum(x.shape[0] for x in samples)
    centre = joint_mean(*samples)
    zero = jnp.zeros((), samples[0].dtype)
    spread = sum((jnp.sum(jnp.square(x - centre[None])) for x in samples), start=zero)
    noise = rows * jnp.sum(centre * centre) * (8 * jnp.finfo(centre.dtype).eps) ** 2
    return jnp.where(spread > noise, 2 * spread / rows, 0)


def median_squared_distance(*samples: Array, max_rows: int = MEDIAN_ROWS) -> Array:
    """Median of the squared distances over the N(N−1)/2 unordered pairs of the pooled rows; N ≥ 2. It builds all pairs,
    so above ``max_rows`` rows it takes that many evenly spaced ones (which then depend on the order); memory grows with
    its square. 0 if at least half of the pairs coincide."""
    check_samples(**{f"sample {i}": x for i, x in enumerate(samples)})
    pooled = jnp.concatenate([at_least_float32(x) for x in samples])
    rows = pooled.shape[0]
    if rows < 2:
        raise input_error("samples", got="1 row in all", expected="at least 2 rows: one row has no pairs")
    if rows > max_rows:
        pooled = pooled[(jnp.arange(max_rows) * rows) // max_rows]
    first, second = jnp.triu_indices(pooled.shape[0], k=1)
    return jnp.median(squared_distances(pooled)[first, second])


def paired_squared_distances(x: Array, y: Array) -> Array:
    """Squared distances ``[n]`` between corresponding rows of two ``[n, d]`` arrays, in O(nd)."""
    return jnp.sum(jnp.square(x - y), axis=-1)


# Gaussian kernels and their width.
#
# One kernel is ``k(a, b) = exp(−‖a − b‖² / (2 α σ²))``; several multipliers α are **summed**, not averaged. Three
# conventions are in circulation and all are reached from here:
#
# =============================== ======================== ================================
# convention                      ``bandwidth``            ``multipliers``
# =============================== ======================== ================================
# A: DAN as TLlib writes it       ``"mean"``               2^-3 … 2 (:data:`MULTIPLIERS`)
# B: ``exp(−‖·‖²/b_i)`` with      ``"mean_off_diagonal"``  the same; ``b_i = 2 α_i σ²``
# b averaged over distinct pairs
# C: median heuristic             ``"median"``             (1,)
# fixed ``exp(−γ‖·‖²)``           ``(2γ) ** -0.5``         (1,)
# =============================== ======================== ================================
#
# The width is always without gradient: otherwise a net would shrink the discrepancy by scaling its features.


MULTIPLIERS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""The five kernel widths of DAN, as multiples of the mean squared distance."""

Bandwidth = str | float | Array
"""Choice of a kernel's σ: a rule by name (see :data:`BANDWIDTHS`), or σ itself as a number or traced scalar."""

Multipliers = Sequence[float] | Array
"""Factors α of σ², one kernel each; a traced ``[K]`` array is welcome."""


def mean_off_diagonal_squared_distance(*samples: Array) -> Array:
    """Mean squared distance over the N² − N ordered pairs of distinct rows; 0 for a single row."""
    rows = sum(x.shape[0] for x in samples)
    return mean_squared_distance(*samples) * (rows / max(rows - 1, 1))


BANDWIDTHS: dict[str, Callable[..., Array]] = {
    "mean": mean_squared_distance,
    "mean_off_diagonal": mean_off_diagonal_squared_distance,
    "median": median_squared_distance,
}
"""Rules that turn samples into σ²."""


def kernel_variance(*samples: Array, bandwidth: Bandwidth = "mean") -> Array:
    """The σ² that a kernel discrepancy of these samples uses: the number to log with its value; without gradient.
    ``bandwidth`` is a rule's name in :data:`BANDWIDTHS`, or σ > 0 itself. A rule gives 0 for samples of equal rows."""
    if isinstance(bandwidth, str):
        return lax.stop_gradient(choose("bandwidth", bandwidth, BANDWIDTHS)(*samples))
    check_positive(bandwidth=bandwidth)
    sigma = jnp.asarray(bandwidth, at_least_float32(samples[0]).dtype)
    if sigma.ndim:
        raise input_error("bandwidth", got=f"shape {sigma.shape}", expected="a scalar σ or a rule's name")
    return lax.stop_gradient(jnp.square(sigma))


def check_multipliers(multipliers: Multipliers) -> int:
    """The number of kernels K, after checking that ``multipliers`` is a non-empty list of numbers > 0."""
    given: Any = multipliers
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise input_error("multipliers", got=repr(multipliers), expected="a list of numbers > 0")
    if not isinstance(multipliers, Array):
        check_positive(**{f"multipliers[{k}]": multiplier for k, multiplier in enumerate(multipliers)})
    factors = jnp.asarray(multipliers)
    if factors.ndim != 1 or factors.shape[0] < 1:
        raise input_error("multipliers", got=f"shape {factors.shape}", expected="a list or array [K] with K ≥ 1")
    return factors.shape[0]


def gaussian_mixture(squared: Array, *, variance: Array | float, multipliers: Multipliers = (1.0,)) -> Array:
    """Sum of Gaussian kernels ``Σ_k exp(−squared / (2 α_k variance))``, elementwise; in [0, K], K at distance 0. At
    variance 0 (all rows equal) every kernel is the constant 1, with gradient 0. ``multipliers`` are the α_k."""
    factors = lax.stop_gradient(jnp.asarray(multipliers, squared.dtype))
    variance = jnp.asarray(variance, squared.dtype)
    inverse = jnp.where(variance > 0, -0.5 / jnp.where(variance > 0, variance, 1), 0)
    # A Python loop, not an axis of length K: XLA then fuses the kernels over one [n, m] matrix of distances.
    total = jnp.zeros_like(squared)
    for k in range(factors.shape[0]):
        total = total + jnp.exp(squared * (inverse / factors[k]))
    return total


def gaussian_gram(
    x: Array, y: Array | None = None, *, bandwidth: Bandwidth = "mean", multipliers: Multipliers = (1.0,)
) -> Array:
    """Gram matrix ``[n, m]`` of a (mixture of) Gaussian kernels. ``y`` None means ``x`` itself; a rule for
    ``bandwidth`` applies to the pooled rows; several ``multipliers`` are summed."""
    check_multipliers(multipliers)
    squared = squared_distances(x, y)
    variance = kernel_variance(x, *(() if y is None else (y,)), bandwidth=bandwidth)
    return gaussian_mixture(squared, variance=variance, multipliers=multipliers)
