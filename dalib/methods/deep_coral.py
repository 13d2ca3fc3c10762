"""Deep CORAL: second-order statistics of the features."""

from typing import Any

from dalib.checks import choose
from dalib.discrepancy import coral
from dalib.methods.base import Method, View, term
from dalib.types import Array


def deep_coral(*, weight: Any = 1.0, layer: str = "logits", mean_term: bool = False) -> Method:
    """Task loss + λ · ‖C_s − C_t‖²_F / 4d² (Sun, Saenko, ECCV-W 2016, arXiv 1607.01719, eq. 1 and 6).

    The paper aligns the last layer and chooses λ so that both losses end at the same order. The scale 1/4d² means that
    λ must grow with d² when another layer is aligned.

    Args:
        weight: λ.
        layer: "logits" as in the paper (d = C), or "features" as in later libraries.
        mean_term: adds ‖μ_s − μ_t‖²/d and drops the factor 1/4, as TLlib computes it.

    Raises:
        InputError: for another ``layer``.
    """
    choose("layer", layer, {"logits": 0, "features": 0})

    def distance(view: View) -> Array:
        return coral(getattr(view.source, layer), getattr(view.target, layer), mean_term=mean_term)

    return term("deep_coral", distance, weight=weight)
