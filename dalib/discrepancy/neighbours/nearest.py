"""Nearest neighbours: exact ones in tiles, and the divergence estimated from them."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_samples, input_error
from dalib.discrepancy.distances import (
    at_least_float32,
    centred,
    centred_squared_distances,
    mean_squared_distance,
    paired_squared_distances,
)
from dalib.discrepancy.tiled import tile_rows


class Neighbours(NamedTuple):
    """The k nearest rows of each row: squared distances ``[n, k]``, from near to far, and indices ``[n, k]`` int32."""

    squared: Array
    indices: Array


def nearest_neighbours(x: Array, y: Array | None = None, *, k: int = 1, tile: int | None = None) -> Neighbours:
    """The k nearest rows of ``y`` ``[m, d]`` for every row of ``x`` ``[n, d]``: squared distances and indices. The
    gradient holds the neighbours fixed, which is right wherever there is no tie. At a tie the lower index is the
    nearer; rows nearer to one another than rounding may change places.

    Args:
        x, y: samples; None for y means ``x`` itself, where no row is its own neighbour (an equal row is).
        k: from 1 to m, static; with ``y=None`` to n − 1.
        tile: rows of a tile, for memory O((n + m) · (tile + d)) in value and gradient; 0 builds the distance matrix;
            None chooses as :func:`~dalib.discrepancy.tiled.tile_rows` does.
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
            # Padded columns, and a row as its own neighbour.
            barred = (column >= m)[None] | (itself & (row[:, None] == column[None]))
            closeness = jnp.where(barred, -jnp.inf, -centred_squared_distances(of_x[i], of_y[j]))
            # The best so far come first: at a tie top_k takes the first.
            new, place = lax.top_k(closeness, min(k, tile))
            merged = jnp.concatenate([best[0], new], axis=1)
            names = jnp.concatenate([best[1], (j * tile + place).astype(jnp.int32)], axis=1)
            kept, place = lax.top_k(merged, k)
            return (kept, jnp.take_along_axis(names, place, axis=1)), None

        start = (jnp.full((tile, k), -jnp.inf, x.dtype), jnp.zeros((tile, k), jnp.int32))
        return lax.scan(better, start, jnp.arange(of_y.shape[0]))[0][1]

    return lax.map(of_block, jnp.arange(of_x.shape[0])).reshape(-1, k)[:n]


def same_sample_neighbours(x: Array, y: Array, *, k: int = 1, tile: int | None = None) -> Array:
    """Share of the k nearest neighbours, in the pooled rows, that come from the row's own sample; in [0, 1].
    Schilling's two-sample statistic (Multivariate Two-Sample Tests Based on Nearest Neighbors, Journal of the American
    Statistical Association 1986). Two samples of one distribution give ``(n(n − 1) + m(m − 1)) / (N(N − 1))`` in
    expectation, near ½ for n = m; separate samples give 1. Its gradient is 0. Equal rows everywhere give a number that
    depends on their order. k is from 1 to n + m − 1."""
    check_samples(x=x, y=y)
    pooled = lax.stop_gradient(jnp.concatenate([at_least_float32(x), at_least_float32(y)]))
    index = nearest_neighbours(pooled, k=k, tile=tile).indices
    of_x = jnp.arange(pooled.shape[0]) < x.shape[0]
    return jnp.mean(of_x[index] == of_x[:, None], dtype=pooled.dtype)


def nearest_neighbour_divergence(x: Array, y: Array, *, k: int = 1, tile: int | None = None) -> Array:
    """Estimate of KL(P ‖ Q) in nats from ``x ~ P``, ``y ~ Q``: ``d/n Σ_i ln(ν_k(i)/ρ_k(i)) + ln(m/(n − 1))``, n > k.
    ν_k(i) is the distance of x_i to its k-th nearest row of ``y``, ρ_k(i) that to its k-th nearest other row of ``x``;
    a larger k lowers the variance. Consistent in n and m for densities; **may be negative**, and slow to converge in
    many dimensions. Source: Wang, Kulkarni, Verdú, Divergence Estimation for Multidimensional Densities via
    k-Nearest-Neighbor Distances, IEEE Transactions on Information Theory 2009."""
    check_samples(x=x, y=y)
    x, y = at_least_float32(x), at_least_float32(y)
    across = nearest_neighbours(x, y, k=k, tile=tile).squared[:, -1]
    within = nearest_neighbours(x, k=k, tile=tile).squared[:, -1]
    spread = lax.stop_gradient(mean_squared_distance(x, y))
    # Distances below rounding count as that, without gradient: equal rows are finite, and all rows equal give ln(m/(n −
    # 1)).
    floor = jnp.where(spread > 0, spread * jnp.finfo(x.dtype).eps ** 2, 1)
    log = functools.partial(_log_at_least, floor)
    return 0.5 * x.shape[1] * jnp.mean(log(across) - log(within)) + math.log(y.shape[0] / (x.shape[0] - 1))


def _log_at_least(floor: Array, square: Array) -> Array:
    return jnp.log(jnp.where(square > floor, square, floor))
