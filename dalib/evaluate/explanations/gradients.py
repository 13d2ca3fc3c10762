"""Explanations from gradients: integrated gradients of any input, Grad-CAM of a convolutional net's maps.

A score is a pure function ``inputs [n, ...] -> [n]``, each example's by itself, and in evaluation mode.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dalib.core.checks import input_error

Score = Callable[[Array], Array]


def check_score(score: Score, inputs: Any, name: str = "inputs") -> Array:
    """Return floating inputs, if the score gives one number an example; else raise an InputError."""
    x = jnp.asarray(inputs)
    if x.ndim < 2 or not len(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        todo = "convert images to floats; of tokens explain the embeddings"
        raise input_error(name, got=f"{x.dtype}{list(x.shape)}", expected="floating [n, ...] with n ≥ 1", todo=todo)
    found = jax.eval_shape(score, x)
    if found.shape != x.shape[:1]:
        raise input_error("score", got=f"shape {found.shape}", expected=f"{x.shape[:1]}, one number an example")
    return x


def integrated_gradients(score: Score, inputs: Any, *, baseline: Any = 0.0, steps: int = 32) -> Array:
    """Measure how much each entry adds to the score, on the straight way from a baseline; ``[n, ...]``.

    Completeness: attributions of an example sum to ``score(input) − score(baseline)``, up to the rule's error. Check
    it, and take more steps where it is missed. ``baseline`` has the inputs' shape or is broadcast to it: black, the
    mean, a blurred image, an empty text. ``steps`` are points of Gauss and Legendre's rule, exact for scores that are
    polynomials of degree 2 · steps. Sundararajan, Taly, Yan, ICML 2017, arXiv 1703.01365.
    """
    x = check_score(score, inputs)
    if steps < 1:
        raise input_error("steps", got=steps, expected="a number ≥ 1")
    start = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    points, weights = np.polynomial.legendre.leggauss(steps)
    slope = jax.grad(lambda z: jnp.sum(score(z)))

    # A scan keeps one point's gradient in memory at a time.
    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        point, weight = at
        return total + weight * slope(start + point * (x - start)), None

    rule = (jnp.asarray((points + 1) / 2, x.dtype), jnp.asarray(weights / 2, x.dtype))
    return (x - start) * jax.lax.scan(add, jnp.zeros_like(x), rule)[0]


def grad_cam(score_of_maps: Score, maps: Any) -> Array:
    """Sum a layer's ``maps`` weighted by their mean gradients; the positive part is where they speak for the score.

    ``score_of_maps`` is the rest of the net, from maps ``[n, h, w, c]`` (or ``[n, t, c]`` of series) to ``[n]``. The
    result is ``[n, h, w]`` (``[n, t]``), ≥ 0, not scaled. Selvaraju et al., ICCV 2017, arXiv 1610.02391.
    """
    x = check_score(score_of_maps, maps, "maps")
    if x.ndim < 3:
        raise input_error("maps", got=f"shape {x.shape}", expected="[n, h, w, c] or [n, t, c]")
    slope = jax.grad(lambda z: jnp.sum(score_of_maps(z)))(x)
    weights = slope.mean(tuple(range(1, x.ndim - 1)), keepdims=True)
    return jnp.maximum(jnp.sum(weights * x, axis=-1), 0)
