"""Domain confusion: an encoder whose features make the discriminator indifferent."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.methods.base import Method, Needs, Spec, Update, View, supervised_loss, weigh
from dalib.methods.discriminator import Discriminator, discriminate_both, domain_loss
from dalib.types import Array, Metrics, Params, PyTree


def confusion(
    *,
    weight: Any = 0.01,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Task loss + λ · confusion, the cross-entropy between a discriminator's output and a coin.

    Each step makes two updates: ``discriminator`` on the domain loss of fixed features, then ``task`` on everything
    else, with the discriminator held fixed. Reversal would send the encoder past indifference to swapped domains;
    confusion is least, ln 2, at indifference. The paper's second part, soft labels from a few labelled target examples,
    is not included.

    Args:
        weight: λ; the paper's is 0.01.
        hidden: widths of the discriminator; () gives the paper's linear one.
        norm: BatchNorm in the discriminator over both domains' rows together.
        dropout: rate in the discriminator.

    Metrics: ``discriminator/loss/domain`` and ``discriminator/confusion/domain_accuracy`` (ln 2 and 0.5 at
    equilibrium), ``task/loss/confusion`` (≥ ln 2).

    References:
        Tzeng, Hoffman, Darrell, Saenko, ICCV 2015, arXiv 1510.02192, section 3.1.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def discriminator_loss(view: View) -> tuple[Array, View, Metrics]:
        # The running statistics advance once per step, in the update of the net.
        seen = view.pair()
        source, target = jax.lax.stop_gradient((seen.source.features, seen.target.features))
        key = jax.random.fold_in(view.key, 1)
        loss, accuracy = domain_loss(*discriminate_both(net, view.params["discriminator"], source, target, key))
        return loss, view, {"loss/domain": loss, "confusion/domain_accuracy": accuracy}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        source, target = discriminate_both(net, view.params["discriminator"], *features, view.key)
        # −½ ln D − ½ ln(1 − D) from logits.
        halves = [(0.5 * (jax.nn.softplus(z) + jax.nn.softplus(-z))).mean() for z in (source, target)]
        value = 0.5 * (halves[0] + halves[1])
        return weigh(weight, view) * value, view, {"loss/confusion": value}

    return Method(
        "confusion",
        init=init,
        penalties=(penalty,),
        updates=(
            Update("discriminator", discriminator_loss, ("discriminator",), joins=False),
            Update("task", supervised_loss, ("encoder", "bottleneck", "head")),
        ),
        needs=Needs(per_example=not norm),
    )
