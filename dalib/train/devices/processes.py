"""Several processes as one program: how they find each other, and the work of all or of the first alone.

``jax.distributed`` is the engine. Every process runs the same program; a step is one computation on the devices of all.
Each process brings its own rows of a batch, and process 0 alone writes what is not a checkpoint. Between steps the host
works on local copies (:func:`local`), which hold the same values everywhere. Settings that are incomplete or make no
sense raise an InputError.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

from dalib.core.checks import InputError, input_error
from dalib.core.types import PyTree
from dalib.train.devices import peers
from dalib.train.devices.sharding import make_mesh, replicated

WAYS = ("off", "tpu", "slurm")
SLURM_PORTS = range(61_440, 65_536)


class Processes(NamedTuple):
    """The processes that take part: ``host:port`` of process 0, their number, and the number of this one, from 0."""

    coordinator: str
    processes: int
    process: int


def asked_for(environment: Mapping[str, str]) -> Any:
    """Return what the variables of :func:`initialize` ask for: :class:`Processes`, ``"tpu"``, or None."""
    names = ("DALIB_COORDINATOR", "DALIB_PROCESSES", "DALIB_PROCESS")
    given = [environment.get(name) for name in names]
    if any(given):
        return checked(given, ", ".join(names))
    way = environment.get("DALIB_DISTRIBUTED", "off")
    if way not in WAYS:
        raise input_error("DALIB_DISTRIBUTED", got=repr(way), expected=f"one of {', '.join(WAYS)}")
    if way == "slurm":
        return from_slurm(environment)
    return None if way == "off" else way


def from_slurm(environment: Mapping[str, str]) -> Processes:
    """Return the processes of one Slurm job step: the first node coordinates, at a port derived from the job's number.

    Outside of ``srun`` the variables are missing: an InputError.
    """
    wanted = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")
    missing = [name for name in wanted if not environment.get(name)]
    if missing:
        raise input_error(
            "DALIB_DISTRIBUTED",
            got=f"slurm, without {', '.join(missing)}",
            expected="a process started by srun",
            todo="start the program with srun, as experiments/launch/slurm_nodes.sbatch does",
        )
    job, nodes, count, index = (environment[name] for name in wanted)
    host = first_host(nodes)
    if not job.isdigit():
        raise input_error("SLURM_JOB_ID", got=repr(job), expected="a number")
    coordinator = f"{host}:{SLURM_PORTS[int(job) % len(SLURM_PORTS)]}"
    return checked((coordinator, count, index), "SLURM_NTASKS, SLURM_PROCID")


def first_host(nodes: str) -> str:
    """Return the first host of a Slurm node list: ``gpu[003-007,9],cpu1`` begins with ``gpu003``."""
    match = re.fullmatch(r"([\w.-]+?)(?:\[(\w+)[^\]]*\]([\w.-]*))?(?:,.*)?", nodes.strip())
    if match is None:
        raise input_error("SLURM_STEP_NODELIST", got=repr(nodes), expected="a list such as node[001-004],other7")
    return "".join(part or "" for part in match.groups())


def checked(given: Sequence[Any], argument: str) -> Processes:
    """Return ``(coordinator, processes, process)`` as numbers; ``argument`` is for the error."""
    try:
        found = Processes(str(given[0]), int(given[1]), int(given[2]))
    except (TypeError, ValueError):
        found = Processes("", 0, 0)
    host, _, port = found.coordinator.rpartition(":")
    if not (host and port.isdigit() and 0 <= found.process < found.processes):
        raise input_error(
            argument,
            got=", ".join(map(str, given)),
            expected="host:port, a number of processes ≥ 1, and 0 ≤ process < processes",
        )
    return found


T = TypeVar("T")


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Join the other processes, if that was asked for; must come before anything touches a device.

    Asked for are, in this order: the three arguments; the variables ``DALIB_COORDINATOR`` (``host:port`` of process 0),
    ``DALIB_PROCESSES`` and ``DALIB_PROCESS``; ``DALIB_DISTRIBUTED=slurm``, where Slurm's variables say the same; and
    ``DALIB_DISTRIBUTED=tpu`` on the workers of a TPU slice, which know each other. Otherwise the process stays alone.
    Does nothing when it has joined already. If one of them dies later, the others end within ``DALIB_PEER_TIMEOUT``
    seconds (:mod:`dalib.train.devices.peers`); the workers of a TPU slice see to that themselves. Processes that do not
    find each other raise an InputError.
    """
    if jax.distributed.is_initialized():
        return
    arguments = (coordinator, processes, process)
    if any(given is not None for given in arguments):
        # Arguments win over variables: a launcher's environment may be inherited.
        found: Any = checked(arguments, "coordinator, processes, process")
    else:
        found = asked_for(environment)
        if found is None:
            return
    try:
        # The workers of a slice know their coordinator from the TPU's own metadata.
        if found == "tpu":
            jax.distributed.initialize()
        else:
            # Left to itself, jax takes one device a process under Slurm; here a process takes all that it sees.
            patience = peers.seconds(environment.get("DALIB_PEER_TIMEOUT", ""))
            address, bind = peers.join(found.coordinator, found.processes, found.process, patience)
            jax.distributed.initialize(
                address,
                found.processes,
                found.process,
                cluster_detection_method="deactivate",
                coordinator_bind_address=bind,
            )
    except InputError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise input_error(
            "distributed",
            got=f"no connection ({str(error).splitlines()[0]})",
            expected="the workers of a TPU slice" if found == "tpu" else f"processes that meet: {found}",
            todo="start all with the same coordinator, before anything else touches a device; see experiments/launch",
        ) from error


def process_count() -> int:
    """Return the number of processes. Touches no device while this one is alone."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Return the number of this process; 0 while it is alone."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def leads() -> bool:
    """Tell whether this is process 0, the one that writes."""
    return process_index() == 0


def from_each(value: float) -> np.ndarray:
    """Return a number of each process, ``[processes]`` float64; all must call it, and so wait for one another."""
    if process_count() == 1:
        return np.asarray([value], np.float64)
    # Exact numbers have to arrive: steps and line counts are compared for equality.
    bits = np.asarray([value], np.float64).view(np.uint32)  # two words, since jax has no float64 by default
    return np.asarray(process_allgather(bits)).view(np.float64)[:, 0]


def leaders(value: float) -> float:
    """Return process 0's number. All must call it; for what each would read off a shared disk, which may be late."""
    return float(from_each(value)[0])


def any_process(flag: bool) -> bool:
    """Tell whether it is true on any process; all must call it."""
    return bool(from_each(float(flag)).any())


def leader_first(action: Callable[[], T]) -> T:
    """Do something on process 0, and then on the others; an error on one is an error on all, so that none waits.

    Where it failed elsewhere an InputError is raised, the error itself where it happened.
    """
    result: Any = None
    error: Exception | None = None
    # Two turns: process 0 makes files that the others then find.
    for turn in (leads(), not leads()):
        if turn:
            try:
                result = action()
            except Exception as own:
                error = own
        if process_count() == 1:
            break
        if any_process(error is not None):
            raise error or InputError("another process stopped with an error; its message says why")
    if error is not None:
        raise error
    return result


def run_mesh(environment: Mapping[str, str] = os.environ) -> Mesh | None:
    """Return the mesh of all devices of all processes; None where there is but one device.

    ``DALIB_DEVICES=n`` takes the first n devices of each process only; each must have as many.
    """
    text = environment.get("DALIB_DEVICES", "")
    devices = jax.devices()
    if text:
        most = int(text) if text.isdigit() else 0
        if not 1 <= most <= jax.local_device_count():
            expected = f"a number from 1 to {jax.local_device_count()}, the devices of this process"
            raise input_error("DALIB_DEVICES", got=repr(text), expected=expected)
        ranks: dict[int, int] = {}
        kept = []
        for device in devices:
            ranks[device.process_index] = rank = ranks.get(device.process_index, 0) + 1
            kept += [device] * (rank <= most)
        devices = kept
    return make_mesh(devices) if len(devices) > 1 else None


def replicate(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Copy every leaf to every device of the mesh; leaves that are there already stay, without a mesh all do.

    All processes must call it with the same values.
    """
    if mesh is None:
        return tree
    sharding = replicated(mesh)

    def put(x: Any) -> Any:
        if isinstance(x, jax.Array) and x.sharding.device_set == sharding.device_set:
            return x
        if process_count() == 1:
            return jax.device_put(x, sharding)
        # Keys are no numpy arrays: their words are placed, and wrapped again.
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        values = np.asarray(x)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(put, tree)


def local(tree: PyTree) -> PyTree:
    """Return every leaf whole on one device of this process, for work on the host between steps."""

    def take(x: Any) -> Any:
        if not isinstance(x, jax.Array) or len(x.sharding.device_set) == 1:
            return x
        if not x.is_fully_replicated:
            x = jax.jit(lambda x: x, out_shardings=replicated(x.sharding.mesh))(x)  # type: ignore[attr-defined]
        return x.addressable_data(0)

    return jax.tree.map(take, tree)
