"""Entropy minimisation: certain predictions on the target."""

from typing import Any

from dalib.discrepancy import mean_entropy
from dalib.methods.base import Method, Needs, term


def entmin(*, weight: Any = 0.1, epsilon: float = 0.0) -> Method:
    """Task loss + λ · mean H(p_t) (Grandvalet, Bengio, NIPS 2004, eq. 6). It is also for semi-supervised learning.

    Alone it may put all target examples into one class: watch for ``loss/entmin`` near 0 with a falling validation
    score. Add it to an alignment method with a λ of 0.01 to 0.1, or take :func:`dalib.methods.im`.

    Args:
        weight: λ.
        epsilon: added inside the logarithm; TLlib has 1e-5 there, the paper nothing.

    Metrics: ``loss/entmin``, in nats: 0 for one-hot predictions, ln C for uniform ones. One-hot logits have finite
    gradients.
    """

    needs = Needs(per_example=True)
    return term("entmin", lambda v: mean_entropy(v.target.logits, epsilon=epsilon), weight=weight, needs=needs)
