"""SWD: sliced Wasserstein distance between domains, or between two heads."""

from typing import Any

import jax

from dalib.discrepancy import sliced_wasserstein
from dalib.methods.base import Method, View, term
from dalib.methods.mcd import two_heads
from dalib.types import Array


def swd(*, weight: Any = 1.0, num_directions: int = 128, heads: bool = False, repeats: int = 4) -> Method:
    """Sliced Wasserstein discrepancy, squared, over fresh random directions at every step (Lee, Batra, Baig, Ulbricht,
    CVPR 2019, arXiv 1903.04064, eq. 4).

    ``heads=True`` is the paper's method: MCD's three updates with this distance between the
    softmax outputs of two heads on the target. The default aligns the features of the two domains by it: task loss +
    λ · distance, one update.

    Args:
        weight: λ.
        num_directions: M.
        heads: between two heads instead of between domains.
        repeats: with ``heads``, how often the encoder's update is done in a step.

    Metrics: ``loss/swd`` before weighting (with ``heads``: ``B/loss/swd``, ``C/loss/swd``, as :func:`mcd`); 0 for equal
    samples, whatever the order of their rows.
    """
    if heads:

        def between_heads(logits_1: Array, logits_2: Array, key: Array) -> Array:
            p, q = jax.nn.softmax(logits_1), jax.nn.softmax(logits_2)
            return sliced_wasserstein(p, q, key=key, num_directions=num_directions)

        return two_heads("swd", between_heads, weight=weight, repeats=repeats)

    def between_domains(v: View) -> Array:
        return sliced_wasserstein(v.source.features, v.target.features, key=v.key, num_directions=num_directions)

    return term("swd", between_domains, weight=weight)
