"""Which processes form one program: from arguments, from ``DALIB_…`` variables, or from Slurm's."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dalib.checks import input_error

WAYS = ("off", "tpu", "slurm")
SLURM_PORTS = range(61_440, 65_536)


class Processes(NamedTuple):
    """Who takes part.

    Attributes:
        coordinator: ``host:port`` of process 0.
        processes: how many there are.
        process: which one this is, from 0.
    """

    coordinator: str
    processes: int
    process: int


def asked_for(environment: Mapping[str, str]) -> Any:
    """What the variables ask for: :class:`Processes`, ``"tpu"``, or None; see
    :func:`dalib.train.distributed.initialize`."""
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
    """The processes of one Slurm job step: the first node coordinates, at a port that follows from the job's number.

    Raises:
        InputError: outside of ``srun``, whose variables are missing then.
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
    """The first host of a Slurm node list: ``gpu[003-007,9],cpu1`` begins with ``gpu003``.

    Raises:
        InputError: for another form.
    """
    match = re.fullmatch(r"([\w.-]+?)(?:\[(\w+)[^\]]*\]([\w.-]*))?(?:,.*)?", nodes.strip())
    if match is None:
        raise input_error("SLURM_STEP_NODELIST", got=repr(nodes), expected="a list such as node[001-004],other7")
    return "".join(part or "" for part in match.groups())


def checked(given: Sequence[Any], argument: str) -> Processes:
    """``(coordinator, processes, process)`` as numbers, or an InputError about ``argument``."""
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
