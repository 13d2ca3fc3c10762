"""Neighbouring examples: duplicates between domains, nearest source examples, and those that adaptation changed."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.discrepancy import nearest_neighbours
from dalib.evaluate.inputs import class_scores, matrix, softmax


class Nearest(NamedTuple):
    """The k nearest source examples of each target example: rows ``[m, k]`` and cosines ``[m, k]``, best first."""

    rows: np.ndarray
    cosine: np.ndarray


def nearest_sources(source: Any, target: Any, *, k: int = 1) -> Nearest:
    """Find the k ≤ n source rows ``[n, d]`` nearest to each target row ``[m, d]``, by cosine; tiled where large."""
    x = matrix("source", source)
    x, y = (_unit(rows) for rows in (x, matrix("target", target, columns=x.shape[1])))
    rows = np.asarray(nearest_neighbours(jnp.asarray(y, jnp.float32), jnp.asarray(x, jnp.float32), k=k).indices)
    return Nearest(rows, np.einsum("md,mkd->mk", y, x[rows]))


class Duplicates(NamedTuple):
    """Target rows ``[p]``, the source row ``[p]`` that each repeats, and their cosines ``[p]``, most alike first."""

    target: np.ndarray
    source: np.ndarray
    cosine: np.ndarray


def near_duplicates(source: Any, target: Any, *, threshold: float = 0.999) -> Duplicates:
    """Find target examples that nearly repeat a source example: a leak, if the source's labels are the target's.

    ``source`` ``[n, d]`` and ``target`` ``[m, d]`` are flattened inputs or features; ``threshold`` is the least cosine
    in (0, 1]: 0.999 suits pixels, features of a trained net need a look first.
    """
    if not 0 < threshold <= 1:
        raise input_error("threshold", got=threshold, expected="a cosine in (0, 1]")
    rows, cosine = (found[:, 0] for found in nearest_sources(source, target))
    # A tolerance: identical rows have a cosine of 1 but for rounding.
    at = np.flatnonzero(cosine >= threshold - 1e-9)
    at = at[np.argsort(-cosine[at], kind="stable")]
    return Duplicates(at, rows[at], cosine[at])


class Changed(NamedTuple):
    """Target rows ``[k]`` by how far their predictions moved, that distance, and the classes before and after."""

    rows: np.ndarray
    distance: np.ndarray
    before: np.ndarray
    after: np.ndarray


def most_changed(before: Any, after: Any, *, k: int = 20) -> Changed:
    """Find the at most k examples with the most changed prediction, by total variation ``½‖p − q‖₁``.

    ``before`` are logits ``[n, C]`` of source-only, ``after`` those of the adapted model.
    """
    z = class_scores("before", before)
    q = class_scores("after", after, rows=len(z), classes=z.shape[1])
    if k < 1:
        raise input_error("k", got=k, expected="a number ≥ 1")
    distance = np.abs(softmax(z) - softmax(q)).sum(1) / 2
    rows = np.argsort(-distance, kind="stable")[:k]
    return Changed(rows, distance[rows], z.argmax(1)[rows], q.argmax(1)[rows])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
