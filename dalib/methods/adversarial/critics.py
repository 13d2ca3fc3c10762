"""Methods that train a critic or a discriminator in updates of its own: WDGRL and ADDA."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from dalib.core.options import Count, NonNegative, OneOf, Rate, Weight, Widths, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.discrepancy import safe_norm
from dalib.methods.base import Method, Needs, Update, supervised_loss, weigh
from dalib.methods.parts.domains import together
from dalib.methods.parts.nets import (
    Discriminator,
    Reversal,
    dann_schedule,
    discriminate,
    discriminate_both,
    domain_loss,
    reverse_by,
)
from dalib.methods.view import Spec, View


@checked
def wdgrl(
    *, weight: Weight = 1.0, gradient_penalty: NonNegative = 10.0, critic_steps: Count = 5, hidden: Widths = (100,)
) -> Method:
    """Minimise a critic's estimate of the Wasserstein-1 distance between the domains' features.

    For classification and regression (Shen, Qu, Zhang, Yu, AAAI 2018, arXiv 1707.01217, algorithm 1). Updates
    ``critic`` minimise ``−(mean w(f_s) − mean w(f_t)) + γ · mean (‖∇w(h)‖ − 1)²`` of fixed features; h are the rows of
    both batches and random points between them. The update ``task`` then trains encoder and head on task loss + λ ·
    (mean w(f_s) − mean w(f_t)), with the critic fixed. A step depends on the order of the rows within a batch, as rows
    are paired. Metrics: ``critic/loss/critic``, ``critic/wdgrl/gradient_norm`` (mean over h, near 1 for a trained
    critic), ``task/loss/wdgrl`` (at best W(1 + W/2γ), as the penalty is soft; 0 for equal features).

    Args:
        weight: λ; it belongs to a scale of features. The authors' code has 0.01 for digits, 0.1 for Office-Caltech.
        gradient_penalty: γ.
        critic_steps: critic updates in a step; the authors' code has 5, and 10 for Office-Caltech.
        hidden: widths of the critic; (100,) in the authors' code. No BatchNorm: the penalty is on each row's gradient.
    """
    net = Discriminator(tuple(hidden))

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"critic": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def distance(critic: PyTree, source: Array, target: Array) -> Array:
        of_source, of_target = discriminate_both(net, critic, source, target)
        return of_source.mean() - of_target.mean()

    def slopes(critic: PyTree, rows: Array) -> Array:
        return safe_norm(jax.vmap(jax.grad(lambda h: discriminate(net, critic, h[None])[0]))(rows))

    def critic_loss(view: View) -> tuple[Array, View, Metrics]:
        # The running statistics advance once per step, in the update of the net.
        seen, critic = view.pair(), view.params["critic"]
        source, target = jax.lax.stop_gradient((seen.source.features, seen.target.features))
        rows = together(source, target, between(source, target, jax.random.fold_in(view.key, 1)))
        norms = slopes(critic, rows)
        value = -distance(critic, source, target) + gradient_penalty * jnp.square(norms - 1).mean()
        return value, view, {"loss/critic": value, "wdgrl/gradient_norm": norms.mean()}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        value = distance(view.params["critic"], view.source.features, view.target.features)
        return weigh(weight, view) * value, view, {"loss/wdgrl": value}

    return Method(
        "wdgrl",
        init=init,
        penalties=(penalty,),
        updates=(
            Update("critic", critic_loss, ("critic",), repeats=critic_steps, joins=False),
            Update("task", supervised_loss, ("encoder", "bottleneck", "head")),
        ),
    )


def between(source: Array, target: Array, key: Array) -> Array:
    """A random point on the line between each pair of rows, ``[n, d], [m, d] -> [max(n, m), d]``."""
    n, m = source.shape[0], target.shape[0]
    if n != m:
        # The shorter domain goes round again.
        rows = jnp.arange(max(n, m))
        source, target = source[rows % n], target[rows % m]
    share = jax.random.uniform(key, (max(n, m), 1), jnp.float32).astype(source.dtype)
    return share * source + (1 - share) * target


VARIANTS = {
    "paper": "inverted labels, discriminator and encoder by turns",
    "tllib": "gradient reversal, one update",
}
LAYERS = {"features": ("encoder", "bottleneck"), "logits": ("encoder", "bottleneck", "head")}
"""Inputs of the discriminator, and the groups of the net that are then the target's own."""


def tllib_schedule(time: Any) -> Array:
    """:func:`dann_schedule` from 0 to 2."""
    return dann_schedule(time, high=2.0)


@checked
def adda(
    *,
    weight: Weight = 1.0,
    variant: Annotated[str, OneOf(VARIANTS)] = "paper",
    layer: Annotated[str, OneOf(LAYERS)] = "features",
    reversal: Reversal = tllib_schedule,
    hidden: Widths = (500, 500),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Stage 2 of ADDA: the target encoder learns to look like the frozen source encoder.

    Source: Tzeng, Hoffman, Saenko, Darrell, CVPR 2017, arXiv 1702.05464, eq. 9. Stage 1 is a ``source_only`` run; its
    variables are this run's initial ones (``init_state(..., variables=...)``): the frozen source net, and the start of
    the target's ``encoder`` and ``bottleneck``. There is no task loss: only its start ties the target encoder to the
    classes, so it may drift, and early checkpoints may be better. It predicts source inputs as well, under the source
    head. Give it no dropout: the source net runs without, and the discriminator would see it.

    Metrics: ``discriminator/loss/domain`` (half a mean over each domain, ln 2 at equilibrium),
    ``discriminator/adda/domain_accuracy``, ``encoder/loss/adda``; with "tllib" the same without prefixes.

    Args:
        weight: of the encoder's loss; with ``variant="tllib"``, of the domain loss.
        variant: "paper" makes two updates: ``discriminator`` on the domain loss of both encoders' features, then
            ``encoder`` (with the bottleneck) on ``BCE(D(f_t), source)``. "tllib" makes one update of both with reversed
            target features, as TLlib's published rows named ADDA.
        layer: the discriminator's input: "features", or "logits" as in the authors' digit code: then the group ``head``
            is trained with the encoder, and the frozen source net keeps its own.
        reversal: of ``variant="tllib"``, a function of the view or a number; up to 2 there.
        hidden: widths of the discriminator; 500 and 500 in the paper, 1024 and 1024 in TLlib.
        norm: BatchNorm in the discriminator, over each domain's rows alone.
        dropout: rate in the discriminator.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        width = spec.num_classes if layer == "logits" else spec.width
        params = {"discriminator": net.init(key, jnp.zeros((2, width)))["params"]}
        return params, {"source_net": spec.params, "source_stats": spec.batch_stats}

    def rows(outputs: Outputs) -> Array:
        seen = outputs.logits if layer == "logits" else outputs.features
        assert seen is not None
        return seen

    def source_outputs(view: View) -> Outputs:
        # A copy of stage 1's statistics, which no BatchNorm convention touches.
        # The convention decides about the target encoder's statistics alone: "domain", the default, its own.
        frozen = view.with_model({"shared": view.state["source_stats"]})
        outputs, _ = frozen.again(
            view.batch.source.inputs, "source", key=None, params=view.state["source_net"], train=False
        )
        return jax.lax.stop_gradient(outputs)

    def discriminator_loss(view: View) -> tuple[Array, View, Metrics]:
        keys = jax.random.split(view.key, 3)
        # The running statistics advance once per step, in the encoder's update.
        target, _ = view.again(view.batch.target.inputs, key=keys[0])
        of_source = discriminate(net, view.params["discriminator"], rows(source_outputs(view)), keys[1])
        of_target = discriminate(net, view.params["discriminator"], jax.lax.stop_gradient(rows(target)), keys[2])
        loss, accuracy = domain_loss(of_source, of_target)
        return loss, view, {"loss/domain": loss, "adda/domain_accuracy": accuracy}

    def encoder_loss(view: View) -> tuple[Array, View, Metrics]:
        keys = jax.random.split(view.key)
        target, after = view.again(view.batch.target.inputs, key=keys[0])
        logits = discriminate(net, view.params["discriminator"], rows(target), keys[1])
        # Inverted labels: the target calls itself source, which has a steep slope where reversal has none.
        loss = optax.sigmoid_binary_cross_entropy(logits, jnp.ones_like(logits)).mean()
        return weigh(weight, view) * loss, after.show(source_outputs(view), target), {"loss/adda": loss}

    def reversal_loss(view: View) -> tuple[Array, View, Metrics]:
        keys = jax.random.split(view.key, 3)
        target, after = view.again(view.batch.target.inputs, key=keys[0])
        # Source features are fixed, so only the target's need a reversal.
        source = source_outputs(view)
        reversed_features, coefficient = reverse_by(reversal, view, rows(target))
        of_source = discriminate(net, view.params["discriminator"], rows(source), keys[1])
        of_target = discriminate(net, view.params["discriminator"], reversed_features, keys[2])
        loss, accuracy = domain_loss(of_source, of_target)
        metrics = {"loss/adda": loss, "adda/domain_accuracy": accuracy, "adda/reversal": coefficient}
        return weigh(weight, view) * loss, after.show(source, target), metrics

    updates = {
        "paper": (
            Update("discriminator", discriminator_loss, ("discriminator",), joins=False),
            Update("encoder", encoder_loss, LAYERS[layer]),
        ),
        "tllib": (Update("adversarial", reversal_loss, (*LAYERS[layer], "discriminator")),),
    }
    needs = Needs(start="source", batch_norm="domain", per_example=not norm)
    return Method("adda", init=init, updates=updates[variant], needs=needs)
