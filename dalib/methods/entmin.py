"""Entropy minimisation: certain predictions on the target."""

from typing import Any

from dalib.discrepancy import mean_entropy
from dalib.methods.base import Context, Method, from_term
from dalib.types import Array, Outputs


def entmin(*, weight: Any = 0.1, epsilon: float = 0.0) -> Method:
    """Task loss + λ · mean H(p_t) (Grandvalet, Bengio, NIPS 2004, eq. 6). Closed set, semi-supervised.

    Alone it may put all target examples into one class: watch ``loss/entmin`` near 0 beside a falling validation
    score, add it to an alignment method with a λ of 0.01 to 0.1, or take :func:`dalib.methods.im`.

    Args:
        weight: λ.
        epsilon: added inside the logarithm; TLlib has 1e-5 there, the paper nothing.

    Metrics: ``loss/entmin``, in nats: 0 for one-hot predictions, ln C for uniform ones. One-hot logits have finite
    gradients.
    """

    def term(source: Outputs, labels: Array, target: Outputs, context: Context) -> Array:
        del source, labels, context
        assert target.logits is not None
        return mean_entropy(target.logits, epsilon=epsilon)

    return from_term("entmin", term, weight=weight, per_example=True)
