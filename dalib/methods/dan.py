"""DAN: deep adaptation network, multi-kernel MMD on the features."""

from typing import Any

from dalib.discrepancy import mk_mmd
from dalib.methods.base import Method, term


def dan(*, weight: Any = 1.0, estimator: str = "unbiased") -> Method:
    """Task loss + λ · MK-MMD² of the features (Long, Cao, Wang, Jordan, ICML 2015, arXiv 1502.02791, eq. 4).

    Five Gaussian kernels around the mean squared distance, summed with equal weights. The paper learns the weights by a
    quadratic programme; re-implementations do not.

    Args:
        weight: λ.
        estimator: of :func:`dalib.discrepancy.mk_mmd`; "unbiased" may be negative.
    """
    return term("dan", lambda v: mk_mmd(v.source.features, v.target.features, estimator=estimator), weight=weight)
