"""One update of a training step: its gradient in the form of accumulation asked for, and the move of its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dalib.core.platform import platform
from dalib.core.types import Array, Batch, Metrics, Params, PyTree, Time
from dalib.methods.base import Method, Update, joined_loss, trained_groups
from dalib.methods.view import Forward, States, View
from dalib.train.accumulate import Objective, ObjectiveOf, averaged
from dalib.train.accumulate import cached as by_cache
from dalib.train.devices.sharding import GATHERED, gather, scatter
from dalib.train.optimizer import Optimizer
from dalib.train.state import TrainState


class Settings(NamedTuple):
    """Common settings of all updates of a step."""

    method: Method
    forward: Forward
    optimizer: Optimizer
    accumulate: int
    cached: bool
    places: TrainState | None


def take(
    settings: Settings, update: Update, view: View, moments: PyTree, time: Time, key: Array
) -> tuple[View, PyTree, Metrics]:
    """Take one gradient step of ``update``; returns the view and the optimiser's moments after it, and metrics."""
    method, optimizer = settings.method, settings.optimizer
    groups = trained_groups(update, view.params)
    own = view._replace(key=key)
    (value, (states, more)), gradients = _differentiate(settings, update, own, groups)
    view = view._replace(states=in_place(settings, states))
    # A method may edit gradients (project, scale) before the optimiser and the recorded norm see them.
    if method.hooks.gradients is not None:
        gradients = method.hooks.gradients(update.name, gradients, own)
    metrics = {**more, "loss/total": value, "gradient_norm": optax.tree.norm(gradients)}
    # Parameters move only now: all gradients of this update are taken at one place.
    params, moments = dict(view.params), dict(moments)
    gradients = _once_all_are_there(gradients, metrics["gradient_norm"])
    for g in groups:
        params[g], moments[g] = optimizer.update(g, gradients[g], moments[g], params[g], time)
    return view._replace(params=params), moments, metrics


def _differentiate(settings: Settings, update: Update, view: View, groups: tuple[str, ...]) -> Any:
    """Return ``((loss, (states, metrics)), gradients)`` of one update, in the form of accumulation asked for."""
    forward, parts = settings.forward, settings.accumulate

    def value_and_grad(trained: Params, penalties: bool = True) -> Any:
        objective_of = _objectives(settings, update, view, penalties)
        if parts == 1:
            objective = objective_of(lambda params: forward)
            return jax.value_and_grad(objective, has_aux=True)(trained, view.batch, view.key)
        if settings.cached:
            what = f"method {settings.method.name!r}, update {update.name!r}"
            at = (view.params, view.states, view.batch, view.key, parts)
            return by_cache(objective_of, forward, trained, *at, what=what)
        return averaged(objective_of, forward, trained, view.states, view.batch, view.key, parts)

    trained = {g: view.params[g] for g in groups}
    return value_and_grad(trained) if update.gradient is None else update.gradient(value_and_grad, trained)


def _objectives(settings: Settings, update: Update, view: View, penalties: bool) -> ObjectiveOf:
    """Return the loss of an update as a function of its trained groups, a batch and a key, for any forward."""

    def objective_of(forward_of: Callable[[Params], Forward]) -> Objective:
        def objective(trained: Params, batch: Batch, key: Array):
            params, states = whole(settings, view.params | trained, view.states)
            own = view._replace(batch=batch, params=params, states=states, net=forward_of(params), key=key)
            value, after, metrics = joined_loss(settings.method, update, own) if penalties else update.loss(own)
            return value, (after.states, metrics)

        if settings.places is None:
            return objective
        # Rematerialise only the all-gathered parameters; keep every other residual.
        return jax.checkpoint(objective, policy=_KEEP_ALL_BUT_GATHERED)

    return objective_of


def whole(settings: Settings, params: Params, states: States) -> tuple[Params, States]:
    """Gather parameters and states from all devices: losses see whole arrays."""
    return (params, states) if settings.places is None else gather((params, states), _parts(settings.places))


def in_place(settings: Settings, states: States) -> States:
    """Split states over the devices again, as they are between steps."""
    return states if settings.places is None else scatter(states, _parts(settings.places)[1])


_KEEP_ALL_BUT_GATHERED = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)


def _parts(state: TrainState) -> tuple[Params, States]:
    return state.params, States(state.model, state.method)


def _once_all_are_there(gradients: PyTree, norm: Array) -> PyTree:
    """On CPU, make each gradient depend on all of them (through the global norm).

    XLA then updates parameters in place. Otherwise it must assume that a kernel is updated before the backward pass has
    read it. It then copies every large kernel at every step of a loop. An optimization barrier vanishes too early.
    """
    if platform() != "cpu":
        return gradients
    return jax.tree.map(lambda g: jnp.where(norm < 0, jnp.zeros((), g.dtype), g), gradients)
