"""Resampling of a learnt table of positions to another grid, in each way of published vision transformers.

All four are bicubic and separable, so each is one matrix for the rows and one for the columns. They differ in the
filter and in the places of the new points:

========== ============================== =================================================== ==========
name       used by                        source coordinate of the new point i                coefficient
========== ============================== =================================================== ==========
half_pixel transformers (all models)      (i + ½) · old / new − ½                             −0.75
offset     DINO's and DINOv2's own code   (i + ½) · old / (new + 0.1) − ½                     −0.75
antialias  timm                           as half_pixel; widened filter when shrinking        −0.5
corners    torchvision (on loading)       i · (old − 1) / (new − 1)                           −0.75
========== ============================== =================================================== ==========

Points outside the table take its border value, except with ``antialias``, where they are left out and the rest is
normalised. The coefficient is the one of Keys 1981, "Cubic convolution interpolation for digital image processing".
"""

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import choose
from dalib.core.types import Array

RESAMPLING: tuple[str, ...] = ("half_pixel", "offset", "antialias", "corners")


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _clamped(points: np.ndarray, old: int) -> np.ndarray:
    """Return four taps around each point; taps outside count for the border."""
    weights = np.zeros((len(points), old))
    first = np.floor(points).astype(int) - 1
    for tap in range(4):
        column = first + tap
        np.add.at(weights, (np.arange(len(points)), column.clip(0, old - 1)), _cubic(points - column, -0.75))
    return weights


def _antialias(old: int, new: int) -> np.ndarray:
    ratio = old / new
    width = max(ratio, 1.0)
    centres = (np.arange(new) + 0.5) * ratio
    weights = _cubic((np.arange(old) + 0.5 - centres[:, None]) / width, -0.5)
    return weights / weights.sum(1, keepdims=True)


def resampling_matrix(old: int, new: int, how: str) -> np.ndarray:
    """Return weights ``[new, old]`` of old points in new ones on one axis; ``how`` is a name of ``RESAMPLING``."""
    i = np.arange(new)
    table = {
        "half_pixel": lambda: _clamped((i + 0.5) * old / new - 0.5, old),
        "offset": lambda: _clamped((i + 0.5) * old / (new + 0.1) - 0.5, old),
        "antialias": lambda: _antialias(old, new),
        "corners": lambda: _clamped(i * (old - 1) / max(new - 1, 1), old),
    }
    return choose("resample", how, table)()


def resample_positions(positions: Array, grid: tuple[int, int], how: str) -> Array:
    """Resample a square table ``[side², d]`` (row by row) to ``[rows · columns, d]``, ``grid`` = (rows, columns)."""
    side = round(positions.shape[0] ** 0.5)
    rows, columns = (jnp.asarray(resampling_matrix(side, n, how), positions.dtype) for n in grid)
    table = positions.reshape(side, side, -1)
    # Full precision: the table is tiny and accelerators would multiply it in bfloat16 or TF32.
    moved = jnp.einsum("ri,cj,ijd->rcd", rows, columns, table, precision="highest")
    return moved.reshape(-1, positions.shape[-1])
