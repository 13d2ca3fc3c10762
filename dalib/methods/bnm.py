"""BNM: batch nuclear-norm maximisation on the target's predictions."""

from typing import Any

from dalib import discrepancy
from dalib.checks import choose
from dalib.methods.base import Method, View, term
from dalib.types import Array

SCALES = {
    "rows": "the paper's ‖P‖_* / n",
    "mean": "the mean singular value ‖P‖_* / min(n, C), as DeepDA computes it",
}


def bnm(*, weight: Any = 1.0, fast: bool = False, scale: str = "rows") -> Method:
    """Task loss − λ · ‖softmax(g_t)‖_* / n (Cui, Wang, Zhuo, Li, Huang, Tian, CVPR 2020, arXiv 2003.12237, eq. 11).

    A large nuclear norm means certain and diverse predictions. The paper uses it for closed and open sets and for
    semi-supervised learning. Its gradient is U Vᵀ; at singular values of 0 (more
    classes than the batch predicts) it is finite.

    Args:
        weight: λ.
        fast: FBNM instead, the sum of the min(n, C) largest column norms over n: no eigendecomposition (Cui et al.
            2021, arXiv 2107.06154).
        scale: "rows" for the paper's 1/n; "mean" for the mean singular value (DeepDA), n / min(n, C) times as large.

    Metrics: ``loss/bnm``, negative, at least −√(min(n, C) / n) with "rows".

    Raises:
        InputError: for another ``scale``.
    """
    choose("scale", scale, SCALES)

    def norm(view: View) -> Array:
        logits = view.target.logits
        value = (discrepancy.fbnm if fast else discrepancy.bnm)(logits)
        return value if scale == "rows" else value * (logits.shape[0] / min(logits.shape))

    return term("bnm", norm, weight=weight)
