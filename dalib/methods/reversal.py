"""Gradient reversal and its schedules (Ganin et al., JMLR 2016, §4.2 and §5.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalib.types import Array, PyTree

Reversal = Callable[[Array], Any] | Any
"""A reversal's coefficient: a function of progress in [0, 1], a number or a traced scalar."""


@jax.custom_vjp
def reverse_gradient(x: PyTree, coefficient: Array | float = 1.0) -> PyTree:
    """Identity whose gradient is multiplied by ``-coefficient``.

    The coefficient is an argument and not closed over, so that it may be traced: one compiled step serves a whole
    schedule. It gets no gradient itself.

    Args:
        x: an array or a tree of arrays.
        coefficient: λ ≥ 0, scalar.
    """
    del coefficient
    return x


def _forward(x, coefficient):
    return x, coefficient


def _backward(coefficient, g):
    return jax.tree.map(lambda leaf: -jnp.asarray(coefficient, leaf.dtype) * leaf, g), jnp.zeros_like(coefficient)


reverse_gradient.defvjp(_forward, _backward)


def reverse_by(reversal: Reversal, progress: Array, x: PyTree) -> tuple[Any, Array]:
    """``(x behind reversal, coefficient)`` with the coefficient that ``reversal`` has at this progress.

    ``x`` is an array or a tree of arrays, all of one dtype.
    """
    coefficient = jnp.asarray(reversal(progress) if callable(reversal) else reversal, jax.tree.leaves(x)[0].dtype)
    return reverse_gradient(x, coefficient), coefficient


def dann_schedule(progress: Array, *, gamma: float = 10.0, low: float = 0.0, high: float = 1.0) -> Array:
    """λ_p = 2/(1 + e^(−γp)) − 1, scaled to [low, high]; 0 at p = 0 and 0.9999 at p = 1 (Ganin et al. 2016, §5.2)."""
    return low + (high - low) * jnp.tanh(0.5 * gamma * jnp.asarray(progress))


def iteration_schedule(step: Array, *, alpha: float = 1.0, low: float = 0.0, high: float = 1.0, steps: int = 1000):
    """The ramp in iterations instead of progress: ``2(high−low)/(1 + e^(−α·step/steps)) − (high−low) + low``.

    It equals :func:`dann_schedule` with γ = 10 for a run of 10,000 steps (α 1, ``steps`` 1000).
    """
    return dann_schedule(jnp.asarray(step) / steps, gamma=alpha, low=low, high=high)
