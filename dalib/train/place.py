"""Where a run stands: what a checkpoint notes beside the state, and how a run comes back to it.

The state and the number of steps are all that training needs. The record needs a little more, since its lines are
means over several steps and a run may be asked to stop between two of them. A checkpoint therefore notes how many lines
the record had, the metrics of the steps since the last one, and whether an evaluation of its step is still to be done.
All of it is in the checkpoint itself, which appears whole or not at all; so no moment of a kill can part them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from dalib.checks import InputError
from dalib.train.checkpoint import Checkpoints, Notes
from dalib.train.distributed import leaders
from dalib.train.record import Record

Stop = Callable[[], bool]
"""Says whether to save and stop. It is asked after every step, by all processes of a run at the same step: they must
pass one that gives all of them the same answer."""


class Preempted(Exception):
    """The run was asked to stop, has saved all that it did, and goes on when it is called again.

    It may also be raised by ``evaluate`` or ``refresh`` of :func:`dalib.train.run`, where these take long: the run then
    saves, and does at its next start what was broken off.
    """


class Place(NamedTuple):
    """Where a run stands.

    Attributes:
        step: steps taken.
        pending: metrics of the steps since the record's last line, one dict a step.
        due: whether the evaluation of this step is still to be done.
    """

    step: int
    pending: list[dict[str, float]]
    due: bool


def never() -> bool:
    """The default of :data:`Stop`."""
    return False


def save_place(checkpoints: Checkpoints, record: Record, state: Any, place: Place) -> None:
    """Saves the state of a place, unless that is what the newest checkpoint holds already."""
    pending = [{name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(place.pending)]
    notes = {"lines": record.lines(), "pending": pending, "due": place.due}
    steps = checkpoints.steps()
    if not steps or steps[-1] != place.step:
        checkpoints.save(place.step, state, notes)


def check_lines(record: Record) -> Callable[[int, Notes], None]:
    """A check for ``Checkpoints.restore``: the record must have the lines that it had when the checkpoint was saved."""
    there = int(leaders(record.lines()))

    def check(step: int, notes: Notes) -> None:
        if notes.get("lines", 0) > there:
            raise InputError(f"it was saved after line {notes['lines']} of {record.path.name}, which has {there}")

    return check


def return_to(step: int, record: Record, checkpoints: Checkpoints) -> Place:
    """Brings a run folder back to the checkpoint of ``step``: later lines and later checkpoints are dropped."""
    checkpoints.drop_after(step)
    notes = checkpoints.notes(step)
    if "lines" in notes:
        record.keep(notes["lines"])
        return Place(step, notes["pending"], notes["due"])
    # A checkpoint of before this was noted, saved on the cadence.
    record.cut_after(step if step else -1)
    return Place(step, [], step == 0)
