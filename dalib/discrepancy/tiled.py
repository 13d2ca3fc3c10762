"""Sums over all pairs of rows without a pair matrix: memory O(N · tile), forward and backward.

The sum is a scalar, so its gradient can be accumulated in the same sweep over the tiles: nothing is stored or made
twice.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dalib.core.checks import input_error
from dalib.core.platform import devices, platform

CPU_DENSE_ROWS, CPU_TILE_ROWS = 1024, 256
"""On a CPU: rows in all (n + m) up to which a discrepancy builds its pair matrices, and rows of a tile above.

Measured on two busy cores, as multiples of three Gram products, value and gradient of MK-MMD. With n = m = 512 rows of
256 columns tiles of 256 rows take 3.8, of 512 rows 4.2, the pair matrices 3.9; with 1024 rows 3.2, 3.5 and 6.1; with
4096 rows 2.3 and 2.1. With 1024 rows of 2048 columns 2.5, 3.3 and 3.9. Tiles of 1024 rows and more were slower.
"""

DENSE_ROWS, TILE_ROWS = 4096, 2048
"""The same on accelerators, where small tiles would not fill the device (a judgement, not a measurement)."""

Gram = Callable[[Any, Any, Any], Array]
"""``(parameters, rows [t, ...], rows [u, ...]) -> [t, u]``; symmetric; closes over no traced value."""


def tile_rows(n: int, m: int, tile: int | None) -> int:
    """Rows of a tile for samples of n and m rows, or 0 for the dense form. ``tile`` is the caller's wish: rows, 0 for
    dense, None for automatic: dense up to ``n + m`` = :data:`CPU_DENSE_ROWS` or :data:`DENSE_ROWS`, by the platform
    traced for, and tiles above."""
    if tile is None:
        dense, tiled = (DENSE_ROWS, TILE_ROWS) if platform() != "cpu" else (CPU_DENSE_ROWS, CPU_TILE_ROWS)
        # Over k devices each holds a k-th of the pair matrices, so √k times as many rows fit; tiles come one after the
        # other and are not shared out.
        return tiled if n + m > dense * devices() ** 0.5 else 0
    if not isinstance(tile, int) or tile < 0:
        raise input_error("tile", got=tile, expected="rows of a tile, 0 for the dense form, None for automatic")
    return min(tile, n + m)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def pair_sum(gram: Gram, distinct: bool, tile: int, parameters: Any, rows: Any, left: Array, right: Array) -> Array:
    """``Σ_ij (left_i · right_j) gram(rows_i, rows_j)`` over all ordered pairs of N rows, tile by tile. The gradient of
    ``rows`` is exact; those of ``parameters`` and weights are 0. First derivatives in reverse mode only.

    Args:
        gram: the symmetric kernel.
        distinct: leaves out the pairs i = j.
        tile: rows of a tile.
        parameters: pytree of kernel widths and the like.
        rows: pytree of ``[N, ...]`` arrays.
        left, right: ``[N, r]``; ``left_i · right_j`` must be symmetric: tiles below the diagonal are skipped.
    """
    return _sweep(gram, distinct, tile, parameters, rows, left, right, with_gradient=False)[0]


def _forward(gram, distinct, tile, parameters, rows, left, right):
    value, gradient = _sweep(gram, distinct, tile, parameters, rows, left, right, with_gradient=True)
    return value, (gradient, parameters, left, right)


def _backward(gram, distinct, tile, residuals, cotangent):
    del gram, distinct, tile
    gradient, *constants = residuals
    zeros = jax.tree.map(jnp.zeros_like, constants)
    return zeros[0], jax.tree.map(lambda g: cotangent * g, gradient), *zeros[1:]


pair_sum.defvjp(_forward, _backward)


def _sweep(
    gram: Gram, distinct: bool, tile: int, parameters: Any, rows: Any, left: Array, right: Array, *, with_gradient: bool
) -> tuple[Array, Any]:
    """Value and, if asked for, gradient with respect to ``rows`` (else None)."""
    count = left.shape[0]
    blocks = -(-count // tile)

    def pad(leaf: Array) -> Array:  # with zero weights, so that padded rows count for nothing
        return jnp.pad(leaf, [(0, blocks * tile - count)] + [(0, 0)] * (leaf.ndim - 1))

    rows, left, right = jax.tree.map(pad, (rows, left, right))
    block = functools.partial(_block, tile=tile)

    def on_diagonal(carry: Any, i: Array) -> tuple[Any, None]:
        value, lost, gradient = carry
        fixed = block(rows, i)
        weights = _inner_products(block(left, i), block(right, i))
        if distinct:
            weights = jnp.where(jnp.eye(tile, dtype=bool), 0, weights)

        def tile_sum(a: Any) -> Array:
            return jnp.sum(jnp.sum(weights * gram(parameters, a, fixed), axis=1))

        if with_gradient:
            # By symmetry the rows' part as second argument is the same again: one product of matrices less.
            part, pull = jax.vjp(tile_sum, fixed)
            (twice,) = pull(jnp.full_like(part, 2))
            gradient = _add_block(gradient, twice, i, tile)
        else:
            part = tile_sum(fixed)
        return (*_add_part(value, lost, part), gradient), None

    def above(carry: Any, pair: Any) -> tuple[Any, None]:
        i, j = pair
        value, lost, gradient = carry
        weights = 2 * _inner_products(block(left, i), block(right, j))

        def tile_sum(a: Any, b: Any) -> Array:
            return jnp.sum(jnp.sum(weights * gram(parameters, a, b), axis=1))

        if with_gradient:
            part, pull = jax.vjp(tile_sum, block(rows, i), block(rows, j))
            for_i, for_j = pull(jnp.ones_like(part))
            gradient = _add_block(_add_block(gradient, for_i, i, tile), for_j, j, tile)
        else:
            part = tile_sum(block(rows, i), block(rows, j))
        return (*_add_part(value, lost, part), gradient), None

    zero = jnp.zeros((), left.dtype)
    carry: Any = (zero, zero, jax.tree.map(jnp.zeros_like, rows) if with_gradient else None)
    carry, _ = lax.scan(on_diagonal, carry, jnp.arange(blocks))
    if blocks > 1:
        carry, _ = lax.scan(above, carry, np.triu_indices(blocks, k=1))
    value, _, gradient = carry
    return value, jax.tree.map(lambda leaf: leaf[:count], gradient)


def _block(tree: Any, index: Array, tile: int) -> Any:
    """Rows of tile ``index`` of every leaf."""
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, index * tile, tile), tree)


def _add_block(total: Any, part: Any, index: Array, tile: int) -> Any:
    """``total`` with ``part`` added to the rows of tile ``index``."""

    def add(t: Array, p: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(t, _block(t, index, tile) + p, index * tile, 0)

    return jax.tree.map(add, total, part)


def _add_part(value: Array, lost: Array, part: Array) -> tuple[Array, Array]:
    """Compensated summation: parts of both signs nearly cancel, and there may be thousands of them."""
    corrected = part - lost
    total = value + corrected
    return total, (total - value) - corrected


def _inner_products(left: Array, right: Array) -> Array:
    """``left_i · right_j`` for all pairs; few columns as sums of outer products, which fuse into what uses them."""
    columns = left.shape[1]
    if columns > 4:
        return jnp.matmul(left, right.T, precision=lax.Precision.HIGHEST)
    return sum((left[:, c, None] * right[None, :, c] for c in range(columns)), start=jnp.zeros((), left.dtype))
