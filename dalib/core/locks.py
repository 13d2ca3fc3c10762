"""One writer a folder: a lock that names its holder and ends with it.

The lock is a file ``.lock`` with host, process id and start time of the process. It is made with ``O_EXCL`` and touched
every few seconds (``filelock.SoftFileLease``), so that it works on network disks without a lock service. A holder on
this host is looked up among the processes. One on another host counts as gone after :data:`LEASE` seconds without a
touch, by the clock of the waiting process.

A process holds a folder once, however often it asks.
"""

import atexit
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from dalib.core.checks import InputError

NAME = ".lock"
LEASE = 30.0
"""Seconds without a sign of life after which a holder on another host counts as gone; it gives three in that time."""

_held: dict[Path, filelock.SoftFileLease] = {}
_guard = threading.Lock()


def hold(folder: Path) -> None:
    """Take the lock of an existing folder for this process, or keep it.

    Raises an InputError that names the holder, when another process has it; or when no lock can be made there.
    """
    folder = folder.resolve()
    with _guard:
        if folder in _held:
            return
        lock = filelock.SoftFileLease(folder / NAME, timeout=0, lease_duration=LEASE, thread_local=False)
        try:
            _take(lock, folder)
        except OSError as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"run folder: {folder} can't be locked ({reason})\n  expected: permission to write there"
                "\n  what to do: choose another --out, or mend the permissions"
            ) from None
        _held[folder] = lock


def release(folder: Path) -> None:
    """Give the lock back; nothing happens where this process has none."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        with suppress(OSError):
            lock.release(force=True)


def lost(folder: Path) -> bool:
    """Tell whether another process took the lock from this one, which gave no sign of life for too long."""
    lock = _held.get(folder.resolve())
    return lock is not None and lock.compromise is not None


@contextmanager
def releasing() -> Iterator[None]:
    """Give back on leaving every lock that was taken inside this context."""
    before = set(_held)
    try:
        yield
    finally:
        for folder in set(_held) - before:
            release(folder)


def _take(lock: filelock.SoftFileLease, folder: Path) -> None:
    """Wait only for a holder on another host that may be gone: until its next touch, or for the whole lease."""
    seen: int | None = None
    until = time.monotonic() + LEASE + 2
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except filelock.Timeout:
            owner = lock.owner
        # A holder on this host is known to live, or the lock would have been taken; elsewhere only touches tell.
        touched = _touched(folder)
        alive = owner is None or owner.hostname == _own_name() or (seen is not None and touched != seen)
        if owner is None or alive or time.monotonic() > until:
            raise _busy(folder, owner) from None
        # Said once, or a wait of half a minute looks like a hang.
        if seen is None:
            seen = touched
            holder = f"process {owner.pid} on {owner.hostname}"
            print(f"{folder} is locked by {holder}; waiting for a sign of life", file=sys.stderr, flush=True)
        time.sleep(0.5)


def _touched(folder: Path) -> int | None:
    try:
        return os.stat(folder / NAME).st_mtime_ns
    except OSError:
        return None


def _own_name() -> str:
    """Return the name of this host and its process namespace, as a lock has it."""
    with tempfile.TemporaryDirectory() as folder:
        with filelock.SoftFileLease(Path(folder) / NAME, lease_duration=LEASE, thread_local=False) as lock:
            assert lock.owner is not None
            return lock.owner.hostname


def _busy(folder: Path, owner: filelock.OwnerRecord | None) -> InputError:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.hostname.split('?')[0]}"
    return InputError(
        f"run folder: {folder} is being written by {who}"
        "\n  expected: one process a run folder; nothing was changed"
        f"\n  what to do: wait until that one has ended, or stop it; if it surely has, delete {folder / NAME}"
    )


@atexit.register
def _release_all() -> None:
    for folder in list(_held):
        release(folder)
