"""Measurements of time in turns, and of peak memory.

Each contestant runs in a process of its own, on the same cores, taking turns. Whatever else the machine does then slows
all of them, and neither library's threads meet the other's.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dalib.core.platform import keep_memory

Built = tuple[dict[str, Callable[[], Any]], Any, Callable[[], Any]]
"""Result of building a contestant: calls that return when their work is done, facts for the start, and a function that
gives facts at the end."""


class Side(NamedTuple):
    """One contestant.

    Attributes:
        name: for messages.
        pipe: to its process.
        process: its process.
        facts: those that it told when it was built.
    """

    name: str
    pipe: Connection
    process: Any
    facts: Any


class Failure(NamedTuple):
    """Message of a process in place of an answer."""

    text: str


def begin(name: str, build: Callable[..., Built], *arguments: Any, threads: int, keep: bool = False) -> Side:
    """Starts a process that builds a contestant, and waits until it has.

    Args:
        name: of the contestant.
        build: called with ``arguments`` in the new process; both are pickled.
        *arguments: its arguments.
        threads: the process stays on the first so many of this process's cores.
        keep: it keeps the memory that it frees (:func:`dalib.core.platform.keep_memory`).

    Raises:
        RuntimeError: when building it fails; its traceback is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_worker, args=(there, build, arguments, threads, keep), daemon=True)
    process.start()
    there.close()
    try:
        return Side(name, here, process, _answer(name, here))
    except RuntimeError:
        process.join()
        raise


def take_turns(sides: Mapping[str, Side], call: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of ``rounds`` calls of each side, one each in turn."""
    times: dict[str, list[float]] = {key: [] for key in sides}
    for _ in range(rounds):
        for key, side in sides.items():
            side.pipe.send(call)
            times[key].append(_answer(side.name, side.pipe))
    return times


def end(side: Side) -> Any:
    """Ends a contestant's process and returns what it tells at the end."""
    side.pipe.send("end")
    last = _answer(side.name, side.pipe)
    side.process.join()
    return last


def _answer(name: str, pipe: Connection) -> Any:
    try:
        found = pipe.recv()
    except EOFError:
        raise RuntimeError(f"{name}: its process has ended; its error is above") from None
    if isinstance(found, Failure):
        raise RuntimeError(f"{name}: {found.text}")
    return found


def _worker(pipe: Connection, build: Callable[..., Built], arguments: Any, threads: int, keep: bool) -> None:
    if keep:
        keep_memory()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        calls, facts, last = build(*arguments)
        pipe.send(facts)
        while (call := pipe.recv()) != "end":
            start = time.perf_counter()
            calls[call]()
            pipe.send(time.perf_counter() - start)
        pipe.send(last())
    except Exception as error:
        traceback.print_exc()
        pipe.send(Failure(f"{type(error).__name__}: {str(error).splitlines()[:1]}"))


def reset_peak_memory() -> int:
    """Starts a new measurement of peak memory; returns the bytes in use now."""
    statistics = jax.devices()[0].memory_stats()
    if statistics:  # an accelerator counts from the process's start: the inputs alone are in use now
        return statistics["bytes_in_use"]
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def peak_memory() -> int:
    """Bytes in use at the peak since :func:`reset_peak_memory`."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else status_bytes("VmHWM")


def status_bytes(field: str) -> int:
    """A memory field of this process, from Linux's own books."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(field + ":"):
            return int(entry.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")
