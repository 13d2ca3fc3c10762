"""Domain confusion: an encoder whose features make the discriminator indifferent."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.methods.base import Context, Forward, Method, Pass, Result, Spec, States, Update, supervised_loss, weigh
from dalib.methods.discriminator import Discriminator, discriminate_both, domain_loss
from dalib.types import Array, Batch, Params, PyTree


def confusion(
    *,
    weight: Any = 0.01,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Alternates a discriminator of fixed features and task loss + λ · confusion, the cross-entropy between the
    discriminator's output and a coin (Tzeng, Hoffman, Darrell, Saenko, ICCV 2015, arXiv 1510.02192, section 3.1).

    Closed-set adaptation. Per step two updates: ``discriminator`` on the domain loss of features behind stop_gradient;
    ``task`` on everything else, the discriminator held fixed. Reversal would send the encoder past indifference to
    swapped domains; confusion is least, ln 2, at indifference. The paper's second part, soft labels from a few labelled
    target examples, is not included.

    Args:
        weight: λ; the paper's is 0.01.
        hidden: widths of the discriminator; () gives the paper's linear one.
        norm: BatchNorm in the discriminator over both domains' rows together.
        dropout: rate in the discriminator.

    Metrics: ``discriminator/loss/domain`` and ``discriminator/confusion/domain_accuracy`` (ln 2 and 0.5 at
    equilibrium), ``task/loss/confusion`` (≥ ln 2).
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def domain_logits(discriminator: PyTree, outputs: Pass, key: Array) -> tuple[Array, Array]:
        return discriminate_both(net, discriminator, outputs.source.features, outputs.target.features, key)

    def discriminator_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        # The running statistics advance once per step, in the update of the net.
        outputs, _ = forward.pair(params, states.model, batch, context.key)
        key = jax.random.fold_in(context.key, 1)
        loss, accuracy = domain_loss(*domain_logits(params["discriminator"], jax.lax.stop_gradient(outputs), key))
        return Result(loss, states, {"loss/domain": loss, "confusion/domain_accuracy": accuracy})

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        del forward
        # −½ ln D − ½ ln(1 − D) from logits.
        source, target = domain_logits(params["discriminator"], outputs, context.key)
        value = 0.5 * sum((0.5 * (jax.nn.softplus(z) + jax.nn.softplus(-z))).mean() for z in (source, target))
        return weigh(weight, context) * value, state, {"loss/confusion": value}

    return Method(
        "confusion",
        init=init,
        penalty=penalty,
        updates=(
            Update("discriminator", discriminator_loss, ("discriminator",), joins=False),
            Update("task", supervised_loss, ("encoder", "bottleneck", "head")),
        ),
        per_example=not norm,
    )
