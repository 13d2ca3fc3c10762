"""Tests of alignment: one of the whole feature distributions, and distances class by class; no target label needed."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.discrepancy.distances import kernel_variance
from dalib.evaluate.inputs import classes_of, matrix


class MMDTest(NamedTuple):
    """A two-sample test: the biased MMD² and the share of permutations that reach it, in (0, 1]."""

    statistic: float
    p_value: float


def mmd_test(source: Any, target: Any, *, permutations: int = 200, tile: int = 512, seed: int = 0) -> MMDTest:
    """Permutation test of MMD² with a Gaussian kernel: small p-values say that the samples differ.

    The statistic is :func:`dalib.discrepancy.mmd2` of its defaults. A large sample finds any difference: read the
    p-value with the statistic. The least p-value is 1/(``permutations`` + 1). ``tile`` rows of the kernel matrix are
    made at a time; memory is O((n + m) · (tile + permutations)), and only rounding changes. Gretton et al., JMLR 2012.
    """
    x = matrix("source", source)
    y = matrix("target", target, columns=x.shape[1])
    if permutations < 1 or tile < 1:
        raise input_error("permutations", got=f"{permutations}, tile {tile}", expected="numbers ≥ 1")
    width = float(kernel_variance(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)))
    rows = np.concatenate([x, y])
    # Centred: squared distances from products lose digits where the rows are far from the origin.
    rows = rows - rows.mean(0)
    # MMD² is aᵀKa with a = 1/n on the source and −1/m on the target; a permutation permutes a.
    plain = np.repeat([1 / len(x), -1 / len(y)], [len(x), len(y)])
    rng = np.random.default_rng(seed)
    signs = np.stack([plain, *(rng.permutation(plain) for _ in range(permutations))], 1)
    square, found = (rows**2).sum(1), np.zeros(permutations + 1)
    for start in range(0, len(rows), tile):
        own = slice(start, start + tile)
        distance = np.maximum(square[own, None] + square[None] - 2 * rows[own] @ rows.T, 0)
        kernel = np.exp(-distance / (2 * width)) if width > 0 else np.ones_like(distance)
        found += (signs[own] * (kernel @ signs)).sum(0)
    # The sample itself counts as one permutation: no p-value is 0.
    reached = (found[1:] >= found[0] - 1e-12).sum()
    return MMDTest(float(found[0]), float((1 + reached) / (permutations + 1)))


class ClassDistances(NamedTuple):
    """Distances ``[C]`` of target class means to source class means, over the mean spread of the source's classes.

    ``own`` is to the same class, ``other`` to the nearest other one; where it is less, the class has moved there. NaN
    is for a class that is missing.
    """

    own: np.ndarray
    other: np.ndarray


def class_distances(source: Any, labels: Any, target: Any, predictions: Any, classes: int) -> ClassDistances:
    """Measure how far each predicted target class is from the source classes; C ≥ 2.

    Features are ``[n, d]`` and ``[m, d]``; true labels in place of ``predictions`` ``[m]`` make it an oracle's
    diagnostic.
    """
    if classes < 2:
        raise input_error("classes", got=classes, expected="at least 2")
    x = matrix("source", source)
    y = matrix("target", target, columns=x.shape[1])
    of_x = classes_of("labels", labels, classes=classes, rows=len(x))
    of_y = classes_of("predictions", predictions, classes=classes, rows=len(y))
    means_x, means_y = _means(x, of_x, classes), _means(y, of_y, classes)
    spread = np.sqrt(((x - means_x[of_x]) ** 2).sum(1).mean())
    distance = np.linalg.norm(means_y[:, None] - means_x[None], axis=2) / (spread if spread > 0 else 1)
    off = np.where(np.eye(classes, dtype=bool) | np.isnan(distance), np.inf, distance).min(1)
    return ClassDistances(np.diag(distance).copy(), np.where(np.isfinite(off), off, np.nan))


def _means(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    member = np.eye(classes)[labels]
    count = member.sum(0)[:, None]
    return np.where(count > 0, member.T @ rows / np.maximum(count, 1), np.nan)
