"""Functions that take a method and return one: averages, sharpness-aware steps, schedules, views of the inputs.

A transformer wraps a whole method, a sum included, and keeps its name; it works inside a sum and around one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dalib.core.checks import InputError, input_error, unknown_name
from dalib.core.options import NonNegative, Share, Weight, checked
from dalib.core.types import Array, Batch, Metrics, Params, PyTree
from dalib.methods.base import Loss, Method, Update, ValueAndGrad, supervised_loss, weigh
from dalib.methods.combine import main_of
from dalib.methods.parts.augmentation import Augment
from dalib.methods.view import NET_GROUPS, Spec, States, View

SEEN = 0x5EE
"""Keeps the views' randomness apart from what a method draws from the same key."""

DOMAINS = ("source", "target")


@checked
def averaged(method: Method, *, decay: Share = 0.999, warmup: bool = True) -> Method:
    """Evaluate an exponential average of the net's parameters and batch statistics instead of the trained ones. After
    each step the average is ``d · average + (1 − d) · net``. Training does not see it.

    Args:
        method: any method that evaluates no other parameters. Its own groups, such as a second head, are not averaged.
        decay: d.
        warmup: whether d is at most t/(t + 1) in step t: the average starts as the plain mean of all steps' nets
            (Tarvainen, Valpola, NIPS 2017, arXiv 1703.01780, their code).
    """
    if method.hooks.evaluate is not None:
        raise InputError(
            f"averaged: method {method.name!r} evaluates parameters of its own already\n"
            "  expected: a method without Hooks.evaluate\n"
            "  what to do: average the rest of the sum, or take mean_teacher(evaluate='student')"
        )

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        own, state = method.init(key, spec)
        params = {g: spec.params[g] for g in NET_GROUPS if g in spec.params}
        # The convention of BatchNorm is the run's to choose: one set of statistics a domain serves each of them.
        average = {"params": params, "model": {domain: spec.batch_stats for domain in DOMAINS}}
        return own, {"method": state, "average": average}

    def after_step(view: View) -> States:
        average = view.state["average"]
        d = jnp.minimum(decay, view.step / (view.step + 1)) if warmup else decay
        now = {"params": {g: view.params[g] for g in average["params"]}, "model": _by_domain(view.states.model)}
        mixed = jax.tree.map(lambda old, new: jnp.asarray(d * old + (1 - d) * new, old.dtype), average, now)
        # The wrapped method's hook comes last and sees its own state only.
        view = view.keep({**view.state, "average": mixed})
        if method.hooks.after_step is None:
            return view.states
        return _leave(view.states, method.hooks.after_step(_enter(view)))

    def evaluate(params: Params, states: States) -> tuple[Params, States]:
        average = states.method["average"]
        # A run with one shared set evaluates the target's statistics.
        model = {slot: average["model"]["target" if slot == "shared" else slot] for slot in states.model}
        return {**params, **average["params"]}, states._replace(model=model)

    wrapped = _with_state(method)
    return wrapped._replace(init=init, hooks=wrapped.hooks._replace(after_step=after_step, evaluate=evaluate))


@checked
def sharp(
    method: Method, *, radius: NonNegative = 0.05, groups: tuple[str, ...] = NET_GROUPS, penalties: bool = True
) -> Method:
    """Take the main update's gradient at the worst point of a small ball around the parameters (SAM). With g the
    gradient for ``groups``, they move by ``radius · g / ‖g‖``, and the gradient there trains the net (Foret et al.,
    ICLR 2021, arXiv 2010.01412, eqs. 2 and 3). SDAT moves the net and not the discriminator, by the gradient of the
    task loss alone: ``sharp(dann(), penalties=False)`` (Rangwani et al., ICML 2022, arXiv 2206.08213, §4). A step costs
    two gradients, with the same randomness.

    Args:
        method: any method, a sum included, without a ``gradient`` of its own. A sum's gradient has all penalties.
        radius: ρ ≥ 0.
        groups: parameter groups that move. A sum names its methods' groups with a prefix, ``dann/discriminator``.
        penalties: whether the worst point is that of the loss with its penalties.

    Raises an InputError in the first step when no trained group is named.
    """
    main = main_of(method)
    if main.gradient is not None:
        raise InputError(f"sharp: update {main.name!r} of method {method.name!r} has a gradient of its own already")

    def gradient(value_and_grad: ValueAndGrad, trained: Params) -> Any:
        moving = [g for g in trained if g in groups]
        if not moving:
            raise unknown_name("group moved by sharp", groups[0] if groups else "", trained)
        # First gradient: only its direction and the batch statistics at the true parameters are kept.
        (_, (before, _)), slope = value_and_grad(trained, penalties=penalties)
        norm = optax.tree.norm({g: slope[g] for g in moving})
        scale = radius / jnp.where(norm > 0, norm, 1)
        worst = dict(trained)
        for g in moving:
            worst[g] = jax.tree.map(lambda w, s: (w + scale * s).astype(w.dtype), trained[g], slope[g])
        # Second gradient: loss, metrics and the method's state come from here.
        (value, (states, metrics)), gradients = value_and_grad(worst)
        return (value, (states._replace(model=before.model), metrics)), gradients

    updates = tuple(u._replace(gradient=gradient) if u.joins else u for u in method.updates)
    return method._replace(updates=updates)


@checked
@checked
def scheduled(method: Method, weight: Weight) -> Method:
    """Multiply a method's penalties by a schedule; their metrics stay as they are.

    Args:
        method: any method with penalties; without any an InputError is raised.
        weight: a number, or a function of the view such as :func:`dalib.methods.dann_schedule`.
    """
    if not method.penalties:
        raise input_error("scheduled", got=f"method {method.name!r} without penalties", expected="one with penalties")

    def times(penalty: Loss) -> Loss:
        def loss(view: View) -> tuple[Array, View, Metrics]:
            value, after, metrics = penalty(view)
            return weigh(weight, view) * value, after, metrics

        return loss

    return method._replace(penalties=tuple(times(penalty) for penalty in method.penalties))


def augmented(method: Method, augment: Augment) -> Method:
    """Give every update a fresh random view of all examples; evaluation, calibration and looks see the inputs. It works
    inside the compiled step, so it serves single runs and populations.

    Args:
        method: any method; one that makes views of its own makes them of these views.
        augment: ``(key, inputs [n, ...]) -> inputs [n, ...]``.
    """

    def seen(update: Update) -> Update:
        def loss(view: View) -> tuple[Array, View, Metrics]:
            # Once for the whole update: every pass of its loss sees the same views.
            keys = jax.random.split(jax.random.fold_in(view.key, SEEN))
            source, target, shots = view.batch
            source = source._replace(inputs=augment(keys[0], source.inputs))
            target = target._replace(inputs=augment(keys[1], target.inputs))
            if shots is not None:
                shots = shots._replace(inputs=augment(jax.random.fold_in(keys[1], SEEN), shots.inputs))
            return update.loss(view._replace(batch=Batch(source, target, shots)))

        return update._replace(loss=loss)

    return method._replace(updates=tuple(seen(update) for update in method.updates))


def _by_domain(model: PyTree) -> PyTree:
    """Batch statistics of each domain: its own, or the shared ones."""
    return {domain: model[domain] if domain in model else model["shared"] for domain in DOMAINS}


def _enter(view: View) -> View:
    """The view that a wrapped method sees: its own state."""
    return view.keep(view.state["method"])


def _leave(outer: States, inner: States) -> States:
    return inner._replace(method={**outer.method, "method": inner.method})


def _with_state(method: Method) -> Method:
    """The method with its state one level down, under ``method``."""

    def lift(function: Loss) -> Loss:
        def loss(view: View) -> tuple[Array, View, Metrics]:
            value, after, metrics = function(_enter(view))
            return value, after._replace(states=_leave(view.states, after.states)), metrics

        return loss

    # Hooks outside a step get states instead of a view, so they are lifted apart.
    def between(function: Callable[..., States]) -> Callable[..., States]:
        def hook(params: Params, states: States, look: Any) -> States:
            return _leave(states, function(params, states._replace(method=states.method["method"]), look))

        return hook

    hooks = method.hooks
    if hooks.refresh is not None:
        hooks = hooks._replace(refresh=between(hooks.refresh))
    if hooks.calibrate is not None:
        hooks = hooks._replace(calibrate=between(hooks.calibrate))
    if hooks.gradients is not None:
        own = hooks.gradients
        hooks = hooks._replace(gradients=lambda name, found, view: own(name, found, _enter(view)))
    # The supervised loss neither reads nor changes a method's state, and a sum knows it by identity.
    updates = tuple(u if u.loss is supervised_loss else u._replace(loss=lift(u.loss)) for u in method.updates)
    return method._replace(updates=updates, penalties=tuple(lift(p) for p in method.penalties), hooks=hooks)
