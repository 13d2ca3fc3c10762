"""The training step under ``jit``, for whole states and for states that are split over the devices."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dalib.core.checks import input_error
from dalib.core.options import Count, checked
from dalib.core.platform import tracing_over
from dalib.core.types import Array, Batch, Metrics, PyTree, Task, Time
from dalib.methods.base import Method
from dalib.methods.view import Forward, States, View
from dalib.train.accumulate import check_parts, refusing
from dalib.train.devices.sharding import batch_sharding, fully_sharded, replicated
from dalib.train.optimizer import Optimizer
from dalib.train.state import TrainState
from dalib.train.update import Settings, in_place, take, whole

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@checked
def training_step(
    method: Method,
    forward: Forward,
    optimizer: Optimizer,
    *,
    total_steps: Count,
    task: Task,
    state_sharding: TrainState | None = None,
    accumulate: Count = 1,
    cached: bool = False,
) -> Step:
    """Return the step as a pure function, to be jitted, scanned or vmapped by the caller.

    Every update of the method is one gradient over the groups that it trains; later updates of the same step see the
    parameters and states that earlier ones left. Losses are written on the logical global batch, so they mean the same
    on any number of devices.

    Args:
        total_steps: of the run; schedules get the step and its share of them.
        task: what is predicted.
        state_sharding: places of the state's parts between steps, of :func:`dalib.train.fully_sharded`; None for a
            whole state on every device.
        accumulate: number of parts in which a batch goes through the net (:mod:`dalib.train.accumulate`). For methods
            that declare ``per_example``, on nets without BatchNorm or with frozen statistics.
        cached: accumulate by two passes, which is exact for other methods as well.

    Returns:
        ``(state, batch) -> (state, metrics)``; metrics are scalars, among them ``loss/total`` and ``gradient_norm`` of
        each update and ``learning_rate``.
    """
    check_parts(method, accumulate, cached=cached)
    if accumulate > 1 and cached and state_sharding is not None:
        raise input_error("cached", got="True with a split state", expected="a whole state on every device")
    settings = Settings(method, forward, optimizer, accumulate, cached, state_sharding)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # The view: all that a method may read. Its key depends on the step alone, so a resumed run draws the same.
        time = Time(state.step, state.step.astype(jnp.float32) / total_steps)
        key = jax.random.fold_in(state.key, state.step)
        view = View(batch, state.params, States(state.model, state.method), forward, task, key, *time)
        moments = state.optimizer
        metrics: Metrics = {"learning_rate": optimizer.rate(time)}
        # Every update, and every repetition of one, draws from a key of its own.
        draw = 0
        for update in method.updates:
            prefix = f"{update.name}/" if len(method.updates) > 1 else ""
            for _ in range(update.repeats):
                view, moments, more = take(settings, update, view, moments, time, jax.random.fold_in(key, draw))
                draw += 1
                metrics |= {prefix + name: metric for name, metric in more.items()}
        states = _end(settings, view, jax.random.fold_in(key, draw))
        # Leave the key as it is: the next step folds its own number into it.
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=view.params,
            optimizer=moments,
            model=states.model,
            method=states.method,
        )
        return new, metrics

    return step


def _end(settings: Settings, view: View, key: Array) -> States:
    """Return the states after the method's ``after_step``, which sees the parameters that the updates left."""
    method, forward = settings.method, settings.forward
    if method.hooks.after_step is None:
        return view.states
    # A pass over the whole batch here would undo what the accumulation saves.
    if settings.accumulate > 1:
        forward = refusing(forward, f"method {method.name!r}, at the step's end,")
    params, states = whole(settings, view.params, view.states)
    end = view._replace(params=params, states=states, net=forward, key=key)
    return in_place(settings, method.hooks.after_step(end))


@checked
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

    ``mesh`` is None for the default device alone, and needed for a ``state_sharding``.
    """
    if mesh is None:
        if state_sharding is not None:
            raise input_error("state_sharding", got="one without a mesh", expected="mesh= as well")
        return jax.jit(training_step(method, forward, optimizer, **settings), donate_argnums=0)
    everywhere = replicated(mesh)
    # Metrics are whole everywhere, so that any process can write them.
    places = everywhere if state_sharding is None else state_sharding
    pure = training_step(method, forward, optimizer, state_sharding=state_sharding, **settings)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # Kernels must know the rows of one device, not those of the global batch.
        with tracing_over(mesh.size):
            return pure(state, batch)

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(places, batch_sharding(mesh)),
        out_shardings=(places, everywhere),
    )


# A state that is split over the devices from its first moment: for nets too large for a copy on each.


def split_init(init: Callable[..., TrainState], mesh: Mesh, *, min_size: int = 2**16) -> Callable[..., TrainState]:
    """Return ``init`` under ``jit``, its result put where :func:`~dalib.train.devices.sharding.fully_sharded` wants it.

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

    ``pieces`` are method, forward and optimizer. What the host changed between two steps (a refresh) comes back to its
    place first.
    """
    # Compiled at the first call: places depend on shapes that only a state has.
    known: list[tuple[TrainState, Step]] = []

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if not known:
            places = fully_sharded(mesh, state, min_size=min_size)
            known.append((places, make_step(*pieces, mesh=mesh, state_sharding=places, **settings)))
        places, compiled = known[0]
        return compiled(put_back(state, places), batch)

    return step


def put_back(tree: PyTree, places: PyTree) -> PyTree:
    """Put every leaf in its place; those that are there stay."""

    def put(x: Any, place: Any) -> Any:
        if isinstance(x, jax.Array) and x.sharding.is_equivalent_to(place, x.ndim):
            return x
        return jax.device_put(x, place)

    return jax.tree.map(put, tree, places)
