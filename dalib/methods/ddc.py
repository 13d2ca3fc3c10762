"""DDC: deep domain confusion, the distance between mean features."""

from typing import Any

from dalib.discrepancy import linear_mmd2
from dalib.methods.base import Method, term


def ddc(*, weight: Any = 0.25) -> Method:
    """Task loss + λ · ‖mean of source features − mean of target features‖² (Tzeng, Hoffman, Zhang, Saenko, Darrell,
    2014, arXiv 1412.3474, eq. 1 and 2; the distance squared).

    It matches only means; the scale grows with the square of the features. The paper aligns an adaptation layer of
    256 units after the encoder: the classifier's bottleneck.

    Args:
        weight: λ; the paper's is 0.25.

    Metrics: ``loss/ddc``, the term before weighting; 0 with gradient 0 at equal means.
    """
    return term("ddc", lambda v: linear_mmd2(v.source.features, v.target.features), weight=weight)
