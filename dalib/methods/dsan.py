"""DSAN: deep subdomain adaptation, MMD class by class."""

from typing import Any

import jax

from dalib.discrepancy import class_mmd2
from dalib.methods.base import Method, View, term, weigh
from dalib.methods.reversal import Reversal, dann_schedule
from dalib.types import Array


def dsan(*, weight: Any = 0.5, ramp: Reversal = dann_schedule) -> Method:
    """Task loss + λ · ramp(progress) · local MMD² of the features (Zhu, Zhuang, Wang, Ke, Chen, Bian, Xiong, He,
    TNNLS 2020, arXiv 2106.09388, eqs. 6 to 8).

    Source rows count for their labels, target rows for each class by its predicted probability, without gradient. A
    batch in which no class has both a source row and a predicted target row gives 0.

    Args:
        weight: λ; the authors' is 0.5.
        ramp: factor as a function of the view, 2/(1 + e^(−10p)) − 1; or a number, 1 for none.

    Metrics: ``loss/dsan``, the local MMD² before weight and ramp.
    """

    def factor(view: View) -> Any:
        return weigh(weight, view) * weigh(ramp, view)

    def local(view: View) -> Array:
        probabilities = jax.nn.softmax(view.target.logits)
        return class_mmd2(view.source.features, view.target.features, view.labels, probabilities)

    return term("dsan", local, weight=factor)
