"""PADA: partial adversarial adaptation, source classes weighted by how often the target is predicted to have them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import check_positive, choose, input_error
from dalib.methods.base import Hooks, Look, Method, Needs, Spec, States, Update, View, weigh
from dalib.methods.discriminator import Discriminator, discriminate_both, domain_loss
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.methods.reweighting import SCALES, class_weights
from dalib.types import Array, Metrics, Params, PyTree


def pada(
    *,
    weight: Any = 1.0,
    temperature: Any = 1.0,
    divide_by: str = "max",
    divide_by_weights: bool = False,
    balance_target: bool = False,
    refresh_every: int = 500,
    warmup_refreshes: int = 1,
    reversal: Reversal = dann_schedule,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Partial adaptation: γ of the label's class weights the task loss and the source half of DANN's loss.

    γ is the mean prediction on the whole target training set, in evaluation mode; it is made anew every
    ``refresh_every`` steps and constant between. A wrong γ early on confirms itself: until the first
    ``warmup_refreshes`` looks are over, all classes weigh 1. Setting: the target's classes are among the source's.

    Whose numbers: the paper's equations have T = 1, divide γ by its largest entry (``divide_by="max"``) and the losses
    by the number of rows. The authors' code divides γ by its mean (``divide_by="mean"``: weights average 1 over the
    classes, up to C for a single one). TLlib has T = 0.1 and the largest entry, divides the task loss by its sum of
    weights (``divide_by_weights``) and gives target rows the mean weight of the batch's source rows
    (``balance_target``); its γ is 1 in the first 500 steps, as here.

    Args:
        weight: λ of the weighted domain loss; the task loss stays weighted by γ at 0.
        temperature: T of the softmax in γ.
        divide_by: "max" or "mean" of γ.
        divide_by_weights: task loss over Σγ instead of n; 0 where that sum is 0.
        balance_target: target rows weigh the mean of the source rows' γ instead of 1.
        refresh_every: steps between two looks at the target.
        warmup_refreshes: the first so many looks, one before step 0 included, leave γ = 1.
        reversal: the reversal's coefficient, a function of the view or a number.
        hidden, norm, dropout: of the discriminator, as in :func:`~dalib.methods.dann`.

    Metrics: ``loss/task`` (weighted), ``accuracy/source``, ``loss/pada``, ``pada/domain_accuracy``, ``pada/reversal``,
    ``pada/kept_classes`` (Σγ, the effective number of classes).

    Raises:
        InputError: for a temperature that is not positive, a negative ``warmup_refreshes`` or another ``divide_by``.

    References:
        Cao, Ma, Long, Wang, ECCV 2018, arXiv 1808.04205, section 3.
    """
    choose("divide_by", divide_by, SCALES)
    check_positive(temperature=temperature, refresh_every=refresh_every)
    if warmup_refreshes < 0:
        raise input_error("warmup_refreshes", got=warmup_refreshes, expected="a number ≥ 0")
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
