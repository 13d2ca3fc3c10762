"""Log-CORAL: geodesic distance between covariances."""

from typing import Any

from dalib import discrepancy
from dalib.checks import choose
from dalib.methods.base import Method, View, term
from dalib.types import Array


def log_coral(*, weight: Any = 1.0, layer: str = "features", epsilon: Any = 1e-2) -> Method:
    """Task loss + λ · ‖log(C_s + εI) − log(C_t + εI)‖²_F / 4d² (Wang, Li, Dai, Van Gool, ICCV-W 2017,
    arXiv 1707.09842; Morerio, Cavazza, Murino, ICLR 2018, arXiv 1711.10288, eq. 4).

    Unlike Deep CORAL it sees relative differences of variances, small directions included. It costs two
    eigendecompositions of ``[d, d]``: use it for bottlenecks of up to some hundreds. Morerio et al. choose λ by the
    smallest entropy of the target predictions; ``combine(log_coral(), entmin())`` adds that entropy to the loss.

    Args:
        weight: λ.
        layer: "features" or "logits".
        epsilon: ε relative to the mean variance; without it, fewer rows than features would have no logarithm. In
            float32 the error of the gradient grows as 1/ε.

    Metrics: ``loss/log_coral``, the term before weighting; 0 with gradient 0 for two constant samples.

    Raises:
        InputError: for another ``layer``; at the first step for a batch of one row.
    """
    choose("layer", layer, {"logits": 0, "features": 0})

    def distance(view: View) -> Array:
        return discrepancy.log_coral(getattr(view.source, layer), getattr(view.target, layer), epsilon=epsilon)

    return term("log_coral", distance, weight=weight)
