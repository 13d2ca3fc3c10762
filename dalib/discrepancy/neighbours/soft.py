"""Soft neighbourhood density: how many rows look alike to each row."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, safe_norm
from dalib.discrepancy.tiled import tile_rows


def soft_neighbourhood_density(x: Array, *, temperature: float | Array = 0.05, tile: int | None = None) -> Array:
    """SND: ``mean_i H(softmax over j ≠ i of ⟨v_i, v_j⟩ / T)`` with rows ``v = x/‖x‖``, in nats, from 0 to ln(n − 1). It
    is large where each row has many equally similar rows, as in dense clusters. As a validator it is maximised, on the
    target's softmax outputs or features. It **rewards collapse**: equal rows give ln(n − 1), with gradient 0. Values of
    different n cannot be compared. Source: Saito, Kim, Teterwak, Sclaroff, Darrell, Saenko, ICCV 2021, arXiv
    2108.10860.

    Args:
        x: ``[n, d]`` with n ≥ 2: features, or probabilities (as in the paper). Zeros are equally similar to all.
        temperature: T > 0.
        tile: as in :func:`~dalib.discrepancy.mmd.mmd2`, for memory O(n · (tile + d)).
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
    # A finite number for −∞: its product with the probability 0 is 0, where that of an infinity is NaN.
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
            # s is symmetric: it is in row i's softmax and in row j's.
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
