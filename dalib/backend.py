"""What functions are being traced for, kind and number of devices: what choices of a form look at.

A leaf module: it imports nothing of dalib's and every room may import it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_PLATFORM: ContextVar[str | None] = ContextVar("platform", default=None)
_DEVICES: ContextVar[int] = ContextVar("devices", default=1)


def platform() -> str:
    """``"cpu"``, ``"gpu"`` or ``"tpu"``: where a function that is traced now will run.

    JAX's default backend, unless :func:`tracing_for` says otherwise.
    """
    return _PLATFORM.get() or jax.default_backend()


@contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Inside this context functions are traced for another platform than this host's: compiling ahead of time.

    It acts at trace time. A function that ``jax.jit`` has traced before keeps the form that it was traced in.
    """
    token = _PLATFORM.set(name)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def devices() -> int:
    """Over how many devices the rows of a batch are split in a function that is traced now; 1 unless told."""
    return _DEVICES.get()


@contextmanager
def tracing_over(count: int) -> Iterator[None]:
    """Inside this context functions are traced for batches that are split over so many devices."""
    token = _DEVICES.set(count)
    try:
        yield
    finally:
        _DEVICES.reset(token)
