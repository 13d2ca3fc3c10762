"""MCC: minimum class confusion on the target."""

from typing import Any

from dalib import discrepancy
from dalib.methods.base import Method, View, term
from dalib.types import Array


def mcc(*, weight: Any = 1.0, temperature: Any = 2.5, epsilon: float = 0.0) -> Method:
    """Task loss + λ · MCC(g_t) (Jin, Wang, Long, Wang, ECCV 2020, arXiv 1912.03699, eqs. 3 to 8). The paper uses it
    for closed, partial and several-source adaptation.

    The weight ``1 + e^{−H(p)}`` of a row has no gradient. The paper's and TLlib's settings: T 2.5 (VisDA 3;
    DomainNet 2 with λ 10).

    Args:
        weight: λ.
        temperature: T of ``p = softmax(g_t / T)``, a number > 0 or a traced scalar.
        epsilon: added inside the logarithm of the weights' entropy; TLlib has 1e-5, the paper nothing.

    Metrics: ``loss/mcc``, from 0 to (C − 1)/C. A class without any mass counts as wholly confused, 1/C: the limit.

    Raises:
        InputError: at the first step, for a temperature ≤ 0.
    """

    def confusion(view: View) -> Array:
        return discrepancy.mcc(view.target.logits, temperature=temperature, epsilon=epsilon)

    return term("mcc", confusion, weight=weight)
