"""DD: disparity discrepancy for regression."""

from functools import partial
from typing import Any

from dalib.discrepancy import regression_disparity
from dalib.methods.base import Method, Needs
from dalib.methods.mdd import adversarial_head, mdd_schedule
from dalib.methods.reversal import Reversal


def dd(*, weight: Any = 1.0, margin: Any = 1.0, reversal: Reversal = mdd_schedule) -> Method:
    """Task loss − λ · (mean|a_t − g_t| − γ · mean|a_s − g_s|) of an adversarial head a after gradient reversal (Zhang,
    Liu, Long, Jordan, ICML 2019, arXiv 1904.05801, section 3, with the absolute error as disparity).

    The head's outputs g ``[n, k]`` are the predictions of :func:`dalib.tasks.regression`. g counts as fixed here, so
    only the task loss trains the head.

    Args:
        weight: λ of the whole disparity.
        margin: γ; 1 in TLlib's regression benchmarks.
        reversal: the reversal's coefficient: a function of the view or a number.

    Metrics: ``loss/dd``, minus the disparity (what the adversary minimises; of either sign), ``dd/reversal``.
    """
    disparity = partial(regression_disparity, margin=margin)
    needs = Needs("regression", per_example=True)
    return adversarial_head("dd", disparity, weight=weight, reversal=reversal, needs=needs)
