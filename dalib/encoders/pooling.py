"""Poolings on NHWC maps whose windows follow torch's rules on every size: rounded up, or to a fixed number of cells."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from dalib.types import Array


def max_pool(x: Array, size: int, stride: int, *, padding: int = 0, ceil: bool = False) -> Array:
    """Maximum over ``size`` × ``size`` windows of ``[n, h, w, c]``; what lies outside counts as −∞.

    Args:
        x: ``[n, h, w, c]``, sides of at least ``size - 2 * padding``.
        size: side of the window.
        stride: step of the window.
        padding: rows and columns added on every side.
        ceil: the last window may reach over the edge (torch's ``ceil_mode``, Caffe's only mode) as long as it starts
            inside the map or the padding before it.
    """
    return nn.max_pool(x, (size, size), (stride, stride), [_pads(n, size, stride, padding, ceil) for n in x.shape[1:3]])


def _pads(side: int, size: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    if not ceil:
        return padding, padding
    last = -(-(side + 2 * padding - size) // stride) * stride
    if last >= side + padding:
        last -= stride
    return padding, max(last + size - side - padding, 0)


def adaptive_average_pool(x: Array, cells: int) -> Array:
    """Means over ``cells`` × ``cells`` regions that cover ``[n, h, w, c]``, overlapping where the sides do not divide.

    Region i of a side of h pixels is [⌊i·h/cells⌋, ⌈(i+1)·h/cells⌉), as in torch; a side of ``cells`` pixels is left as
    it is, a shorter one is repeated.

    Returns:
        ``[n, cells, cells, c]``.
    """
    height, width = x.shape[1:3]
    if height != cells:
        x = jnp.einsum("ih,nhwc->niwc", jnp.asarray(_means(height, cells), x.dtype), x)
    if width != cells:
        x = jnp.einsum("jw,niwc->nijc", jnp.asarray(_means(width, cells), x.dtype), x)
    return x


def _means(side: int, cells: int) -> np.ndarray:
    """``[cells, side]``: row i averages the pixels of region i."""
    weights = np.zeros((cells, side))
    for i in range(cells):
        start, stop = i * side // cells, -(-(i + 1) * side // cells)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
