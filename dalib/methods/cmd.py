"""CMD: central moment discrepancy of bounded features."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalib import discrepancy
from dalib.checks import choose
from dalib.methods.base import Method, View, term
from dalib.types import Array

SQUASHES: dict[str, tuple[Callable[[Array], Array], tuple[float, float] | None]] = {
    "sigmoid": (jax.nn.sigmoid, (0.0, 1.0)),
    "tanh": (jnp.tanh, (-1.0, 1.0)),
    "none": (lambda x: x, None),
}
"""Functions that bound the features before their moments are taken, and the interval [a, b] that they map to."""


def cmd(
    *, weight: Any = 1.0, order: int = 5, squash: str = "sigmoid", interval: tuple[float, float] = (0.0, 1.0)
) -> Method:
    """Task loss + λ · central moment discrepancy of the features (Zellinger, Grubinger, Lughofer, Natschläger,
    Saminger-Platz, ICLR 2017, arXiv 1702.08811, definition 2).

    For classification and regression. The moments are those of features in [a, b], as after the paper's sigmoid layer.
    dalib's encoders end in ReLU, so a sigmoid follows; only this term sees it.

    Args:
        weight: λ.
        order: K, the highest moment.
        squash: "sigmoid" ([0, 1]), "tanh" ([−1, 1]) or "none" for a net whose features are bounded already.
        interval: (a, b) of the features when ``squash="none"``; otherwise not used.

    Metrics: ``loss/cmd``, the term before weighting; 0 with gradient 0 at equal moments.

    Raises:
        InputError: for another ``squash``, an order below 1, or an empty interval.
    """
    bound, fixed = choose("squash", squash, SQUASHES)

    def moments(view: View) -> Array:
        source, target = bound(view.source.features), bound(view.target.features)
        return discrepancy.cmd(source, target, order=order, interval=fixed or interval)

    return term("cmd", moments, weight=weight)
