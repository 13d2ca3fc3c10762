"""The forms of MK-MMD that :mod:`experiments.benchmarks.discrepancy` measures, and the products beside them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dalib.discrepancy import MULTIPLIERS, mk_mmd
from dalib.discrepancy.tiled import DENSE_ROWS, tile_rows

SLAB = 4096
"""Rows of a product at a time: the product of 32768 rows is the work of eight slabs and need not be held whole."""


def inputs(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussian samples, the second shifted by 0.1 in every coordinate."""
    x, y = np.random.default_rng(0).standard_normal((2, rows, width), dtype=np.float32)
    return x, y + np.float32(0.1)


def products(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The three Gram products, in slabs of rows above :data:`SLAB`."""
    first, second = jnp.asarray(x), jnp.asarray(y)
    slab = min(SLAB, len(x))

    def product(a: jax.Array, start: jax.Array, b: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(a, start, slab)
        return jnp.matmul(rows, b.T, precision="highest")

    compiled = jax.jit(product).lower(first, jnp.int32(0), second).compile()

    def run() -> float:
        for a, b in ((first, first), (second, second), (first, second)):
            for start in range(0, len(x), slab):
                jax.block_until_ready(compiled(a, jnp.int32(start), b))
        return 0.0

    return run


def ours(tile: int | None) -> Callable[[np.ndarray, np.ndarray], Callable[[], float]]:
    """``mk_mmd`` with its gradients, by one choice of ``tile``."""

    def prepare(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
        arrays = jnp.asarray(x), jnp.asarray(y)
        compiled = (
            jax.jit(jax.value_and_grad(lambda x, y: mk_mmd(x, y, tile=tile), argnums=(0, 1))).lower(*arrays).compile()
        )
        return lambda: float(jax.block_until_ready(compiled(*arrays))[0])

    return prepare


def broadcast(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The same number in torch from all differences at once, with autograd."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    first, second = (torch.tensor(z, requires_grad=True) for z in (x, y))
    n = len(x)
    weights = torch.full((2 * n, 2 * n), -1 / n**2)
    weights[:n, :n] = weights[n:, n:] = 1 / (n * (n - 1))
    weights.fill_diagonal_(0)

    def run() -> float:
        first.grad = second.grad = None
        pooled = torch.cat([first, second])
        squared = ((pooled[:, None] - pooled[None]) ** 2).sum(2)
        variance = squared.detach().mean()
        kernels = sum(torch.exp(-squared / (2 * alpha * variance)) for alpha in MULTIPLIERS)
        value = (weights * kernels).sum()
        value.backward()
        return float(value.detach())

    return run


def tiled(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The tiles that are chosen automatically for large samples, also where the dense form would be."""
    return ours(tile_rows(DENSE_ROWS, DENSE_ROWS, None))(x, y)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], Callable[[], float]]] = {
    "products": products,
    "dense": ours(0),
    "tiled": tiled,
    "torch": broadcast,
}
