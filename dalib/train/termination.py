"""Interruption and continuation of a run: SIGTERM, and the place of a run in its data and steps.

The state and the number of steps are all that training needs. The record needs a little more: its lines are means over
several steps, and a run may be asked to stop between two of them. A checkpoint therefore notes the record's lines, the
metrics since the last one, and whether an evaluation of its step is due. It appears whole or not at all, so no kill can
part them.

While a run trains, SIGTERM only asks: the loop finishes its step, saves and raises :class:`dalib.train.Preempted`. At
any other time the command ends at once; all files appear whole or not at all, so that nothing needs finishing. A second
signal ends at once in any case.
"""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.records import Record
from dalib.train.checkpoint import Check, Checkpoints, Notes, common_steps, restore_together
from dalib.train.devices.processes import any_process, leaders, process_count
from dalib.train.state import TrainState

Stop = Callable[[], bool]
"""Says whether to save and stop. It is asked after every step, by all processes of a run at the same step: they must
pass one that gives all of them the same answer."""


class Preempted(Exception):
    """The run was asked to stop, has saved all that it did, and goes on when it is called again.

    ``evaluate`` or ``refresh`` of :func:`dalib.train.run` may raise it too, where these take long: the run then saves,
    and repeats at its next start what was broken off.
    """


class Place(NamedTuple):
    """The place of a run: steps taken, ``pending`` metrics since the record's last line, one dict a step.

    ``due`` says whether the evaluation of this step is still to be done.
    """

    step: int
    pending: list[dict[str, Any]]
    due: bool


def never() -> bool:
    """The default of :data:`Stop`."""
    return False


def find_places(
    states: Sequence[TrainState], records: Sequence[Record], checkpoints: Sequence[Checkpoints], names: Sequence[str]
) -> tuple[list[Place], list[TrainState]]:
    """Bring some runs to the newest step that all of them have whole, or save their beginnings.

    Returns their places, all of one step, and their states there. An InputError means that they share no step, no
    common checkpoint can be read, or a folder can't be written.
    """
    # All is checked before anything is trained or cut.
    for record in records:
        record.check_writable()
    if common_steps(checkpoints) is None:
        steps = ", ".join(f"{n}: {c.steps()}" for n, c in zip(names, checkpoints, strict=True))
        raise input_error(
            "checkpoints", got=f"steps {steps}", expected="a step that all members have", todo="run them one by one"
        )
    found = restore_together(checkpoints, states, [check_lines(record) for record in records])
    if found is not None:
        step, states = found
        return [return_to(step, *own) for own in zip(records, checkpoints, strict=True)], list(states)
    # A new run saves its beginning, so that a kill before the first checkpoint resumes like any other.
    beginning = Place(0, [], True)
    for state, record, folder in zip(states, records, checkpoints, strict=True):
        record.keep(0)
        save_place(folder, record, state, beginning)
    return [beginning] * len(states), list(states)


def save_place(checkpoints: Checkpoints, record: Record, state: TrainState, place: Place) -> None:
    """Save the state of a place, unless the newest checkpoint holds it already."""
    pending = [{name: float(value) for name, value in metrics.items()} for metrics in place.pending]
    notes = {"lines": record.lines(), "pending": pending, "due": place.due}
    steps = checkpoints.steps()
    if not steps or steps[-1] != place.step:
        checkpoints.save(place.step, state, notes)


def check_lines(record: Record) -> Check:
    """Return a check for a checkpoint: the record must have the lines that it had when the checkpoint was saved."""
    there = int(leaders(record.lines()))

    def check(step: int, notes: Notes) -> None:
        if notes.get("lines", 0) > there:
            raise InputError(f"it was saved after line {notes['lines']} of {record.path.name}, which has {there}")

    return check


def return_to(step: int, record: Record, checkpoints: Checkpoints) -> Place:
    """Bring a run folder back to the checkpoint of ``step``: later lines and later checkpoints are dropped."""
    checkpoints.drop_after(step)
    # The record goes back to the line that the checkpoint knows; those after it will be written again.
    notes = checkpoints.notes(step)
    if "lines" in notes:
        record.keep(notes["lines"])
        return Place(step, notes["pending"], notes["due"])
    # A checkpoint of before this was noted, saved on the cadence.
    record.cut_after(step if step else -1)
    return Place(step, [], step == 0)


def by_member(pending: Sequence[Any], count: int) -> list[list[dict[str, Any]]]:
    """Fetch metrics and part them by member, one dict a step.

    Every value of ``pending`` is ``[members, steps]``, or a scalar of one step of a single run; a program over several
    devices may have more than ``count`` members.
    """
    if not pending:
        return [[] for _ in range(count)]
    parts = jax.device_get(pending)
    values = {name: np.concatenate([np.atleast_2d(part[name])[:count] for part in parts], axis=1) for name in parts[0]}
    steps = range(next(iter(values.values())).shape[1])
    return [[{name: value[i, t] for name, value in values.items()} for t in steps] for i in range(count)]


def joined(pending: Sequence[list[dict[str, Any]]]) -> list[Any]:
    """Undo :func:`by_member`."""
    if not pending[0]:
        return []
    return [{name: np.array([[metrics[name] for metrics in own] for own in pending]) for name in pending[0][0]}]


AGREE_EVERY = 10
"""With several processes, steps between two questions of all to all: an answer waits for the steps under way."""

T = TypeVar("T")
_state = {"deferred": False, "asked": False}


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Handle SIGTERM as above inside this context; after it as before. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Restored on leaving: a caller's handler is not ours to drop.
    before = signal.signal(signal.SIGTERM, _handle)
    _state.update(deferred=False, asked=False)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM only ask inside this context. Gives the ``stop`` for :func:`dalib.train.run`."""
    calls = itertools.count()

    def agreed() -> bool:
        # All ask at the same call, so they all stop after the same step.
        return next(calls) % AGREE_EVERY == 0 and any_process(asked())

    _state["deferred"] = True
    try:
        yield asked if process_count() == 1 else agreed
    finally:
        _state["deferred"] = False


def asked() -> bool:
    """Tell whether this process has been asked to stop and has not done so yet."""
    return _state["asked"]


def unless_asked(predict: Callable[..., T]) -> Callable[..., T]:
    """Return the function, raising ``Preempted`` once the process has been asked to stop: evaluations can be long.

    Several processes go on together to the end of what they do.
    """

    def call(*arguments: Any) -> T:
        # Of several processes one alone would leave the others waiting in a collective.
        if asked() and process_count() == 1:
            raise Preempted("in an evaluation")
        return predict(*arguments)

    return call


def _handle(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not _state["deferred"]:
        # Not print: the signal may have come in the middle of one, and its buffer can't be entered twice.
        os.write(2, b"\nterminated; the same command goes on where it was\n")
        raise SystemExit(0)
    _state["asked"] = True
