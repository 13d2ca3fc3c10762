"""The compiled training step, and the split of its batch."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from dalib.core.checks import input_error
from dalib.core.platform import platform, tracing_over
from dalib.core.types import Array, Batch, Metrics, Params, PyTree, Task, Time
from dalib.methods.base import Forward, Method, States, Update, View, joined_loss, trained_groups
from dalib.train.accumulate import Objective, ObjectiveOf, averaged, check_parts, refusing
from dalib.train.accumulate import cached as by_cache
from dalib.train.optimizer import Optimizer
from dalib.train.sharding import GATHERED, batch_sharding, fully_sharded, gather, replicated, scatter
from dalib.train.state import TrainState

# One training step and one evaluation pass under ``jax.jit``.


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def training_step(
    method: Method,
    forward: Forward,
    optimizer: Optimizer,
    *,
    total_steps: int,
    task: Task,
    state_sharding: TrainState | None = None,
    accumulate: int = 1,
    cached: bool = False,
) -> Step:
    """The step as a pure function, to be jitted, scanned or vmapped by the caller.

    Every update of the method is one gradient over the groups that it trains; later updates of the same step see the
    parameters and states that earlier ones left. Losses are written on the logical global batch, so they mean the same
    on any number of devices.

    Args:
        total_steps: of the run; schedules get the step and its share of them.
        task: what is predicted.
        state_sharding: where the parts of the state lie between steps, of :func:`dalib.train.fully_sharded`; None for
            a whole state on every device.
        accumulate: in how many parts a batch goes through the net, one after the other (:mod:`dalib.train.accumulate`).
            For methods that declare ``per_example``, on nets without BatchNorm or with frozen statistics.
        cached: do so by two passes, which is exact for other methods as well.

    Raises:
        InputError: for a method that the form of accumulation does not serve.

    Returns:
        ``(state, batch) -> (state, metrics)``; metrics are scalars, among them ``loss/total`` and ``gradient_norm`` of
        each update and ``learning_rate``.
    """

    check_parts(method, accumulate, cached=cached)
    if accumulate > 1 and cached and state_sharding is not None:
        raise input_error("cached", got="True with a split state", expected="a whole state on every device")

    def whole(params: Params, states: States) -> tuple[Params, States]:
        if state_sharding is None:
            return params, states
        return gather((params, states), _parts(state_sharding))

    def in_place(states: States) -> States:
        return states if state_sharding is None else scatter(states, _parts(state_sharding)[1])

    def objectives(update: Update, view: View, penalties: bool) -> ObjectiveOf:
        """The loss of an update as a function of what it trains, of a batch and a key, with a forward to be chosen."""

        def objective_of(forward_of: Callable[[Params], Forward]) -> Objective:
            def objective(trained: Params, batch: Batch, key: Array):
                params, states = whole(view.params | trained, view.states)
                own = view._replace(batch=batch, params=params, states=states, net=forward_of(params), key=key)
                value, after, metrics = joined_loss(method, update, own) if penalties else update.loss(own)
                return value, (after.states, metrics)

            if state_sharding is None:
                return objective
            # Rematerialise only the all-gathered parameters; keep every other residual.
            return jax.checkpoint(objective, policy=_KEEP_ALL_BUT_GATHERED)

        return objective_of

    def differentiate(update: Update, view: View, groups: tuple[str, ...]) -> Any:
        """``((loss, (states, metrics)), gradients)`` of one update, in the form of accumulation that was asked for."""

        def value_and_grad(trained: Params, penalties: bool = True) -> Any:
            objective_of = objectives(update, view, penalties)
            if accumulate == 1:
                objective = objective_of(lambda params: forward)
                return jax.value_and_grad(objective, has_aux=True)(trained, view.batch, view.key)
            if cached:
                what = f"method {method.name!r}, update {update.name!r}"
                at = (view.params, view.states, view.batch, view.key, accumulate)
                return by_cache(objective_of, forward, trained, *at, what=what)
            return averaged(objective_of, forward, trained, view.states, view.batch, view.key, accumulate)

        trained = {g: view.params[g] for g in groups}
        return value_and_grad(trained) if update.gradient is None else update.gradient(value_and_grad, trained)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        progress = state.step.astype(jnp.float32) / total_steps
        time = Time(state.step, progress)
        key = jax.random.fold_in(state.key, state.step)
        view = View(batch, state.params, States(state.model, state.method), forward, task, key, state.step, progress)
        moments = state.optimizer
        metrics: Metrics = {"learning_rate": optimizer.rate(time)}
        # Every update, and every repetition of one, draws from a key of its own.
        draw = 0
        for update in method.updates:
            groups = trained_groups(update, view.params)
            prefix = f"{update.name}/" if len(method.updates) > 1 else ""
            for _ in range(update.repeats):
                own = view._replace(key=jax.random.fold_in(key, draw))
                draw += 1
                (value, (states, more)), gradients = differentiate(update, own, groups)
                view = view._replace(states=in_place(states))
                if method.hooks.gradients is not None:
                    gradients = method.hooks.gradients(update.name, gradients, own)
                more = {**more, "loss/total": value, "gradient_norm": optax.tree.norm(gradients)}
                metrics |= {prefix + name: metric for name, metric in more.items()}
                # Parameters move only now: all gradients of this update are taken at one place.
                params, moments = dict(view.params), dict(moments)
                gradients = _once_all_are_there(gradients, more["gradient_norm"])
                for g in groups:
                    params[g], moments[g] = optimizer.update(g, gradients[g], moments[g], params[g], time)
                view = view._replace(params=params)
        if method.hooks.after_step is not None:
            last = forward if accumulate == 1 else refusing(forward, f"method {method.name!r}, at the step's end,")
            params, states = whole(view.params, view.states)
            end = view._replace(params=params, states=states, net=last, key=jax.random.fold_in(key, draw))
            view = view._replace(states=in_place(method.hooks.after_step(end)))
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=view.params,
            optimizer=moments,
            model=view.states.model,
            method=view.states.method,
        )
        return new, metrics

    return step


_KEEP_ALL_BUT_GATHERED = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)


def _parts(state: TrainState) -> tuple[Params, States]:
    return state.params, States(state.model, state.method)


def make_step(
    method: Method,
    forward: Forward,
    optimizer: Optimizer,
    *,
    mesh: Mesh | None = None,
    state_sharding: TrainState | None = None,
    **settings: Any,
) -> Step:
    """:func:`training_step` under ``jit``: state donated, batch split over the mesh's ``data`` axis.

    Args:
        mesh: None for the default device alone.
        state_sharding: where the parts of the state lie, of :func:`dalib.train.fully_sharded`; None for a whole state
            on every device.
        **settings: of :func:`training_step`.

    Raises:
        InputError: for a ``state_sharding`` without a mesh.
    """
    if mesh is None:
        if state_sharding is not None:
            raise input_error("state_sharding", got="one without a mesh", expected="mesh= beside it")
        return jax.jit(training_step(method, forward, optimizer, **settings), donate_argnums=0)
    everywhere = replicated(mesh)
    places = everywhere if state_sharding is None else state_sharding
    pure = training_step(method, forward, optimizer, state_sharding=state_sharding, **settings)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with tracing_over(mesh.size):
            return pure(state, batch)

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(places, batch_sharding(mesh)),
        out_shardings=(places, everywhere),
    )


def _once_all_are_there(gradients: PyTree, norm: Array) -> PyTree:
    """On CPU, makes each gradient depend on all of them (through the global norm).

    XLA then updates parameters in place. Otherwise it must assume that a kernel is updated before the backward pass
    has read it, and copies every large kernel at every step of a loop. An optimization barrier vanishes too early.
    """
    if platform() != "cpu":
        return gradients
    return jax.tree.map(lambda g: jnp.where(norm < 0, jnp.zeros((), g.dtype), g), gradients)


# A state that is split over the devices from its first moment: for runs whose net is too large for a copy on each.


def split_init(init: Callable[..., TrainState], mesh: Mesh, *, min_size: int = 2**16) -> Callable[..., TrainState]:
    """``init`` under ``jit``, its result put straight where :func:`~dalib.train.sharding.fully_sharded` wants it.

    Arguments by name are static (the target's size).
    """

    def place(*arguments: Any, **static: Any) -> TrainState:
        own = functools.partial(init, **static)
        places = fully_sharded(mesh, jax.eval_shape(own, *arguments), min_size=min_size)
        made: TrainState = jax.jit(own, out_shardings=places)(*arguments)
        return made

    return place


def split_step(*pieces: Any, mesh: Mesh, min_size: int = 2**16, **settings: Any) -> Step:
    """:func:`~dalib.train.make_step` for states of :func:`split_init`: the first one's shapes give the places.

    What the host changed between two steps (a refresh) comes back to its place first.

    Args:
        *pieces: method, forward and optimizer.
        mesh: of all devices.
        min_size: as in :func:`~dalib.train.sharding.fully_sharded`.
        **settings: of :func:`~dalib.train.training_step`.
    """
    known: list[tuple[TrainState, Step]] = []

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if not known:
            places = fully_sharded(mesh, state, min_size=min_size)
            known.append((places, make_step(*pieces, mesh=mesh, state_sharding=places, **settings)))
        places, compiled = known[0]
        return compiled(put_back(state, places), batch)

    return step


def put_back(tree: PyTree, places: PyTree) -> PyTree:
    """Every leaf in its place; those that are there stay."""

    def put(x: Any, place: Any) -> Any:
        if isinstance(x, jax.Array) and x.sharding.is_equivalent_to(place, x.ndim):
            return x
        return jax.device_put(x, place)

    return jax.tree.map(put, tree, places)
