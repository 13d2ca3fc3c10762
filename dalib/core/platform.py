"""Platform and device count assumed while tracing, and memory that the process keeps between two steps.

Kernels use the first to pick an implementation. A leaf module: it imports nothing of dalib's, and every room may
import it.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_PLATFORM: ContextVar[str | None] = ContextVar("platform", default=None)
_DEVICES: ContextVar[int] = ContextVar("devices", default=1)


def platform() -> str:
    """Return ``"cpu"``, ``"gpu"`` or ``"tpu"``: where a function that is traced now will run.

    JAX's default backend, unless :func:`tracing_for` says otherwise.
    """
    return _PLATFORM.get() or jax.default_backend()


@contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Trace functions inside this context for another platform than this host's: compiling ahead of time.

    It acts at trace time. A function that ``jax.jit`` has traced before keeps the form that it was traced in.
    """
    # A context variable: tracing in another thread is not affected.
    token = _PLATFORM.set(name)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def devices() -> int:
    """Return the number of devices that split a batch's rows in a function that is traced now; 1 unless told."""
    return _DEVICES.get()


@contextmanager
def tracing_over(count: int) -> Iterator[None]:
    """Trace functions inside this context for batches that are split over so many devices."""
    token = _DEVICES.set(count)
    try:
        yield
    finally:
        _DEVICES.reset(token)


M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Of glibc's ``malloc.h``."""


def keep_memory() -> bool:
    """Ask the C library to keep freed memory, so that the next step of a run finds it ready; False if it is not glibc.

    On a CPU, XLA allocates the intermediate results of a step anew at every call and frees them at its end. glibc takes
    such large blocks from the system and gives them back at once. Each of their pages is then fetched and cleared again
    at the next step: 600,000 page faults and 2.6 of 8 s of CPU time in a step of ResNet-50 with 16 images.

    It holds for the whole process and must be called before JAX starts its threads. The process then holds the largest
    amount of memory that it has needed so far; its threads share one heap.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has neither this nor these numbers
    except (AttributeError, OSError):
        return False
    # One heap, since those of other threads hold 64 MB at most and take more from the system all the same; −1 is the
    # largest threshold.
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
    return all([mallopt(name, value) == 1 for name, value in settings])
