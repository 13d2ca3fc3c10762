"""A state that is split over the devices from its first moment: for runs whose net is too large for a copy on each."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from dalib.train.sharding import fully_sharded
from dalib.train.state import TrainState
from dalib.train.step import Step, make_step
from dalib.types import Batch, Metrics, PyTree


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
