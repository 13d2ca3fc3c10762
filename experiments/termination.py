"""SIGTERM, as schedulers and preemptible machines send it: what is under way is saved, and the command ends with 0.

While a run trains, the signal only asks: the loop finishes its step, saves and raises
:class:`dalib.train.Preempted`. At any other time the command ends at once; all files appear whole or not at all, so
that nothing needs finishing. A second signal ends at once in any case.
"""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dalib.train import Preempted
from dalib.train.distributed import any_process, process_count

AGREE_EVERY = 10
"""With several processes, steps between two questions of all to all: an answer waits for the steps under way."""

T = TypeVar("T")
_state = {"deferred": False, "asked": False}


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Inside this context SIGTERM is handled as above; behind it as before. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _handle)
    _state.update(deferred=False, asked=False)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Inside this context SIGTERM only asks. Gives the ``stop`` for :func:`dalib.train.run`."""
    calls = itertools.count()

    def agreed() -> bool:
        return next(calls) % AGREE_EVERY == 0 and any_process(asked())

    _state["deferred"] = True
    try:
        yield asked if process_count() == 1 else agreed
    finally:
        _state["deferred"] = False


def asked() -> bool:
    """Whether this process has been asked to stop and has not done so yet."""
    return _state["asked"]


def unless_asked(predict: Callable[..., T]) -> Callable[..., T]:
    """The same function, which raises ``Preempted`` once the process has been asked to stop: evaluations can be long.

    Several processes go on together to the end of what they do.
    """

    def call(*arguments: Any) -> T:
        if asked() and process_count() == 1:
            raise Preempted("in an evaluation")
        return predict(*arguments)

    return call


def _handle(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not _state["deferred"]:
        # Not print: the signal may have come in the middle of one, whose buffer can't be entered twice.
        os.write(2, b"\nterminated; the same command goes on where it was\n")
        raise SystemExit(0)
    _state["asked"] = True
