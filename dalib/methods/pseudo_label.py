"""Pseudo-labels: the net's own certain predictions as labels of the target."""

from typing import Any

from dalib.discrepancy import confident, pseudo_label_loss
from dalib.methods.base import Context, Forward, Method, Pass, weigh
from dalib.types import Params, PyTree


def pseudo_label(*, weight: Any = 1.0, threshold: Any = 0.95) -> Method:
    """Task loss + λ · mean over all target rows of 1[max p > τ] · CE(g_t, argmax p), labels behind stop_gradient (Lee,
    ICML Workshops 2013, eqs. 14 and 15). Closed set, semi-supervised.

    The mean is over all rows, not over those kept: the term fades in by itself. Lee keeps all rows and ramps λ up over
    the steps instead: ``threshold=0, weight=lambda context: 3 * jnp.clip((context.step - 100) / 500, 0, 1)``. The
    threshold is TLlib's.

    Args:
        weight: λ.
        threshold: τ in [0, 1).

    Metrics: ``loss/pseudo_label`` (0 when no row is kept), ``pseudo_label/kept`` (share of the rows).
    """

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        del params, forward
        logits = outputs.target.logits
        assert logits is not None
        value = pseudo_label_loss(logits, logits, threshold=threshold)
        kept = confident(logits, threshold=threshold).mean(dtype=value.dtype)
        return weigh(weight, context) * value, state, {"loss/pseudo_label": value, "pseudo_label/kept": kept}

    return Method("pseudo_label", penalty=penalty, per_example=True)
