"""The seam of all methods: what a method is, what it is given, and how methods add up.

Three levels, each reachable without the next:

1. a *term* ``(source, labels, target, context) -> scalar`` becomes a method by :func:`from_term`;
2. a *penalty* may own parameters and state (a discriminator, a memory bank) and is added to the task loss of a
   common pass over both domains; it may call :class:`Forward` for further passes;
3. several :class:`Update`\\ s in one step, each with a loss of its own and the parameter groups that it trains.

All functions are pure. Hyper-parameters may be traced arrays, so that a run can be ``vmap``ped over them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.checks import InputError, input_error, unknown_name
from dalib.methods.task_loss import cross_entropy, source_quality
from dalib.types import Array, Batch, Metrics, Outputs, Params, PyTree

NET_GROUPS = ("encoder", "bottleneck", "head")
"""Parameter groups of the classifier; a method's own groups may not take these names."""

EVERYTHING = ("*",)


class Context(NamedTuple):
    """What is known at one step, apart from the data.

    Attributes:
        step: ``[]`` int32, steps taken before this one.
        progress: ``[]`` float32 in [0, 1], ``step / total steps``; schedules are functions of it.
        key: randomness of this step and update; nothing random needs saving.
        num_classes: C.
        task_loss: ``(logits [n, C], labels [n]) -> [n]``, the supervised loss per example.
    """

    step: Array
    progress: Array
    key: Array
    num_classes: int
    task_loss: Callable[[Array, Array], Array] = cross_entropy


class States(NamedTuple):
    """What a step carries beside parameters: ``model`` (batch statistics by domain) and ``method`` (its own state)."""

    model: PyTree
    method: PyTree


class Pass(NamedTuple):
    """One pass of both domains through the net, with the batch it came from."""

    source: Outputs
    target: Outputs
    batch: Batch


class Forward(NamedTuple):
    """The net as pure functions; the BatchNorm convention of the protocol lives in them.

    Attributes:
        pair: ``(params, model_state, batch, key) -> (Pass, model_state)``, both domains in training mode.
        one: ``(params, model_state, inputs, domain, key, train) -> (Outputs, model_state)``; ``domain`` is
            "source" or "target" and decides which batch statistics are meant. With ``train=False`` the model
            state comes back as it was.
        head: ``(head_params, features, key) -> logits``, the classifier's head alone in training mode (a second
            head has the same form); ``key=None`` means evaluation.
    """

    pair: Callable[[Params, PyTree, Batch, Array], tuple[Pass, PyTree]]
    one: Callable[..., tuple[Outputs, PyTree]]
    head: Callable[[PyTree, Array, Array | None], Array]


class Spec(NamedTuple):
    """What a method may know when it makes its own parameters and state.

    Attributes:
        num_classes: C.
        outputs: an :class:`Outputs` of ``jax.ShapeDtypeStruct`` for one source batch.
        params: the net's initial parameters (for copies: teachers, frozen source encoders).
        init_head: ``key -> params`` of one more head of the classifier's form.
        batch_stats: the net's initial batch statistics, which belong to ``params``; empty without BatchNorm.
        target_size: examples in the target's training split, which ``Target.rows`` count; 0 where nobody said.
    """

    num_classes: int
    outputs: Outputs
    params: Params
    init_head: Callable[[Array], PyTree]
    batch_stats: PyTree = {}
    target_size: int = 0

    @property
    def width(self) -> int:
        """d, the number of features."""
        return self.outputs.features.shape[-1]


class Result(NamedTuple):
    """What the loss of an update returns.

    Attributes:
        value: scalar to minimise over the groups that the update trains.
        states: the states after this update.
        metrics: scalars by name, for the record.
        outputs: the common pass, which penalties of combined methods join; None if there is none to join.
    """

    value: Array
    states: States
    metrics: Metrics
    outputs: Pass | None = None


Loss = Callable[[Params, States, Batch, Forward, Context], Result]
Term = Callable[[Outputs, Array, Outputs, Context], Array]
Penalty = Callable[[Params, PyTree, Pass, Forward, Context], tuple[Array, PyTree, Metrics]]
"""``(params, method state, pass, forward, context) -> (scalar, new method state, metrics)``."""


class Update(NamedTuple):
    """One optimisation inside a step.

    Attributes:
        name: prefix of its metrics when a method has several updates.
        loss: what it minimises.
        trains: names of the parameter groups that it changes; ``*`` ends a prefix (``dann/*``), alone it is everything.
        repeats: how often it is done in one step, each time with fresh randomness.
        joins: whether penalties (the method's own and those of combined methods) are added to its loss.
    """

    name: str
    loss: Loss
    trains: tuple[str, ...] = EVERYTHING
    repeats: int = 1
    joins: bool = True


def supervised_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
    """Mean task loss on the source of a common pass over both domains."""
    outputs, model = forward.pair(params, states.model, batch, context.key)
    logits, labels = outputs.source.logits, batch.source.labels
    assert logits is not None
    value = context.task_loss(logits, labels).mean()
    metrics = {"loss/task": value, **source_quality(logits, labels)}
    return Result(value, states._replace(model=model), metrics, outputs)


def trained_groups(update: Update, params: Params) -> tuple[str, ...]:
    """The groups of ``params`` that ``update`` trains, in their order there.

    A net may lack a bottleneck, and on features that are given an encoder with parameters.

    Raises:
        InputError: when another name of ``update.trains`` matches no group, or none of them does.
    """

    def matches(pattern: str, group: str) -> bool:
        return group.startswith(pattern[:-1]) if pattern.endswith("*") else group == pattern

    for pattern in update.trains:
        if not pattern.endswith("*") and pattern not in params and pattern not in ("encoder", "bottleneck"):
            raise unknown_name(f"group trained by update {update.name!r}", pattern, params)
    found = tuple(g for g in params if any(matches(p, g) for p in update.trains))
    if not found:
        raise unknown_name(f"group trained by update {update.name!r}", update.trains[0], params)
    return found


SUPERVISED = Update("supervised", supervised_loss)


def no_parameters(key: Array, spec: Spec) -> tuple[Params, PyTree]:
    """The ``init`` of a method without parameters or state of its own."""
    del key, spec
    return {}, {}


class Method(NamedTuple):
    """How one step uses source and target: a tuple of pure functions.

    Attributes:
        name: as in the table of methods; prefixes metrics and, in :func:`combine`, parameter groups.
        init: ``(key, spec) -> (own parameter groups, own state)``.
        penalty: added to the loss of every update that joins, weighted already; None for nothing.
        updates: done one after the other; the default is one supervised update of everything.
        batch_norm: the BatchNorm convention of the method's reference implementation.
        finish: ``(params, states, batch, forward, context) -> states`` after the last update (moving averages).
        calibrate: ``(params, states, recompute) -> states`` before an evaluation; ``recompute()`` gives the batch
            statistics over the whole unlabelled target training set. Training goes on from the states before it.
        predict: ``(params, outputs, forward) -> logits`` at evaluation; None means the head's logits.
        evaluate_with: ``(params, states) -> params`` that an evaluation takes instead of the trained ones (averaged
            weights), see :func:`evaluation_params`; None means the trained ones.
        refresh: ``(params, states, look) -> states`` at the start and then every ``refresh_every`` steps, outside the
            compiled step; ``look()`` gives the :class:`Outputs` of the whole unlabelled target training set in
            evaluation mode, ``[N, ...]`` in stored order (pseudo-label centroids, class weights).
        refresh_every: steps between two refreshes.
        starts_from: "scratch", or "source" for a method whose first step needs the variables of a net trained on the
            source (``init_state(..., variables=...)``).
        per_example: whether every loss is a sum of means over the examples of each domain and leaves the states as they
            are, so that the gradients of equal parts of a batch have the whole batch's as their mean
            (:mod:`dalib.train.accumulate`). False says nothing and is always right.
    """

    name: str
    init: Callable[[Array, Spec], tuple[Params, PyTree]] = no_parameters
    penalty: Penalty | None = None
    updates: tuple[Update, ...] = (SUPERVISED,)
    batch_norm: str = "joint"
    finish: Callable[[Params, States, Batch, Forward, Context], States] | None = None
    calibrate: Callable[[Params, States, Callable[[], PyTree]], States] | None = None
    predict: Callable[[Params, Outputs, Forward], Array] | None = None
    refresh: Callable[[Params, States, Callable[[], Outputs]], States] | None = None
    refresh_every: int = 500
    evaluate_with: Callable[[Params, States], Params] | None = None
    starts_from: str = "scratch"
    per_example: bool = False


def evaluation_params(method: Method, params: Params, states: States) -> Params:
    """The parameters that predict at an evaluation; what calibrates, scores or saves a net takes these."""
    return params if method.evaluate_with is None else method.evaluate_with(params, states)


def from_term(
    name: str, term: Term, *, weight: Any = 1.0, batch_norm: str = "joint", per_example: bool = False
) -> Method:
    """Makes a method of a term: ``task loss + weight · term``.

    Args:
        name: the method's name.
        term: ``(source, labels, target, context) -> scalar``.
        weight: trade-off λ; a number, a traced scalar, or a function ``context -> scalar``.
        batch_norm: default BatchNorm convention.
        per_example: whether the term is a sum of means over the examples of each domain.

    Returns:
        A method whose metrics hold ``loss/<name>``, the term before weighting.
    """

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        del params, forward
        value = term(outputs.source, outputs.batch.source.labels, outputs.target, context)
        if jnp.shape(value) != ():
            raise input_error(f"term {name!r}", got=f"shape {jnp.shape(value)}", expected="a scalar")
        return weigh(weight, context) * value, state, {f"loss/{name}": value}

    return Method(name, penalty=penalty, batch_norm=batch_norm, per_example=per_example)


def weigh(weight: Any, context: Context) -> Array:
    """The value of a weight at this step: a number, an array, or a function of the context."""
    return weight(context) if callable(weight) else weight


def apply_loss(
    method: Method, update: Update, params: Params, states: States, batch: Batch, forward: Forward, context: Context
) -> Result:
    """The loss of one update with the method's penalty joined."""
    result = update.loss(params, states, batch, forward, context)
    if method.penalty is None or not update.joins:
        return result
    if result.outputs is None:
        raise InputError(
            f"method {method.name!r}: update {update.name!r} shows no common pass of source and target that a penalty "
            "could join; return it as Result.outputs or set joins=False"
        )
    value, own, metrics = method.penalty(
        params, result.states.method, result.outputs, forward, context._replace(key=jax.random.fold_in(context.key, 1))
    )
    return result._replace(
        value=result.value + value,
        states=result.states._replace(method=own),
        metrics={**result.metrics, **metrics},
    )
