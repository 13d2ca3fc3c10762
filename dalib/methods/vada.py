"""VADA: domain-adversarial training under the cluster assumption."""

from collections.abc import Sequence
from typing import Any

from dalib.methods.base import Method
from dalib.methods.combine import combine
from dalib.methods.dann import dann
from dalib.methods.entmin import entmin
from dalib.methods.vat import vat


def vada(
    *,
    adversarial: Any = 1e-2,
    source: Any = 1.0,
    target: Any = 1e-2,
    radius: Any = 3.5,
    hidden: Sequence[int] = (100,),
) -> Method:
    """Task loss + λ_d · DANN + λ_s · VAT(source) + λ_t · (VAT(target) + mean H(p_t)) (Shu, Bui, Narui, Ermon, ICLR
    2018, arXiv 1802.08735, eq. 9).

    A sum of :func:`dann`, :func:`vat` and :func:`entmin`, with their metrics. The authors train the discriminator by an
    update of its own, at full rate. Here DANN's reversal with the constant coefficient λ_d gives the same gradients in
    one update. There is no ``weight``: the three terms have their own.

    Args:
        adversarial: λ_d, on the features' path only.
        source: λ_s.
        target: λ_t.
        radius: ε of VAT, see there; it belongs to the scale of the inputs.
        hidden: widths of the discriminator.

    Metrics: those of the three, ``loss/dann``, ``dann/domain_accuracy``, ``loss/vat``, ``vat/source``, ``loss/entmin``.
    """
    return combine(
        dann(reversal=adversarial, hidden=hidden),
        vat(weight=target, source=source, radius=radius),
        entmin(weight=target),
        name="vada",
    )
