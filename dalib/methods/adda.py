"""ADDA: adversarial discriminative domain adaptation, a target encoder beside a frozen source net."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dalib.checks import choose
from dalib.methods.base import Context, Forward, Method, Pass, Result, Spec, States, Update, weigh
from dalib.methods.discriminator import Discriminator, discriminate, domain_loss
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.types import Array, Batch, Outputs, Params, PyTree

VARIANTS = {
    "paper": "inverted labels, discriminator and encoder by turns",
    "tllib": "gradient reversal, one update",
}
LAYERS = {"features": ("encoder", "bottleneck"), "logits": ("encoder", "bottleneck", "head")}
"""What the discriminator may see, and the groups of the net that are then the target's own."""


def tllib_schedule(progress: Array) -> Array:
    """:func:`dann_schedule` from 0 to 2."""
    return dann_schedule(progress, high=2.0)


def adda(
    *,
    weight: Any = 1.0,
    variant: str = "paper",
    layer: str = "features",
    reversal: Reversal = tllib_schedule,
    hidden: Sequence[int] = (500, 500),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Stage 2 of ADDA: the target encoder learns to look like the frozen source encoder (Tzeng, Hoffman, Saenko,
    Darrell, CVPR 2017, arXiv 1702.05464, eq. 9).

    Closed-set adaptation. Stage 1 is a ``source_only`` run; its variables are this run's initial ones
    (``init_state(..., variables=...)``). They are both the frozen source net, kept in the method's state with its own
    running statistics and evaluated without dropout, and the start of the target encoder, the groups ``encoder`` and
    ``bottleneck``. The head is never trained again (unless ``layer`` says so), and there is no task loss: nothing but
    its start ties the target encoder to the classes, so it may drift, and early checkpoints may be the better ones.
    Predictions are the target encoder's under the source head, on source inputs as well.

    The frozen net's statistics are a copy, so that they stay what stage 1 made them under every BatchNorm convention;
    the convention decides about the target encoder's alone. With "domain", the default, these are the target's own.
    Give the target encoder a net without dropout: beside a source net that runs without, dropout is what the
    discriminator would learn to see.

    Args:
        weight: of the encoder's loss; with ``variant="tllib"``, of the domain loss.
        variant: "paper": per step two updates, ``discriminator`` on the domain loss of both encoders' features,
            then ``encoder`` (with the bottleneck) on ``BCE(D(f_t), source)``, inverted labels. "tllib": one update
            of both on the domain loss with reversed target features, which is what TLlib's published rows named ADDA
            are.
        layer: what the discriminator sees: "features", or "logits" as in the authors' code for digits, where the copy
            that becomes the target net includes the last layer; then the group ``head`` is trained with the encoder,
            and the frozen source net keeps its own.
        reversal: of ``variant="tllib"``, a function of progress or a number; up to 2 there.
        hidden: widths of the discriminator; 500 and 500 in the paper, 1024 and 1024 in TLlib.
        norm: BatchNorm in the discriminator, over each domain's rows alone.
        dropout: rate in the discriminator.

    Metrics: ``discriminator/loss/domain`` (half a mean over each domain, ln 2 at equilibrium),
    ``discriminator/adda/domain_accuracy``, ``encoder/loss/adda``; with "tllib" the same without prefixes.

    Raises:
        InputError: for another variant or layer.
    """
    choose("variant", variant, VARIANTS)
    choose("layer", layer, LAYERS)
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        width = spec.num_classes if layer == "logits" else spec.width
        params = {"discriminator": net.init(key, jnp.zeros((2, width)))["params"]}
        return params, {"source_net": spec.params, "source_stats": spec.batch_stats}

    def rows(outputs: Outputs) -> Array:
        seen = outputs.logits if layer == "logits" else outputs.features
        assert seen is not None
        return seen

    def source_outputs(states: States, batch: Batch, forward: Forward) -> Outputs:
        frozen, stats = states.method["source_net"], {"shared": states.method["source_stats"]}
        outputs, _ = forward.one(frozen, stats, batch.source.inputs, "source", None, False)
        return jax.lax.stop_gradient(outputs)

    def target_outputs(params: Params, states: States, batch: Batch, forward: Forward, key: Array):
        return forward.one(params, states.model, batch.target.inputs, "target", key, True)

    def discriminator_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        keys = jax.random.split(context.key, 3)
        # The running statistics advance once per step, in the encoder's update.
        target, _ = target_outputs(params, states, batch, forward, keys[0])
        source = source_outputs(states, batch, forward)
        of_source = discriminate(net, params["discriminator"], rows(source), keys[1])
        of_target = discriminate(net, params["discriminator"], jax.lax.stop_gradient(rows(target)), keys[2])
        loss, accuracy = domain_loss(of_source, of_target)
        return Result(loss, states, {"loss/domain": loss, "adda/domain_accuracy": accuracy})

    def encoder_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        keys = jax.random.split(context.key)
        target, model = target_outputs(params, states, batch, forward, keys[0])
        logits = discriminate(net, params["discriminator"], rows(target), keys[1])
        loss = optax.sigmoid_binary_cross_entropy(logits, jnp.ones_like(logits)).mean()
        shown = Pass(source_outputs(states, batch, forward), target, batch)
        return Result(weigh(weight, context) * loss, states._replace(model=model), {"loss/adda": loss}, shown)

    def reversal_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        keys = jax.random.split(context.key, 3)
        target, model = target_outputs(params, states, batch, forward, keys[0])
        source = source_outputs(states, batch, forward)
        reversed_features, coefficient = reverse_by(reversal, context.progress, rows(target))
        of_source = discriminate(net, params["discriminator"], rows(source), keys[1])
        of_target = discriminate(net, params["discriminator"], reversed_features, keys[2])
        loss, accuracy = domain_loss(of_source, of_target)
        metrics = {"loss/adda": loss, "adda/domain_accuracy": accuracy, "adda/reversal": coefficient}
        shown = Pass(source, target, batch)
        return Result(weigh(weight, context) * loss, states._replace(model=model), metrics, shown)

    updates = {
        "paper": (
            Update("discriminator", discriminator_loss, ("discriminator",), joins=False),
            Update("encoder", encoder_loss, LAYERS[layer]),
        ),
        "tllib": (Update("adversarial", reversal_loss, (*LAYERS[layer], "discriminator")),),
    }
    return Method(
        "adda",
        init=init,
        updates=updates[variant],
        batch_norm="domain",
        starts_from="source",
        per_example=not norm,
    )
