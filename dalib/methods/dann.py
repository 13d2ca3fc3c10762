"""DANN: domain-adversarial training by gradient reversal."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from dalib.methods.base import Method, Needs, Spec, View, weigh
from dalib.methods.discriminator import Discriminator, discriminate_both, domain_loss
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.types import Array, Metrics, Params, PyTree


def dann(
    *,
    weight: Any = 1.0,
    reversal: Reversal = dann_schedule,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Task loss + λ · domain loss of reversed features (Ganin et al., JMLR 2016, arXiv 1505.07818, eq. 10–18).

    The reversal's coefficient acts on the features' path only. The discriminator learns at full rate from the first
    step, while the encoder's adversarial gradient ramps up from exactly 0.

    Args:
        weight: λ of the whole domain loss; it slows the discriminator as well. Leave at 1 for the paper.
        reversal: the reversal's coefficient: a function of the view or a number.
        hidden: widths of the discriminator.
        norm: BatchNorm in the discriminator over both domains' rows together (TLlib has it, the paper does not).
        dropout: rate in the discriminator.

    Metrics: ``loss/dann`` (ln 2 at equilibrium), ``dann/domain_accuracy`` (0.5 at equilibrium), ``dann/reversal``.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        (source, target), coefficient = reverse_by(reversal, view, features)
        loss, accuracy = domain_loss(*discriminate_both(net, view.params["discriminator"], source, target, view.key))
        metrics = {"loss/dann": loss, "dann/domain_accuracy": accuracy, "dann/reversal": coefficient}
        return weigh(weight, view) * loss, view, metrics

    return Method("dann", init=init, penalties=(penalty,), needs=Needs(per_example=not norm))
