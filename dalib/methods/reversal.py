"""Gradient reversal and its schedules (Ganin et al., JMLR 2016, §4.2 and §5.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalib.types import Array, PyTree

Reversal = Callable[[Any], Any] | Any
"""A reversal's coefficient: a number, a traced scalar, or a function of a :class:`~dalib.types.Time` or view."""


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


def reverse_by(reversal: Reversal, time: Any, x: PyTree) -> tuple[Any, Array]:
    """``(x behind reversal, coefficient)`` with the coefficient that ``reversal`` has at this step.

    ``x`` is an array or a tree of arrays, all of one dtype.
    """
    coefficient = jnp.asarray(reversal(time) if callable(reversal) else reversal, jax.tree.leaves(x)[0].dtype)
    return reverse_gradient(x, coefficient), coefficient


def dann_schedule(time: Any, *, gamma: float = 10.0, low: float = 0.0, high: float = 1.0) -> Array:
    """λ_p = 2/(1 + e^(−γp)) − 1, scaled to [low, high]; 0 at p = 0 and 0.9999 at p = 1 (Ganin et al. 2016, §5.2).

    Args:
        time: anything with ``progress``, such as a :class:`~dalib.types.Time` or a view.
        gamma, low, high: γ and the range.
    """
    return ramp(time.progress, gamma=gamma, low=low, high=high)


def ramp(x: Any, *, gamma: float = 1.0, low: float = 0.0, high: float = 1.0) -> Array:
    """low + (high − low) · tanh(γx/2), the S-shaped ramp of all reversals."""
    return low + (high - low) * jnp.tanh(0.5 * gamma * jnp.asarray(x))


def iteration_schedule(
    time: Any, *, alpha: float = 1.0, low: float = 0.0, high: float = 1.0, steps: int = 1000
) -> Array:
    """The ramp in iterations: ``2(high−low)/(1 + e^(−α·step/steps)) − (high−low) + low`` (TLlib's warm start).

    It equals :func:`dann_schedule` with γ = 10 for a run of 10,000 steps (α 1, ``steps`` 1000).

    Args:
        time: anything with ``step``.
        alpha, low, high, steps: α, the range, and the iterations of one unit.
    """
    return ramp(jnp.asarray(time.step) / steps, gamma=alpha, low=low, high=high)
