"""One mesh with a ``data`` axis: batches split over it; the state replicated, or split over it as well.

Splitting the state changes its place between steps, not the computation of a step. A step gathers each part where it is
used, and again in the backward pass instead of keeping it; its gradient comes back as a sum that is left split
(Rajbhandari, Rasley, Ruwase, He, ZeRO, SC 2020, arXiv 1910.02054, stage 3). Compilers may follow only in part: XLA's
for CPUs gathers once, keeps the whole part, and sums gradients whole before it splits them.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalib.core.checks import InputError, input_error
from dalib.core.types import Array, PyTree

GATHERED = "gathered"
"""Name of gathered parts for ``jax.checkpoint``'s policies: not to be kept for the backward pass."""


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Make a one-dimensional mesh of all devices (or those given), axis ``data``, of the Auto kind.

    The devices of a process follow one another, so that its rows of a batch are one piece: on a TPU slice they need not
    follow one another in ``jax.devices()``.
    """
    found = jax.devices() if devices is None else devices
    return Mesh(np.array(sorted(found, key=lambda device: (device.process_index, device.id))), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of state and metrics: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batches: the first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def fully_sharded(mesh: Mesh, shapes: PyTree, *, min_size: int = 2**16) -> PyTree:
    """Choose shardings that split the large leaves of a state over the mesh, by their shapes alone.

    A leaf is split along its longest axis that the number of devices divides. Leaves without such an axis and those of
    fewer than ``min_size`` elements are replicated: to gather them costs more than their memory. ``shapes`` is a tree
    of arrays or ``jax.ShapeDtypeStruct``; the result is for ``make_step(..., state_sharding=)``. To make a state
    straight in its places call ``jax.jit(init, out_shardings=fully_sharded(mesh, jax.eval_shape(init, key)))``.
    """
    if min_size < 0:
        raise input_error("min_size", got=min_size, expected="a number of elements ≥ 0")

    def place(x: Any) -> NamedSharding:
        divisible = [axis for axis, size in enumerate(x.shape) if size and size % mesh.size == 0]
        if math.prod(x.shape) < min_size or not divisible:
            return replicated(mesh)
        longest = max(divisible, key=lambda axis: x.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * longest, "data"))

    return jax.tree.map(place, shapes)


def gather(tree: PyTree, shardings: PyTree) -> PyTree:
    """Gather the leaves of a split tree whole on every device; their gradients come back split as the leaves are."""
    return jax.tree.map(
        lambda x, s: x if s.is_fully_replicated else checkpoint_name(_whole(x, s), GATHERED), tree, shardings
    )


def scatter(tree: PyTree, shardings: PyTree) -> PyTree:
    """Put the leaves of a tree in their places between steps."""
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, shardings)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _whole(x: Array, sharding: NamedSharding) -> Array:
    return jax.lax.with_sharding_constraint(x, NamedSharding(sharding.mesh, PartitionSpec()))


def _whole_forward(x: Array, sharding: NamedSharding) -> tuple[Array, None]:
    return _whole(x, sharding), None


def _whole_backward(sharding: NamedSharding, _: None, gradient: Array) -> tuple[Array]:
    # Left to itself the transposed constraint would ask for the whole gradient on every device.
    return (jax.lax.with_sharding_constraint(gradient, sharding),)


_whole.defvjp(_whole_forward, _whole_backward)


def check_rows(batch_size: int, mesh: Mesh | None) -> None:
    """Raise an InputError unless the devices of the mesh divide a global batch evenly."""
    devices = 1 if mesh is None else mesh.size
    if batch_size % devices:
        near = " or ".join(str(n) for n in (batch_size // devices * devices, -(-batch_size // devices) * devices) if n)
        raise input_error(
            "batch_size",
            got=f"{batch_size} for {devices} devices",
            expected=f"a multiple of {devices}, such as {near}",
            todo="change it, or let fewer devices take part: DALIB_DEVICES=n takes n of each process",
        )


def put_batch(batch: Any, mesh: Mesh | None = None) -> Any:
    """Put a tree of numpy arrays ``[rows of this process, ...]`` on its devices, as global arrays.

    Without a mesh they go to the default device. Raises an InputError unless the rows divide evenly among the devices.
    """
    if mesh is None:
        return jax.device_put(batch)
    sharding = batch_sharding(mesh)
    local = len(mesh.local_devices)

    def put(x: Any) -> jax.Array:
        if x.shape[0] % local:
            raise InputError(
                f"batch size: got {x.shape[0]} rows for this process's {local} devices\n  expected: a multiple of "
                f"{local}\n  what to do: change the batch size or use fewer devices"
            )
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, batch)
