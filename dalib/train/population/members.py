"""Many small runs as one program: members under ``vmap``, their steps in one ``scan``, their examples on the device.

A member is a run: a seed, or a value of a hyper-parameter. All members draw from one :class:`Pool` on the device. The
host chooses the examples of each step (:func:`dalib.data.stream_rows`), so a member sees the very batches of the
one-by-one loop. Its numbers are those of the loop up to the rounding of differently ordered sums: a matrix product of
several members is compiled to other instructions than that of one. As a rule that stays near 1e-6 for a hundred steps.
But a ReLU or a maximum of arguments that agree to rounding may take the other side. It moves parameters by 1e-3 in one
step, and from there the two are as far apart as any two roundings of one run. That was seen in 1 of 10 digit runs of 50
steps on a CPU; the means in the records of the other nine agreed to 2e-6.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalib.core.checks import input_error
from dalib.core.types import Array, Batch, Metrics, PyTree, Source, Target
from dalib.train.state import TrainState
from dalib.train.step import Step

MEMORY_SHARE = 0.5
"""Share of the device's memory that a population may take by default."""


class Pool(NamedTuple):
    """Examples on the device that all members draw from.

    Attributes:
        inputs: ``[N, ...]``.
        labels: ``[N]`` int32; read for rows of the source and the shots only. Put -1 to hide a label.
        numbers: ``[N]`` int32, the number of each example in its own domain's split (:func:`pool_numbers`). They become
            the rows of the batches; None leaves these out.
    """

    inputs: Array
    labels: Array
    numbers: Array | None = None


def pool_numbers(*sizes: int) -> np.ndarray:
    """Return the numbers of a pool that holds splits of these sizes one after the other: 0, 1, … anew for each."""
    return np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])


class Rows(NamedTuple):
    """Rows of the pool for each step, int32: ``[members, steps, n]`` source, ``[members, steps, m]`` target.

    ``shots`` ``[members, steps, s]`` are labelled target examples; None where a run has none.
    """

    source: Any
    target: Any
    shots: Any = None


class Population(NamedTuple):
    """``advance``, ``(states, pool, rows, hyper) -> (states, metrics [members, steps])``, jitted, with states donated.

    ``mesh`` splits the members over its ``data`` axis, or is None.
    """

    advance: Callable[[TrainState, Pool, Rows, PyTree], tuple[TrainState, Metrics]]
    mesh: Mesh | None = None


def make_population(step_of: Callable[[Any], Step], *, mesh: Mesh | None = None) -> Population:
    """Make the program that takes all members some steps further.

    Args:
        step_of: ``hyper -> step``, the training step (:func:`dalib.train.training_step`) of one member. ``hyper`` is
            the argument of ``advance`` without the axis of members: traced scalars for weights, learning rates,
            temperatures. ``lambda hyper: step`` where there is nothing to vary. Its net has, on a CPU, convolutions in
            the form for ``vmap``: ``dalib.encoders.population_form(net)``. A sweep of learning rate and weight::

                def step_of(hyper):
                    optimizer = make_optimizer(learning_rate=hyper["rate"])
                    return training_step(dann(weight=hyper["weight"]), forward, optimizer, ...)

        mesh: splits the members over its ``data`` axis: each device trains its own, nothing is exchanged. The number of
            members must be a multiple of the devices.
    """

    def member(pool: Pool, state: TrainState, rows: Rows, hyper: PyTree) -> tuple[TrainState, Metrics]:
        step = step_of(hyper)

        # A scan over steps inside the vmap over members: one compiled step, no host between steps.
        def body(state: TrainState, at: Rows) -> tuple[TrainState, Metrics]:
            return step(state, draw(pool, at))

        return lax.scan(body, state, rows)

    def advance(states: TrainState, pool: Pool, rows: Rows, hyper: PyTree) -> tuple[TrainState, Metrics]:
        return jax.vmap(lambda *own: member(pool, *own))(states, rows, hyper)

    if mesh is None:
        return Population(jax.jit(advance, donate_argnums=0))
    members, everywhere = PartitionSpec("data"), PartitionSpec()
    # Every member is whole on one device, so no collective can slip in; checks of replication have nothing to say here.
    split = jax.shard_map(
        advance, mesh=mesh, in_specs=(members, everywhere, members, members), out_specs=members, check_vma=False
    )
    return Population(jax.jit(split, donate_argnums=0), mesh)


def draw(pool: Pool, at: Rows) -> Batch:
    """Return the batch of one step, from the pool's rows ``[n]``, ``[m]``, ``[s]``; its rows count in each domain."""

    def own(rows: Array) -> Array | None:
        return None if pool.numbers is None else pool.numbers[rows]

    def labelled(rows: Array) -> Source:
        return Source(pool.inputs[rows], pool.labels[rows], own(rows))

    shots = None if at.shots is None else labelled(at.shots)
    return Batch(labelled(at.source), Target(pool.inputs[at.target], own(at.target)), shots)


def augmented(step: Step, augment: Callable[[Batch, Array], Batch]) -> Step:
    """Return a step that first changes its batch on the device by ``augment``; good for the loop and for a population.

    ``augment`` is a JAX function ``(batch, key) -> batch``; the key is a function of the run's key and the step.
    """

    def changed(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # Apart from the keys of the step's own draws, which are fold_in(key, step).
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), AUGMENTATION)
        return step(state, augment(batch, key))

    return changed


AUGMENTATION = 2**31 - 1
"""Folded into the key of :func:`augmented`; updates of a step count from 0."""


def stack_members(members: Sequence[PyTree], mesh: Mesh | None = None) -> PyTree:
    """Stack trees into one with an axis of members in front of every leaf; split over ``mesh`` if one is given."""
    stacked = _stack(list(members))
    return stacked if mesh is None else jax.device_put(stacked, NamedSharding(mesh, PartitionSpec("data")))


def member_of(tree: PyTree, i: int) -> PyTree:
    """Return member ``i`` of a stacked tree, on one device."""
    taken = _take(tree, i)
    if all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(taken)):
        # As it is: placing it by name would make it another kind of argument, for which functions compile again.
        return taken
    return jax.device_put(taken, jax.local_devices()[0])


# Under jit: leaf by leaf each shape would be compiled by itself, which costs more than many a run's training.
@jax.jit
def _stack(members: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


@jax.jit
def _take(tree: PyTree, i: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)


class Fit(NamedTuple):
    """Room in memory: ``members`` fit at once, at least 1; ``limit`` is in bytes, or None.

    ``needed`` are the bytes of all members asked for, as compiled: arguments, results, temporaries.
    """

    members: int
    needed: int
    limit: int | None


def fit(
    population: Population,
    state: TrainState,
    pool: Pool,
    rows: Rows,
    hyper: PyTree = None,
    *,
    members: int,
    limit: int | None = None,
) -> Fit:
    """Return how many of ``members`` members fit into memory, from the compiler's own count; nothing is run.

    Of one member's ``state``, ``rows`` (``[steps, n]`` and ``[steps, m]``) and ``hyper`` only shapes matter. ``limit``
    is in bytes on one device; None takes :func:`memory_limit`. An InputError is raised when the pool and one member are
    more.
    """
    if members < 1:
        raise input_error("members", got=members, expected="a number ≥ 1")
    limit = memory_limit() if limit is None else limit
    devices = 1 if population.mesh is None else population.mesh.size

    def needed(count: int) -> int:
        def widen(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((count, *x.shape), x.dtype)

        # Shapes alone: a hyper-parameter may be a Python number, which has none.
        one = jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), (state, rows, hyper))
        states, wide, hypers = jax.tree.map(widen, one)
        memory = population.advance.lower(states, pool, wide, hypers).compile().memory_analysis()  # type: ignore[attr-defined]
        return int(
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes
        )

    # As compiled for all: what fits is solved from the program that would run.
    whole = -(-members // devices) * devices
    total = needed(whole)
    if limit is None or total <= limit:
        return Fit(members, total, limit)
    # Memory is about linear in the members, so one compilation is enough to solve for their number.
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(pool))
    each = max(1, (total - shared) * devices // whole)
    count = int((limit - shared) // each) * devices
    if count < 1:
        raise input_error(
            "memory limit",
            got=f"{limit / 2**20:.0f} MiB for examples of {shared / 2**20:.0f} MiB and {each / 2**20:.0f} MiB a member",
            expected="room for one member",
            todo="train one run at a time, from the host's memory",
        )
    return Fit(min(members, count), total, limit)


def memory_limit() -> int | None:
    """Return half of the device's memory in bytes, or of the machine's where the device is a CPU.

    It depends on the size of the memory and not on the free part, so that a resumed run is divided as it was before.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(MEMORY_SHARE * stats["bytes_limit"])
    try:
        # A CPU reports no limit of its own.
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    except (OSError, StopIteration, ValueError):
        return None
    return int(MEMORY_SHARE * total)
