"""Information maximisation: predictions that are certain one by one and spread evenly over the classes."""

from typing import Any

from dalib.discrepancy import mean_entropy, mutual_information
from dalib.methods.base import Method, View, term
from dalib.types import Array, Metrics


def im(*, weight: Any = 1.0, diversity: Any = 1.0) -> Method:
    """Task loss + λ · (mean H(p_t) − δ · H(p̄_t)) (Krause, Perona, Gomes, NIPS 2010, eq. 3; Shi, Sha, ICML 2012).

    It is also a part of SHOT, which is source-free. It presumes that the target's classes are about equally frequent; p̄
    is the mean over the global batch.

    Args:
        weight: λ.
        diversity: δ of the entropy of the mean prediction; 1 in the papers, 0 for partial domain adaptation, where
            not every class is there.

    Metrics: ``loss/im`` (from −ln C, at best, to ln C for δ = 1), ``im/entropy`` = mean H(p) and ``im/diversity`` =
    H(p̄), both in nats. One-hot logits give finite gradients.
    """

    def information(view: View) -> tuple[Array, Metrics]:
        entropy = mean_entropy(view.target.logits)
        spread = mutual_information(view.target.logits) + entropy
        return entropy - diversity * spread, {"im/entropy": entropy, "im/diversity": spread}

    return term("im", information, weight=weight)
