"""Partial adaptation, where the target has fewer classes: weights of source classes or examples (PADA, IWAN)."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from dalib.core.options import Count, Natural, NonNegative, OneOf, Positive, Rate, Weight, Widths, checked
from dalib.core.types import Array, Metrics, Params, PyTree
from dalib.discrepancy import mean_entropy
from dalib.methods.base import Hooks, Method, Needs, Update, weigh
from dalib.methods.parts.nets import (
    Discriminator,
    Reversal,
    dann_schedule,
    discriminate,
    discriminate_both,
    domain_loss,
    reverse_by,
)
from dalib.methods.view import Look, Spec, States, View

SCALES: dict[str, Callable[[Array], Array]] = {"max": jnp.max, "mean": jnp.mean}
"""Divisors of class weights: their largest, as in PADA's paper and TLlib, or their mean, as in its code."""


def class_weights(logits: Array, *, temperature: float | Array = 1.0, divide_by: str = "max") -> Array:
    """PADA's class weights ``[C]``: mean of the target's predictions ``[N, C]`` over its largest or mean; no gradient.
    A ``temperature`` below 1 sharpens the predictions; ``divide_by`` is a name of :data:`SCALES`."""
    mean = jax.nn.softmax(jax.lax.stop_gradient(logits) / temperature).mean(0)
    return mean / SCALES[divide_by](mean)


def importance_weights(domain_logits: Array) -> Array:
    """IWAN's example weights ``[n]`` ≥ 0: the discriminator's probability of "target" over its batch mean, no gradient.

    Logits are positive for source. The mean has 1e-5 added, as in TLlib: all weights are 0 when every row is certain.
    """
    target = jax.nn.sigmoid(-jax.lax.stop_gradient(domain_logits))
    return target / (target.mean() + 1e-5)


# PADA: partial adversarial adaptation, source classes weighted by how often the target is predicted to have them.


@checked
def pada(
    *,
    weight: Weight = 1.0,
    temperature: Positive = 1.0,
    divide_by: Annotated[str, OneOf(SCALES)] = "max",
    divide_by_weights: bool = False,
    balance_target: bool = False,
    refresh_every: Count = 500,
    warmup_refreshes: Natural = 1,
    reversal: Reversal = dann_schedule,
    hidden: Widths = (1024, 1024),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Partial adaptation (target classes among the source's): γ of the label's class weights the task loss and the
    source half of DANN's loss.

    γ is the mean prediction on the whole target training set, in evaluation mode. Source: Cao, Ma, Long, Wang, ECCV
    2018, arXiv 1808.04205, section 3: T = 1, γ over its largest entry, losses over the number of rows. The authors'
    code divides γ by its mean: weights average 1 over the classes, up to C for a single one. TLlib has T = 0.1, the
    largest entry, ``divide_by_weights`` and ``balance_target``; its γ is 1 in the first 500 steps, as here. Metrics:
    ``loss/task`` (weighted), ``accuracy/source``, ``loss/pada``, ``pada/domain_accuracy``, ``pada/reversal``,
    ``pada/kept_classes`` (Σγ).

    Args:
        weight: λ of the weighted domain loss; the task loss stays weighted by γ at 0.
        temperature: T of the softmax in γ.
        divide_by: "max" or "mean" of γ.
        divide_by_weights: task loss over Σγ instead of n; 0 where that sum is 0.
        balance_target: target rows weigh the mean of the source rows' γ instead of 1.
        refresh_every: steps between two looks at the target.
        warmup_refreshes: the first so many looks, one before step 0 included, leave γ = 1: a wrong one confirms itself.
        reversal: the reversal's coefficient, a function of the view or a number.
        hidden, norm, dropout: of the discriminator, as in :func:`~dalib.methods.dann`.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        state = {"class_weights": jnp.ones(spec.num_classes), "refreshes": jnp.zeros((), jnp.int32)}
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, state

    def row_weights(state: PyTree, labels: Array) -> Array:
        return jax.lax.stop_gradient(state["class_weights"])[labels]

    def task_loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        weights = row_weights(view.state, view.labels)
        losses = weights * view.task.loss(view.source, view.labels)
        total = weights.sum()
        value = losses.sum() / jnp.where(total > 0, total, 1) if divide_by_weights else losses.mean()
        return value, view, {"loss/task": value, **view.task.quality(view.source, view.labels)}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        (source, target), coefficient = reverse_by(reversal, view, features)
        source, target = discriminate_both(net, view.params["discriminator"], source, target, view.key)
        weights = row_weights(view.state, view.labels)
        # Keeps both halves of the domain loss of one size when few classes have weight.
        on_target = jnp.full_like(target, 1.0) * weights.mean() if balance_target else None
        loss, accuracy = domain_loss(source, target, source_weights=weights, target_weights=on_target)
        metrics = {
            "loss/pada": loss,
            "pada/domain_accuracy": accuracy,
            "pada/reversal": coefficient,
            "pada/kept_classes": view.state["class_weights"].sum(),
        }
        return weigh(weight, view) * loss, view, metrics

    def refresh(params: Params, states: States, look: Look) -> States:
        del params
        logits = look.outputs("target").logits
        assert logits is not None
        old, count = states.method["class_weights"], states.method["refreshes"]
        new = class_weights(logits, temperature=temperature, divide_by=divide_by).astype(old.dtype)
        # A where and not an if: the refresh may be mapped over seeds.
        own = {"class_weights": jnp.where(count < warmup_refreshes, old, new), "refreshes": count + 1}
        return states._replace(method=own)

    return Method(
        "pada",
        init=init,
        penalties=(penalty,),
        updates=(Update("supervised", task_loss),),
        needs=Needs(setting="partial"),
        hooks=Hooks(refresh=refresh, refresh_every=refresh_every),
    )


# IWAN: partial adaptation by a second discriminator that weighs source examples.


@checked
def iwan(
    *,
    weight: Weight = 1.0,
    adversary: NonNegative = 3.0,
    weigher: NonNegative = 4.5,
    entropy: NonNegative = 0.1,
    reversal: Reversal = dann_schedule,
    hidden: Widths = (1024, 1024),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Partial adaptation with importance-weighted adversaries (Zhang, Ding, Li, Ogunbona, CVPR 2018, arXiv 1803.09210,
    section 3).

    The loss is ``task + λ · (a · L_D0(w) + b · L_D + c · mean H(p_t))``; the target's classes are among the source's. D
    learns domains on fixed features; source rows that it takes for target get large weights ``w = (1 − D(f_s)) / mean``
    in D₀, DANN's discriminator. The factors are TLlib's (3, 1.5 · 3, 0.1). As there both domains share the encoder (the
    paper adapts a copy of a frozen source encoder), and with ``norm`` the weights depend on the batch. Metrics:
    ``loss/iwan`` (D₀, ln 2 at equilibrium of equal weights), ``loss/iwan_weigher`` (D), ``loss/entropy``,
    ``iwan/domain_accuracy``, ``iwan/weigher_accuracy``, ``iwan/reversal``, ``iwan/effective_rows`` (``(Σw)²/(n Σw²)``,
    1 for equal weights, 0 if all are 0).

    Args:
        weight: λ of the whole penalty. At 0 the discriminators do not learn either.
        adversary: a, of the weighted adversarial loss.
        weigher: b, of D's own loss; it reaches D alone.
        entropy: c, of the target's entropy.
        reversal: the reversal's coefficient, a function of the view or a number.
        hidden, norm, dropout: of both discriminators, as in :func:`~dalib.methods.dann`.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        rows = jnp.zeros((2, spec.width))
        keys = jax.random.split(key)
        return {"weigher": net.init(keys[0], rows)["params"], "discriminator": net.init(keys[1], rows)["params"]}, {}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        # D only weighs: the encoder must not learn to please it.
        source, target = jax.lax.stop_gradient(features)
        keys = jax.random.split(view.key)
        seen = discriminate_both(net, view.params["weigher"], source, target, keys[0])
        own, own_accuracy = domain_loss(*seen)
        # The weights come from a pass of the source alone, without dropout: with BatchNorm it is not the pass above.
        weights = importance_weights(discriminate(net, view.params["weigher"], view.source.features))
        (source, target), coefficient = reverse_by(reversal, view, features)
        logits = discriminate_both(net, view.params["discriminator"], source, target, keys[1])
        loss, accuracy = domain_loss(*logits, source_weights=weights)
        uncertainty = mean_entropy(view.target.logits)
        squares = jnp.square(weights).mean()
        metrics = {
            "loss/iwan": loss,
            "loss/iwan_weigher": own,
            "loss/entropy": uncertainty,
            "iwan/domain_accuracy": accuracy,
            "iwan/weigher_accuracy": own_accuracy,
            "iwan/reversal": coefficient,
            "iwan/effective_rows": jnp.square(weights.mean()) / jnp.where(squares > 0, squares, 1),
        }
        value = adversary * loss + weigher * own + entropy * uncertainty
        return weigh(weight, view) * value, view, metrics

    return Method("iwan", init=init, penalties=(penalty,), needs=Needs(setting="partial"))
