"""Pseudo-labels: the net's own certain predictions as labels of the target."""

from typing import Any

from dalib.discrepancy import confident, pseudo_label_loss
from dalib.methods.base import Method, Needs, View, term
from dalib.types import Array, Metrics


def pseudo_label(*, weight: Any = 1.0, threshold: Any = 0.95) -> Method:
    """Task loss + λ · mean over all target rows of 1[max p > τ] · CE(g_t, argmax p), labels held fixed (Lee,
    ICML Workshops 2013, eqs. 14 and 15, for semi-supervised learning).

    The mean is over all rows, not over those kept: the term fades in by itself. The threshold is TLlib's. Lee keeps all
    rows and ramps λ up over the steps instead:
    ``threshold=0, weight=lambda view: 3 * jnp.clip((view.step - 100) / 500, 0, 1)``.

    Args:
        weight: λ.
        threshold: τ in [0, 1).

    Metrics: ``loss/pseudo_label`` (0 when no row is kept), ``pseudo_label/kept`` (share of the rows).
    """

    def loss(view: View) -> tuple[Array, Metrics]:
        logits = view.target.logits
        value = pseudo_label_loss(logits, logits, threshold=threshold)
        return value, {"pseudo_label/kept": confident(logits, threshold=threshold).mean(dtype=value.dtype)}

    return term("pseudo_label", loss, weight=weight, needs=Needs(per_example=True))
