"""BSP: batch spectral penalisation of an adversarial method."""

from collections.abc import Callable
from typing import Any

from dalib import discrepancy
from dalib.methods.base import Method, View, term, weigh
from dalib.methods.combine import combine
from dalib.methods.dann import dann
from dalib.types import Array


def spectral_penalty(*, weight: Any = 2e-4, count: int = 1) -> Method:
    """Task loss + β · sum of the ``count`` largest squared singular values of each domain's features.

    It is the penalty of :func:`bsp` without an adversary, for sums of one's own.

    Args:
        weight: β, see :func:`bsp`.
        count: k, at most the number of rows and of features.

    Metrics: ``loss/spectral``, the term before weighting.
    """

    def spectral(view: View) -> Array:
        return discrepancy.bsp(view.source.features, count=count) + discrepancy.bsp(view.target.features, count=count)

    return term("spectral", spectral, weight=weight)


def bsp(*, weight: Any = 1.0, strength: Any = 2e-4, count: int = 1, adversary: Callable[..., Method] = dann) -> Method:
    """DANN + BSP: task loss + λ · (domain loss of reversed features + β · :func:`spectral_penalty`'s term).

    The penalty keeps a few leading directions from carrying all that transfers. It is a sum over the batch, so β
    belongs to a batch size: TLlib's 2e-4 (1e-4 for digits) to 32 rows per domain (128). At equal singular values the
    gradient is one of the subgradients; features of 0 give 0.

    Args:
        weight: λ of everything but the task loss.
        strength: β.
        count: k, how many singular values of each domain.
        adversary: the adversarial method, ``weight=... -> Method``: ``cdan`` gives the paper's CDAN + BSP.

    Metrics: those of the adversary, and ``loss/spectral``, the penalty before β.

    Raises:
        InputError: at the first step, when ``count`` exceeds the rows or features.

    References:
        Chen, Wang, Long, Wang, ICML 2019, eq. 6.
    """

    def spectral_weight(view: View) -> Any:
        return weigh(weight, view) * weigh(strength, view)

    return combine(adversary(weight=weight), spectral_penalty(weight=spectral_weight, count=count), name="bsp")
