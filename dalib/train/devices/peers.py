"""Watch over several processes: when one dies, the others end at once with a message, instead of waiting for it.

Without it a survivor hangs in a collective. jax's coordination service aborts it a minute and a half later, or at once
when process 0 died. So connections to that service go through two relays. One in process 0 listens in its place; one in
each other process keeps its side open when the far side breaks. Each process also has a connection of its own to
process 0, its *watch*. It breaks when one of the two dies; process 0 tells the others who it was. Keep-alive probes
notice hosts that vanish without a word.
"""

import atexit
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from dalib.core.checks import input_error

TIMEOUT = 30.0
"""Seconds until the survivors have ended; ``DALIB_PEER_TIMEOUT``."""

_now = {"process": 0, "processes": 1, "step": -1, "leaving": False}
_watches: dict[int, socket.socket] = {}
_kept: list[socket.socket] = []


def note_step(step: int) -> None:
    """Keep the step for the message."""
    _now["step"] = step


def seconds(text: str) -> float:
    """Return the option's value; raises an InputError for what is no number of seconds ≥ 5."""
    try:
        found = float(text or TIMEOUT)
    except ValueError:
        found = 0.0
    if not 5 <= found < float("inf"):
        raise input_error("DALIB_PEER_TIMEOUT", got=repr(text), expected="a number of seconds ≥ 5")
    return found


def join(coordinator: str, processes: int, process: int, timeout: float) -> tuple[str, str | None]:
    """Start the relay of this process, ``process`` of ``processes``; ``coordinator`` is ``host:port`` of process 0.

    Returns the address at which jax finds its coordination service, and the one where process 0 is to open it.
    """
    _now.update(process=process, processes=processes)
    host, _, port = coordinator.rpartition(":")
    atexit.register(_leave)
    # Process 0 listens in the place of the service, which gets a free local port.
    if process == 0:
        inner = f"127.0.0.1:{_free_port()}"
        listener = socket.create_server(("", int(port)), backlog=4 * processes, reuse_port=False)
        _thread(_accept, listener, lambda client: _welcome(client, inner, timeout))
        return inner, inner
    address = (host.strip("[]"), int(port))
    listener = socket.create_server(("127.0.0.1", 0))
    _thread(_accept, listener, lambda client: _pump_both(client, _reach(address, b"relay\n", timeout)))
    _thread(_watch_leader, address, process, timeout)
    local = f"127.0.0.1:{listener.getsockname()[1]}"
    return local, None


def end(status: int, message: str) -> None:
    """End this process at once and tell the others, without waiting for them as a normal end would.

    The message is kept back for a moment: if another process died first, the watch names that one instead.
    """
    time.sleep(2.0)
    print(message, file=sys.stderr, flush=True)
    _leave(b"error\n")
    time.sleep(1.0)
    os._exit(status)


def failed() -> None:
    """Handle an unexpected error; does not return.

    When a collective failed because another process died, the watch is about to name it, and ends this process.
    Otherwise the error is this process's own: it is printed, and the others are told.
    """
    time.sleep(3.0)
    end(1, traceback.format_exc())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _thread(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True, name="dalib-peers").start()


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        _thread(serve, listener.accept()[0])


def _reach(address: tuple[str, int], greeting: bytes, timeout: float) -> socket.socket:
    """Connect to process 0, which may not be there yet; jax gives up after five minutes, and so does this."""
    for _ in range(600):
        with suppress(OSError):
            found = socket.create_connection(address, timeout=10)
            found.settimeout(None)
            _keep_alive(found, timeout)
            found.sendall(greeting)
            return found
        time.sleep(0.5)
    raise TimeoutError(f"no process 0 at {address}")


def _keep_alive(connection: socket.socket, timeout: float) -> None:
    """Count a host as gone after four unanswered probes within the time."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    every = max(1, int(timeout / 6))
    for name, value in (("TCP_KEEPIDLE", every), ("TCP_KEEPINTVL", every), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _welcome(client: socket.socket, inner: str, timeout: float) -> None:
    """In process 0: read from a connection's first line whether it is a relay or a watch."""
    _keep_alive(client, timeout)
    first = b""
    while not first.endswith(b"\n") and len(first) < 32:
        byte = client.recv(1)
        if not byte:
            return
        first += byte
    # A relay carries jax's own traffic; a watch carries nothing until somebody leaves.
    words = first.split()
    if words[:1] == [b"relay"]:
        host, _, port = inner.rpartition(":")
        _pump_both(client, socket.create_connection((host, int(port))))
    elif words[:1] == [b"watch"]:
        process = int(words[1])
        _watches[process] = client
        last = _listen(client)
        if last == b"bye" or _now["leaving"]:
            return
        # Tell the survivors first: this process is about to end, and they would take it for the cause.
        for other, watch in _watches.items():
            if other != process:
                with suppress(OSError):
                    watch.sendall(b"gone %d %s\n" % (process, last))
        time.sleep(1.0)  # so that the others hear it from here, and not of the end of this process
        _die(_about(process, last))


def _watch_leader(address: tuple[str, int], process: int, timeout: float) -> None:
    """In the others: wait until process 0 says who is gone, or is gone itself."""
    _watches[0] = _reach(address, b"watch %d\n" % process, timeout)
    last = _listen(_watches[0])
    if _now["leaving"] or last == b"bye":
        return
    words = last.split()
    # Process 0 lives and names the one that died; otherwise it is gone itself.
    if words[:1] == [b"gone"]:
        _die(_about(int(words[1]), b" ".join(words[2:])))
    _die(_about(0, last))


def _listen(connection: socket.socket) -> bytes:
    """Return the line that comes; an empty one when the connection ends without."""
    found = b""
    with suppress(OSError):
        while not found.endswith(b"\n") and (piece := connection.recv(256)):
            found += piece
    return found.strip()


def _pump_both(one: socket.socket, other: socket.socket) -> None:
    _kept.extend((one, other))  # nothing closes them before the process ends
    _thread(_pump, one, other)
    _pump(other, one)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the source ends. The sink stays open: jax would abort if it saw that its service is gone."""
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)


def _leave(word: bytes = b"bye\n") -> None:
    """Tell the others that the end of this process is no accident, or that an error of its own is the reason."""
    if not _now["leaving"]:
        _now["leaving"] = True
        for watch in _watches.values():
            with suppress(OSError):
                watch.sendall(word)


def _about(process: int, last: bytes) -> str:
    end = "ended with an error; its own message says why" if last == b"error" else "is gone without a word"
    return f"process {process} of {_now['processes']} {end}"


def _die(what: str) -> None:
    if _now["leaving"]:
        return
    _now["leaving"] = True
    at = f", at step {_now['step']}" if _now["step"] >= 0 else ""
    message = (
        f"\nstopped: {what}{at} (this is process {_now['process']})\n  kept: the record and the checkpoints up to then"
        "\n  what to do: start all processes again with the same command; they go on from the last checkpoint\n"
    )
    os.write(2, message.encode())
    os._exit(1)
