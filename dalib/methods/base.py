"""The seam of all methods: a method, its losses, and the updates that a step makes of them.

A loss is a pure function of one argument, a :class:`~dalib.methods.view.View`. There are three levels:

1. a *term* ``view -> scalar`` (or ``(scalar, metrics)``) becomes a method by :func:`term`;
2. a *penalty* ``view -> (scalar, view, metrics)`` may own parameters and states and make further passes; it
   joins the main update;
3. an :class:`Update` has its own loss and the parameter groups that it trains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.core.checks import InputError, input_error, unknown_name
from dalib.core.options import Weight, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.methods.view import Forward, Look, Spec, States, View

EVERYTHING = ("*",)

SETTINGS = {
    "closed": "one labelled source, one target with the same classes",
    "partial": "a target that lacks classes of the source",
    "open": "a target with classes of its own",
    "universal": "both at once",
    "several sources": "several labelled sources, one target",
    "semi-supervised": "a few labelled examples of the target as well",
    "generalisation": "several labelled sources, no target",
    "regression": "real-valued labels",
    "test time": "a trained net and a stream of target batches",
}
"""Purposes of methods, the values of ``Needs.setting``."""


Loss = Callable[[View], tuple[Array, View, Metrics]]
"""``view -> (scalar, view, metrics)``; the view carries the states after this loss and the common pass, if any."""
Term = Callable[[View], Any]
"""``view -> scalar`` or ``view -> (scalar, metrics)``."""


ValueAndGrad = Callable[..., tuple[tuple[Array, tuple[States, Metrics]], Params]]
"""``trained groups -> ((loss, (states, metrics)), gradients)`` with all joined penalties; ``penalties=False``
leaves them out."""


class Update(NamedTuple):
    """One optimisation inside a step.

    Attributes:
        name: prefix of its metrics when a method has several updates.
        loss: minimised.
        trains: parameter groups that it changes; ``*`` ends a prefix (``dann/*``), alone it means everything.
        repeats: times per step, each with fresh randomness.
        joins: whether penalties are added to its loss. Exactly one update of a method does: the main one.
        gradient: ``(value_and_grad, trained groups) -> ((loss, (states, metrics)), gradients)``; None calls the
            function once, sharpness-aware minimisation twice.
    """

    name: str
    loss: Loss
    trains: tuple[str, ...] = EVERYTHING
    repeats: int = 1
    joins: bool = True
    gradient: Callable[[ValueAndGrad, Params], tuple[tuple[Array, tuple[States, Metrics]], Params]] | None = None


def supervised_loss(view: View) -> tuple[Array, View, Metrics]:
    """Mean task loss on the source, of a common pass over both domains."""
    view = view.pair()
    value = view.task.loss(view.source, view.labels).mean()
    return value, view, {"loss/task": value, **view.task.quality(view.source, view.labels)}


def trained_groups(update: Update, params: Params) -> tuple[str, ...]:
    """The groups of ``params`` that ``update`` trains, in their order there. Raises an InputError when a name matches
    no group, or none of them does."""

    def matches(pattern: str, group: str) -> bool:
        return group.startswith(pattern[:-1]) if pattern.endswith("*") else group == pattern

    # A net may lack a bottleneck, and on given features an encoder with parameters: those two may be missing.
    for pattern in update.trains:
        if not pattern.endswith("*") and pattern not in params and pattern not in ("encoder", "bottleneck"):
            raise unknown_name(f"group trained by update {update.name!r}", pattern, params)
    found = tuple(g for g in params if any(matches(p, g) for p in update.trains))
    if not found:
        raise unknown_name(f"group trained by update {update.name!r}", update.trains[0], params)
    return found


SUPERVISED = Update("supervised", supervised_loss)


def nothing(key: Array, spec: Spec) -> tuple[Params, PyTree]:
    """The ``init`` of a method without parameters or state of its own."""
    del key, spec
    return {}, {}


class Needs(NamedTuple):
    """Requirements on a run, read by the engine before anything is trained.

    Attributes:
        setting: a name of :data:`SETTINGS`.
        sources: source domains interleaved in a batch.
        start: "scratch", or "source" to start from a net trained on the source (``init_state(..., variables=...)``).
        batch_norm: the BatchNorm convention of the method's reference implementation.
        per_example: whether every loss is a sum of means over each domain's examples and leaves the states alone. Then
            equal parts' gradients average to the batch's (:mod:`dalib.train.accumulate`). False is safe.
        extra_outputs: logits beyond the source's classes, such as one for "unknown".
        rejects: whether predictions have a column for "unknown" by themselves.
        target_rows: whether it uses ``batch.target.rows`` and ``Spec.target_size``.
        classes: whether it reads logits as class probabilities, or labels as classes; a regression has neither.
        head: the layer that gives logits in the method's paper; a run may choose another.
    """

    setting: str = "closed"
    sources: int = 1
    start: str = "scratch"
    batch_norm: str = "joint"
    per_example: bool = False
    extra_outputs: int = 0
    rejects: bool = False
    target_rows: bool = False
    classes: bool = False
    head: str = "linear"

    @property
    def interleaves(self) -> bool:
        """Whether a batch holds several source domains in turn."""
        return self.setting in ("several sources", "generalisation")

    @property
    def relations(self) -> tuple[str, ...]:
        """Relations of the label sets that the method is made for."""
        own = {"partial": ("partial",), "open": ("open",), "universal": ("open", "universal")}
        return own.get(self.setting, ("closed", "partial", "open", "universal"))


class Hooks(NamedTuple):
    """Functions that few methods have; None for none.

    Attributes:
        after_step: ``view -> states`` after the last update (moving averages).
        refresh: ``(params, states, look) -> states`` at the start and every ``refresh_every`` steps, outside the
            compiled step (pseudo-label centroids, class weights).
        refresh_every: steps between two refreshes.
        calibrate: ``(params, states, recompute) -> states`` before an evaluation; ``recompute()`` gives batch
            statistics over the whole unlabelled target training set. Training goes on from the states before it.
        evaluate: ``(params, states) -> (params, states)`` for an evaluation, such as averages; see :func:`evaluated`.
        predict: ``(params, outputs, forward) -> logits`` at evaluation; None means the head's logits.
        gradients: ``(update's name, gradients, view) -> gradients`` of every update, before the optimiser.
    """

    after_step: Callable[[View], States] | None = None
    refresh: Callable[[Params, States, Look], States] | None = None
    refresh_every: int = 500
    calibrate: Callable[[Params, States, Callable[[], PyTree]], States] | None = None
    evaluate: Callable[[Params, States], tuple[Params, States]] | None = None
    predict: Callable[[Params, Outputs, Forward], Array] | None = None
    gradients: Callable[[str, Params, View], Params] | None = None


class Method(NamedTuple):
    """A way to use source and target in one step: a tuple of pure functions.

    Attributes:
        name: prefixes metrics and, in :func:`combine`, parameter groups.
        init: ``(key, spec) -> (own parameter groups, own state)``.
        penalties: added to the main update's loss, weighted already.
        updates: done in turn; the default trains everything on the supervised loss.
        needs: what a run must give it.
        hooks: rarely used functions.
    """

    name: str
    init: Callable[[Array, Spec], tuple[Params, PyTree]] = nothing
    penalties: tuple[Loss, ...] = ()
    updates: tuple[Update, ...] = (SUPERVISED,)
    needs: Needs = Needs()
    hooks: Hooks = Hooks()


def evaluated(method: Method, params: Params, states: States) -> tuple[Params, States]:
    """Parameters and states that predict at an evaluation; whoever calibrates, scores or saves a net takes these."""
    return (params, states) if method.hooks.evaluate is None else method.hooks.evaluate(params, states)


@checked
def term(name: str, function: Term, *, weight: Weight = 1.0, needs: Needs = Needs()) -> Method:  # noqa: B008
    """Make a method of a term: ``task loss + weight · term``, with the term before weighting as ``loss/<name>``.

    Args:
        name: the method's name.
        function: ``view -> scalar``, or ``view -> (scalar, metrics)``.
        weight: λ; a number, a traced scalar, or a function ``view -> scalar``.
        needs: what a run must give it.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        value = function(view)
        value, metrics = value if isinstance(value, tuple) else (value, {})
        if jnp.shape(value) != ():
            raise input_error(f"term {name!r}", got=f"shape {jnp.shape(value)}", expected="a scalar")
        return weigh(weight, view) * value, view, {f"loss/{name}": value, **metrics}

    return Method(name, penalties=(penalty,), needs=needs)


def weigh(weight: Any, view: View) -> Array:
    """The value of a weight at this step."""
    return weight(view) if callable(weight) else weight


def joined_loss(method: Method, update: Update, view: View) -> tuple[Array, View, Metrics]:
    """The loss of one update; the main update's includes the method's penalties. Penalties see the rows of the task
    (:attr:`Task.rows`) as ``view.source``, ``view.target`` and ``view.labels``."""
    value, after, metrics = update.loss(view)
    if not (method.penalties and update.joins):
        return value, after, metrics
    if after.source is None:
        raise InputError(
            f"method {method.name!r}: update {update.name!r} shows no common pass of source and target that a penalty "
            "could join; return the view of view.pair(), or set joins=False"
        )
    key = jax.random.fold_in(view.key, 1)
    # A fixed number of rows for every task, so that penalties need neither masks nor dynamic shapes.
    source, labels = view.task.rows(after.source, after.labels, jax.random.fold_in(key, ROWS))
    target, _ = view.task.rows(after.target, None, jax.random.fold_in(key, ROWS + 1))
    seen = after._replace(key=key, source=source, target=target, labels=labels)
    for i, penalty in enumerate(method.penalties):
        # The first penalty keeps the key as it is: its draws are those of the method alone.
        own = seen if i == 0 else seen._replace(key=jax.random.fold_in(key, i))
        more, seen, found = penalty(own)
        value, metrics = value + more, {**metrics, **found}
    return value, after._replace(states=seen.states), metrics


ROWS = 0x0A11
"""Keeps the draw of rows apart from what penalties draw from the same key."""


@checked
def source_only() -> Method:
    """Empirical risk minimisation on the labelled source; the target has no influence, not even on BatchNorm."""
    return Method("source_only", needs=Needs(batch_norm="source", per_example=True))
