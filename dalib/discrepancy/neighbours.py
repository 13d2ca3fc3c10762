"""Nearest neighbours: exact ones in tiles, the divergence estimated from them, and soft neighbourhood density."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import (
    at_least_float32,
    centred,
    centred_squared_distances,
    mean_squared_distance,
    paired_squared_distances,
    safe_norm,
)
from dalib.discrepancy.tiled import tile_rows


class Neighbours(NamedTuple):
    """The k nearest rows of each row: squared distances ``[n, k]``, from near to far, and indices ``[n, k]`` int32."""

    squared: Array
    indices: Array


def nearest_neighbours(x: Array, y: Array | None = None, *, k: int = 1, tile: int | None = None) -> Neighbours:
    """The k nearest rows of ``y`` for every row of ``x``.

    The gradient of the distances is that with the neighbours held fixed, which is their gradient wherever there is no
    tie. At a tie the lower index is the nearer; rows nearer to one another than rounding may change places.

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``; None means ``x`` itself, where no row is its own neighbour (an equal row is).
        k: from 1 to m, static; with ``y=None`` to n − 1.
        tile: rows of a tile, for memory O((n + m) · (tile + d)) in value and gradient; 0 builds the distance matrix;
            None chooses as :func:`~dalib.discrepancy.tiled.tile_rows` does.

    Returns:
        Squared distances, float32 or wider, and indices into ``y``.

    Raises:
        InputError: unless both are floating ``[·, d]`` arrays of one width, or on a k that is out of range.
    """
    check_samples(x=x, **({} if y is None else {"y": y}))
    itself = y is None
    x = at_least_float32(x)
    y = x if y is None else at_least_float32(y)
    available = y.shape[0] - itself
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= available:
        raise input_error("k", got=k, expected=f"an integer from 1 to {available}, the rows there are to choose from")
    rows = tile_rows(x.shape[0], y.shape[0], tile)
    first, second = lax.stop_gradient(centred(x, y))
    index = search_tiled(first, second, k, itself, rows) if rows else search_dense(first, second, k, itself)

    # Anew from the rows: exact where the search's |x|² + |y|² − 2xy cancels, and O(nd) for the backward pass, as each
    # of the k gathers is recomputed there.
    @jax.checkpoint
    def distances(column: Array) -> Array:
        return paired_squared_distances(x, y[column])

    return Neighbours(lax.map(distances, index.T).T, index)


def search_dense(x: Array, y: Array, k: int, itself: bool) -> Array:
    """Indices ``[n, k]`` of the nearest rows from the distance matrix ``[n, m]``."""
    square = centred_squared_distances(x, y)
    if itself:
        square = jnp.where(jnp.eye(x.shape[0], dtype=bool), jnp.inf, square)
    return lax.top_k(-square, k)[1].astype(jnp.int32)


def search_tiled(x: Array, y: Array, k: int, itself: bool, tile: int) -> Array:
    """:func:`search_dense` in tiles: a row keeps the k best of the columns seen so far."""
    n, m = x.shape[0], y.shape[0]

    def blocks(rows: Array) -> Array:
        return jnp.pad(rows, [(0, -rows.shape[0] % tile), (0, 0)]).reshape(-1, tile, rows.shape[1])

    of_x, of_y = blocks(x), blocks(y)

    def of_block(i: Array) -> Array:
        def better(best: tuple[Array, Array], j: Array) -> tuple[tuple[Array, Array], None]:
            row, column = i * tile + jnp.arange(tile), j * tile + jnp.arange(tile)
            barred = (column >= m)[None] | (itself & (row[:, None] == column[None]))
            closeness = jnp.where(barred, -jnp.inf, -centred_squared_distances(of_x[i], of_y[j]))
            # The best so far stand in front: at a tie top_k takes the first.
            new, place = lax.top_k(closeness, min(k, tile))
            merged = jnp.concatenate([best[0], new], axis=1)
            names = jnp.concatenate([best[1], (j * tile + place).astype(jnp.int32)], axis=1)
            kept, place = lax.top_k(merged, k)
            return (kept, jnp.take_along_axis(names, place, axis=1)), None

        start = (jnp.full((tile, k), -jnp.inf, x.dtype), jnp.zeros((tile, k), jnp.int32))
        return lax.scan(better, start, jnp.arange(of_y.shape[0]))[0][1]

    return lax.map(of_block, jnp.arange(of_x.shape[0])).reshape(-1, k)[:n]


def same_sample_neighbours(x: Array, y: Array, *, k: int = 1, tile: int | None = None) -> Array:
    """Share of the k nearest neighbours, in the pooled rows, that come from the row's own sample.

    Schilling's two-sample statistic. Two samples of one distribution give ``(n(n − 1) + m(m − 1)) / (N(N − 1))`` in
    expectation, near ½ for n = m; separate samples give 1. It is a step function: its gradient is 0.

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``; n and m may differ.
        k: from 1 to n + m − 1.
        tile: as in :func:`nearest_neighbours`.

    Returns:
        Scalar in [0, 1]. Equal rows everywhere give a number that depends on their order.

    Raises:
        InputError: as :func:`nearest_neighbours`.

    References:
        Schilling, Multivariate Two-Sample Tests Based on Nearest Neighbors, Journal of the American Statistical
        Association 1986.
    """
    check_samples(x=x, y=y)
    pooled = lax.stop_gradient(jnp.concatenate([at_least_float32(x), at_least_float32(y)]))
    index = nearest_neighbours(pooled, k=k, tile=tile).indices
    of_x = jnp.arange(pooled.shape[0]) < x.shape[0]
    return jnp.mean(of_x[index] == of_x[:, None], dtype=pooled.dtype)


def nearest_neighbour_divergence(x: Array, y: Array, *, k: int = 1, tile: int | None = None) -> Array:
    """Estimate of KL(P ‖ Q) from ``x ~ P`` and ``y ~ Q``: ``d/n Σ_i ln(ν_k(i)/ρ_k(i)) + ln(m/(n − 1))``.

    ν_k(i) is the distance of x_i to its k-th nearest row of ``y``, ρ_k(i) that to its k-th nearest other row of ``x``.
    Consistent in n and m for densities; **may be negative**, and slow to converge in many dimensions.

    Args:
        x: ``[n, d]`` with n > k.
        y: ``[m, d]`` with m ≥ k; n and m may differ.
        k: static; larger ones lower the variance.
        tile: as in :func:`nearest_neighbours`.

    Returns:
        Scalar in nats, float32 or wider. Distances below rounding (the dtype's epsilon of the root mean squared
        distance) count as that, without gradient, so equal rows are finite; all rows equal give ``ln(m/(n − 1))``.

    Raises:
        InputError: as :func:`nearest_neighbours`.

    References:
        Wang, Kulkarni, Verdú, Divergence Estimation for Multidimensional Densities via k-Nearest-Neighbor Distances,
        IEEE Transactions on Information Theory 2009.
    """
    check_samples(x=x, y=y)
    x, y = at_least_float32(x), at_least_float32(y)
    across = nearest_neighbours(x, y, k=k, tile=tile).squared[:, -1]
    within = nearest_neighbours(x, k=k, tile=tile).squared[:, -1]
    spread = lax.stop_gradient(mean_squared_distance(x, y))
    floor = jnp.where(spread > 0, spread * jnp.finfo(x.dtype).eps ** 2, 1)
    log = functools.partial(_log_at_least, floor)
    return 0.5 * x.shape[1] * jnp.mean(log(across) - log(within)) + math.log(y.shape[0] / (x.shape[0] - 1))


def _log_at_least(floor: Array, square: Array) -> Array:
    return jnp.log(jnp.where(square > floor, square, floor))


def soft_neighbourhood_density(x: Array, *, temperature: float | Array = 0.05, tile: int | None = None) -> Array:
    """SND: ``mean_i H(softmax over j ≠ i of ⟨v_i, v_j⟩ / T)`` with rows ``v = x/‖x‖``, in nats.

    Large where each row has many equally similar rows, as in dense clusters. As a validator it is maximised, on the
    target's softmax outputs or features; it **rewards collapse** (all rows equal have the largest value), and its
    range depends on n, so values of different n cannot be compared.

    Args:
        x: ``[n, d]`` with n ≥ 2: features, or probabilities (as in the paper). A row of zeros is equally similar, 0,
            to all.
        temperature: T > 0.
        tile: rows of a tile, for memory O(n · (tile + d)) in value and gradient; 0 builds the similarity matrix; None
            chooses as :func:`~dalib.discrepancy.tiled.tile_rows` does for n rows. The number is the same but for
            rounding. Tiles support first derivatives in reverse mode.

    Returns:
        Scalar from 0 to ln(n − 1), float32 or wider; ln(n − 1) with gradient 0 when all rows are equal.

    Raises:
        InputError: unless ``x`` is a floating ``[n, d]`` array with at least 2 rows, and T > 0.

    References:
        Saito, Kim, Teterwak, Sclaroff, Darrell, Saenko, Tune it the Right Way: Unsupervised Validation of Domain
        Adaptation via Soft Neighborhood Density, ICCV 2021, arXiv 2108.10860.
    """
    check_samples(x=x)
    check_positive(temperature=temperature)
    if x.shape[0] < 2:
        raise input_error("x", got="1 row", expected="at least 2 rows: one row has no neighbours")
    x = at_least_float32(x)
    norm = safe_norm(x)[:, None]
    # T goes into the rows, so that its gradient, too, comes through them.
    rows = x / jnp.where(norm > 0, norm, 1) * lax.rsqrt(jnp.asarray(temperature, x.dtype))
    if tile := tile_rows(x.shape[0], 0, tile):
        return jnp.mean(tiled_entropies(tile, rows))
    return jnp.mean(dense_entropies(rows))


def dense_entropies(rows: Array) -> Array:
    """Entropies ``[n]`` of the softmax over j ≠ i of ``⟨r_i, r_j⟩``, from the matrix ``[n, n]``."""
    similarity = jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST)
    # A finite stand-in for −∞: its product with the probability 0 is 0, where that of an infinity is NaN.
    similarity = jnp.where(jnp.eye(rows.shape[0], dtype=bool), jnp.finfo(rows.dtype).min / 2, similarity)
    log_q = jax.nn.log_softmax(similarity, axis=1)
    return -jnp.sum(jnp.exp(log_q) * log_q, axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tiled_entropies(tile: int, rows: Array) -> Array:
    """:func:`dense_entropies` in tiles: each row keeps the running maximum of its similarities s and two sums."""
    return _forward(tile, rows)[0]


def _forward(tile: int, rows: Array) -> tuple[Array, Any]:
    blocks, count = _blocks(rows, tile), rows.shape[0]

    def of_block(i: Array) -> tuple[Array, Array]:
        def add(carry: Any, j: Array) -> tuple[Any, None]:
            top, mass, moment = carry
            s, valid = _similarities(blocks, i, j, count)
            new = jnp.maximum(top, jnp.max(jnp.where(valid, s, lowest), axis=1))
            # Sums are of e^(s − top) and of (s − top) e^(s − top); both move along when the maximum does.
            shift = top - new
            e = jnp.where(valid, jnp.exp(jnp.where(valid, s - new[:, None], 0)), 0)
            old = jnp.exp(shift)
            moment = old * (moment + shift * mass) + jnp.sum(e * jnp.where(valid, s - new[:, None], 0), axis=1)
            return (new, old * mass + jnp.sum(e, axis=1), moment), None

        lowest = jnp.finfo(rows.dtype).min / 4
        start = (jnp.full(tile, lowest), *[jnp.zeros(tile, rows.dtype)] * 2)
        (top, mass, moment), _ = lax.scan(add, start, jnp.arange(len(blocks)))
        mass = jnp.where(mass > 0, mass, 1)  # of padded rows when there is but one row to compare with: unused
        return jnp.log(mass) - moment / mass, top + jnp.log(mass)

    entropies, log_sums = (z.reshape(-1) for z in lax.map(of_block, jnp.arange(len(blocks))))
    return entropies[:count], (rows, entropies, log_sums)


def _backward(tile: int, residuals: Any, cotangent: Array) -> tuple[Array]:
    rows, *statistics = residuals
    blocks, count = _blocks(rows, tile), rows.shape[0]
    entropies, log_sums = (z.reshape(-1, tile) for z in statistics)
    weights = jnp.pad(cotangent, (0, blocks.shape[0] * tile - count)).reshape(-1, tile)

    def slope(s: Array, valid: Array, i: Array) -> Array:
        """``∂ Σ_i g_i H_i / ∂s_ij = −g_i q_ij (ln q_ij + H_i)``, the softmax being along the second axis."""
        log_q = jnp.where(valid, s - log_sums[i][:, None], 0)
        return jnp.where(valid, -weights[i][:, None] * jnp.exp(log_q) * (log_q + entropies[i][:, None]), 0)

    def of_block(i: Array) -> Array:
        def add(total: Array, j: Array) -> tuple[Array, None]:
            s, valid = _similarities(blocks, i, j, count)
            # s is symmetric: it stands in row i's softmax and in row j's.
            both = slope(s, valid, i) + slope(s.T, valid.T, j).T
            return total + jnp.matmul(both, blocks[j], precision=lax.Precision.HIGHEST), None

        return lax.scan(add, jnp.zeros_like(blocks[0]), jnp.arange(len(blocks)))[0]

    return (lax.map(of_block, jnp.arange(len(blocks))).reshape(-1, rows.shape[1])[:count],)


tiled_entropies.defvjp(_forward, _backward)


def _blocks(rows: Array, tile: int) -> Array:
    """``[n, d]`` to ``[blocks, tile, d]``, padded with zeros."""
    return jnp.pad(rows, [(0, -rows.shape[0] % tile), (0, 0)]).reshape(-1, tile, rows.shape[1])


def _similarities(blocks: Array, i: Array, j: Array, count: int) -> tuple[Array, Array]:
    """Products ``[tile, tile]`` of two blocks' rows, and which of them are of two distinct rows, none padded."""
    tile = blocks.shape[1]
    first, second = i * tile + jnp.arange(tile), j * tile + jnp.arange(tile)
    valid = (first[:, None] != second[None]) & (first[:, None] < count) & (second[None] < count)
    return jnp.matmul(blocks[i], blocks[j].T, precision=lax.Precision.HIGHEST), valid
