"""Several processes of one program on this machine, as they would run on several hosts.

    python -m experiments.launch.local --processes 2 --devices 4 -- python -m experiments.digits --method dann --seeds 1

Each process sees ``--devices`` virtual CPU devices; without that option it takes what it finds (on a machine with GPUs,
``--gpus 2`` gives each process two of its own). Output of process i begins with ``[i]``. The processes end together:
signals are passed on to all, and when one fails the others are ended. The same command goes on with what is unfinished.

Exit status: that of the process that failed first (128 + n for one that signal n ended), otherwise 0.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import tyro

from dalib.core.checks import InputError, input_error

GRACE = 30.0
"""Seconds between asking processes to end and killing them: time to save."""


@dataclass(frozen=True)
class Local:
    """Options of ``python -m experiments.launch.local``; the command follows after ``--``."""

    processes: int = 2
    """How many processes."""
    devices: int | None = None
    """Virtual CPU devices of each process. Default: the devices that it finds."""
    gpus: int | None = None
    """GPUs of each process: process i sees those numbered i·gpus … (i + 1)·gpus − 1."""
    port: int | None = None
    """Of process 0, where the others find it. Default: a free one."""


def environments(options: Local, port: int, inherited: Mapping[str, str]) -> list[dict[str, str]]:
    """The environment of each process.

    Raises:
        InputError: for numbers that make no sense.
    """
    for name in ("processes", "devices", "gpus"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise input_error(name, got=value, expected="a number ≥ 1")
    if options.devices and options.gpus:
        raise input_error("devices", got="beside gpus", expected="one of the two: CPU devices or GPUs")
    found = []
    for i in range(options.processes):
        own = {**inherited, "DALIB_COORDINATOR": f"127.0.0.1:{port}"}
        own |= {"DALIB_PROCESSES": str(options.processes), "DALIB_PROCESS": str(i)}
        if options.devices:
            own |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(options.devices)}
        if options.gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(str(i * options.gpus + k) for k in range(options.gpus))
        found.append(own)
    return found


def launch(options: Local, command: Sequence[str]) -> int:
    """Starts the processes, waits for their ends and returns the exit status."""
    if not command:
        raise input_error("command", got="none", expected="one after --, such as -- python -m experiments.digits")
    port = options.port or free_port()
    processes: list[subprocess.Popen[str]] = []
    speakers: list[threading.Thread] = []
    with forwarded_signals(lambda number: _send(processes, number)):
        try:
            for i, environment in enumerate(environments(options, port, os.environ)):
                try:
                    # A session of its own: what a terminal sends to all comes through here, once.
                    process = subprocess.Popen(
                        command,
                        env=environment,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                        errors="replace",
                        start_new_session=True,
                    )
                except OSError as error:
                    raise input_error("command", got=f"{command[0]} ({error.strerror})", expected="a program") from None
                processes.append(process)
                for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    assert stream is not None
                    speakers.append(threading.Thread(target=_repeat, args=(stream, out, f"[{i}] "), daemon=True))
                    speakers[-1].start()
            return wait(processes)
        finally:
            end(processes)
            for speaker in speakers:
                speaker.join(timeout=5)


def wait(processes: Sequence["subprocess.Popen[str]"], every: float = 0.05) -> int:
    """Waits until all have ended well or one has failed."""
    while True:
        codes = [process.poll() for process in processes]
        if failed := [code for code in codes if code]:
            return status(failed[0])
        if all(code is not None for code in codes):
            return 0
        time.sleep(every)


def end(processes: Sequence["subprocess.Popen[str]"], grace: float = GRACE) -> None:
    """Asks those that still run to end, and kills them after ``grace`` seconds."""
    _send(processes, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _send([process], signal.SIGKILL)
            process.wait()


def status(code: int) -> int:
    """A shell's exit status for Python's return code."""
    return 128 - code if code < 0 else code


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def forwarded_signals(send: Callable[[int], None]):
    """Inside this context SIGINT and SIGTERM go to ``send`` and do not end this process."""
    before = {number: signal.signal(number, lambda n, _: send(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(processes: Sequence["subprocess.Popen[str]"], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass


def _repeat(stream: IO[str], out: IO[str], prefix: str) -> None:
    for line in stream:
        out.write(prefix + line)
        out.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    description = (__doc__ or "").strip()
    try:
        options = tyro.cli(
            Local, args=arguments[:cut], description=description, prog="python -m experiments.launch.local"
        )
        return launch(options, arguments[cut + 1 :])
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
