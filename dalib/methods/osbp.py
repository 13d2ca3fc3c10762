"""OSBP: open-set adaptation by back-propagation, one more output for what is unknown."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.discrepancy import log_one_minus_probability
from dalib.methods.base import Method, Needs, View, weigh
from dalib.methods.reversal import Reversal, reverse_by
from dalib.types import Array, Metrics


def unknown_cross_entropy(logits: Array, *, boundary: float | Array = 0.5) -> Array:
    """``−t · mean ln p_unknown − (1 − t) · mean ln(1 − p_unknown)``, the last class being the unknown one.

    In log space: finite for any logits, where TLlib adds 1e-6 inside both logarithms.

    Args:
        logits: ``[n, C + 1]``.
        boundary: t in (0, 1).

    Returns:
        Scalar, least (ln 2 for t = ½) where p_unknown = t.
    """
    unknown = jax.nn.log_softmax(logits)[:, -1]
    known = log_one_minus_probability(logits, jnp.full(logits.shape[:1], logits.shape[1] - 1))
    return -(boundary * unknown + (1 - boundary) * known).mean()


def osbp(*, weight: Any = 1.0, boundary: Any = 0.5, reversal: Reversal = 1.0) -> Method:
    """Open-set adaptation: the head pulls the target's unknown probability to t, the encoder pushes it away from t.

    **The net has C + 1 outputs**: ``num_classes`` counts the unknown class, which is the last one; source labels lie in
    [0, C) and target examples of private classes are evaluated as class C (see :mod:`dalib.validate.open_set`). The
    task loss is over all C + 1 outputs. Target features pass a gradient reversal on their way to the head; a head with
    dropout draws it anew for this pass. Setting: the target has the source's classes and others.

    Args:
        weight: λ of the adversarial term; 1 in the paper.
        boundary: t, where the head pulls the unknown probability to.
        reversal: the reversal's coefficient, a number (1 in the paper and TLlib) or a function of the view.

    Metrics: ``loss/osbp``, ``osbp/unknown_probability`` (mean over the target), ``osbp/unknown`` (share of target rows
    predicted as unknown), ``osbp/reversal``.

    References:
        Saito, Yamamoto, Ushiku, Harada, ECCV 2018, arXiv 1804.10427, section 3.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        turned, coefficient = reverse_by(reversal, view, view.target.features)
        logits = view.head(turned, view.key)
        loss = unknown_cross_entropy(logits, boundary=boundary)
        metrics = {
            "loss/osbp": loss,
            "osbp/unknown_probability": jax.nn.softmax(logits)[:, -1].mean(),
            "osbp/unknown": (logits.argmax(-1) == logits.shape[1] - 1).mean(),
            "osbp/reversal": coefficient,
        }
        return weigh(weight, view) * loss, view, metrics

    needs = Needs(setting="open", batch_norm="separate", per_example=True, extra_outputs=1, rejects=True)
    return Method("osbp", penalties=(penalty,), needs=needs)
