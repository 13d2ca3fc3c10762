"""The loop around the step, of one run or of many: metrics, checks, evaluations, checkpoints, resume.

:func:`fit` is the loop. It is host code and knows runs only as members: :func:`run` gives it a single one that takes a
step at a time. :func:`dalib.train.run_members` gives it a population that goes from one line of the record to the next.

Metrics stay on the device and are fetched once per ``cadence.log`` steps; every step's values are checked, and a
checkpoint is written only when all of them up to it were finite. Each member keeps a record and checkpoints of its own,
as if it were run alone. Killed members go on from the newest step that all of them have.

A run that is asked to stop ends with the step under way and saves there, off the cadence if need be. Metrics that are
not yet in the record are saved too (:mod:`dalib.train.termination`), so that the record ends up the same.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.core.checks import input_error
from dalib.core.records import Record
from dalib.core.types import Batch, Metrics
from dalib.train.checkpoint import Checkpoints
from dalib.train.devices.peers import note_step
from dalib.train.state import TrainState
from dalib.train.step import Step
from dalib.train.termination import Place, Preempted, Stop, by_member, find_places, joined, never, save_place

Events = list[dict[str, Any]]
AHEAD = 4
"""Calls that the host may be ahead of the device: enough to keep it busy, few enough to stop soon."""


class Cadence(NamedTuple):
    """Steps between two lines, evaluations, saves; ``log`` divides the others, so that a resumed record is the same."""

    log: int = 20
    evaluate: int = 100
    save: int = 200


DEFAULT_CADENCE = Cadence()


class NonFiniteError(RuntimeError):
    """A loss, gradient or other metric became NaN or infinite; the message names the step, the terms, a way back."""


class Member(NamedTuple):
    """A run's own things in the loop; ``name`` is for messages and may be empty."""

    record: Record
    checkpoints: Checkpoints
    name: str = ""


class Engine(NamedTuple):
    """The functions by which the states of all members go on together; ``states`` has the form that they share.

    Attributes:
        advance: ``(states, start, stop) -> (states, metrics)``; metrics as :func:`~dalib.train.termination.by_member`
            takes them.
        until: ``step -> step``: where a call of ``advance`` may end, at most the next line of the record.
        member: ``(states, i) -> state``.
        evaluate: ``(states, members) -> events of each of these members, in order``.
        refresh: ``states -> states``, or None.
    """

    advance: Callable[[Any, int, int], tuple[Any, Metrics]]
    until: Callable[[int], int]
    member: Callable[[Any, int], TrainState]
    evaluate: Callable[[Any, list[int]], Iterable[Events]]
    refresh: Callable[[Any], Any] | None = None


def check_cadence(cadence: Cadence) -> None:
    """Raise an InputError unless all are ≥ 1 and ``log`` divides the others."""
    for name, every in cadence._asdict().items():
        if every < 1:
            raise input_error(f"cadence.{name}", got=every, expected="a number of steps ≥ 1")
        if every % cadence.log:
            raise input_error(f"cadence.{name}", got=every, expected=f"a multiple of cadence.log = {cadence.log}")


def fit(
    engine: Engine,
    states: Any,
    places: Sequence[Place],
    members: Sequence[Member],
    *,
    total_steps: int,
    cadence: Cadence,
    refresh_every: int,
    report: Callable[[int, list[dict[str, float]]], None],
    stop: Stop,
) -> Any:
    """Train all members from their places to ``total_steps``; see :func:`run` for arguments and errors."""
    number, due = places[0].step, [place.due for place in places]
    pending = joined([place.pending for place in places])

    def save() -> None:
        for i, (member, own) in enumerate(zip(members, by_member(pending, len(members)), strict=True)):
            save_place(member.checkpoints, member.record, engine.member(states, i), Place(number, own, due[i]))

    stopping = stop()
    while True:
        # Evaluate first: a checkpoint of the cadence then knows the evaluation's lines.
        if any(due) and not stopping:
            stopping = not _evaluate(engine, states, number, members, due)
        if number % cadence.save == 0 or number == total_steps:
            save()
        # Refresh after saving: a resumed run sees the state that the target was looked at with, and looks again.
        if engine.refresh and not stopping and number < total_steps and number % refresh_every == 0:
            try:
                states = engine.refresh(states)
            except Preempted:
                stopping = True
        if stopping:
            # A state after a NaN is not worth saving, so the metrics since the last line are checked now.
            if pending:
                _means(pending, number, members)
            save()
            count = f"{len(members)} runs " if len(members) > 1 else ""
            raise Preempted(f"saved {count}at step {number} of {total_steps}")
        if number == total_steps:
            return states
        # Train. Nothing here waits for the device, but for one that is AHEAD calls late.
        until = min(engine.until(number), total_steps)
        states, metrics = engine.advance(states, number, until)
        number = until
        note_step(number)
        pending.append(metrics)
        if len(pending) > AHEAD:
            jax.block_until_ready(pending[-1 - AHEAD])
        stopping = stop()
        if number % cadence.log and number < total_steps:
            continue
        # Write a line each: the only fetch of metrics, and the check of every step since the last one.
        means = _means(pending, number, members)
        pending = []
        for member, own in zip(members, means, strict=True):
            member.record.write("train", number, metrics=own)
        report(number, means)
        due = [number % cadence.evaluate == 0 or number == total_steps] * len(members)


def run(
    step: Step,
    state: TrainState,
    batches: Callable[[int], Iterator[Batch]],
    *,
    total_steps: int,
    record: Record,
    checkpoints: Checkpoints,
    evaluate: Callable[[TrainState], Events],
    cadence: Cadence = DEFAULT_CADENCE,
    refresh: Callable[[TrainState], TrainState] | None = None,
    refresh_every: int = 500,
    report: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    stop: Stop = never,
) -> TrainState:
    """Train from ``state`` (or the newest checkpoint) to ``total_steps``.

    Killed or stopped anywhere and called again it ends with the same parameters, bit for bit on one topology, and the
    same record. The batch is a function of the step, randomness of ``fold_in(key, step)``.

    Args:
        step: a jitted step, from :func:`dalib.train.make_step`.
        state: the state before the first step; donated.
        batches: ``start -> iterator`` of device batches of steps start, start + 1, ...
        record: open run folder; gets "train" events with the mean of each metric over ``cadence.log`` steps.
        checkpoints: open checkpoint folder.
        evaluate: called on the schedule and at the end; its dicts become "evaluate" events.
        refresh: the method's look at the whole target, before step 0 and then every ``refresh_every`` steps; a
            function of the state, so a resumed run does the same.
        report: called with the step and the means just logged, for progress displays.
        stop: asked after every step; once it is true the run saves and raises :class:`Preempted`. An evaluation that is
            due then is left to the next start.

    Raises:
        NonFiniteError: at the first step with a non-finite metric.
        InputError: for a cadence that would break exact resume, or a run folder that can't be written.
        StorageError: when the disk is full or fails.
    """
    check_cadence(cadence)
    places, (state,) = find_places([state], [record], [checkpoints], [""])
    # Batches are a function of the step: the stream starts at the place of the checkpoint.
    stream = batches(places[0].step)
    # A population of one: the same loop, one step a call.
    engine = Engine(
        advance=lambda state, start, stop: step(state, next(stream)),
        until=lambda number: number + 1,
        member=lambda state, i: state,
        evaluate=lambda state, members: [evaluate(state)],
        refresh=refresh,
    )
    return fit(
        engine,
        state,
        places,
        [Member(record, checkpoints)],
        total_steps=total_steps,
        cadence=cadence,
        refresh_every=refresh_every,
        report=lambda number, means: report(number, means[0]),
        stop=stop,
    )


def _evaluate(engine: Engine, states: Any, number: int, members: Sequence[Member], due: list[bool]) -> bool:
    """Evaluate the members that are due and write their lines; False when it was broken off on the way."""
    waiting = [i for i, is_due in enumerate(due) if is_due]
    try:
        for i, events in zip(waiting, engine.evaluate(states, waiting), strict=True):
            for event in events:
                members[i].record.write("evaluate", number, **event)
            # One by one, so that an evaluation which is broken off is repeated for the others alone.
            due[i] = False
    except Preempted:
        return False
    return True


def _means(pending: list[Any], number: int, members: Sequence[Member]) -> list[dict[str, float]]:
    """Return each member's mean of each metric over the steps since the last line; ``number`` is the last of them.

    Raises a NonFiniteError at the first step with a NaN or an infinity.
    """
    found = []
    for member, values in zip(members, by_member(pending, len(members)), strict=True):
        for where, metrics in enumerate(values, number - len(values) + 1):
            # Every step, not the mean: the message must name the first one.
            bad = {k: float(v) for k, v in metrics.items() if not math.isfinite(float(v))}
            if bad:
                terms = ", ".join(f"{k} = {v}" for k, v in bad.items())
                saved = member.checkpoints.steps()
                raise NonFiniteError(
                    f"{member.name + ': ' if member.name else ''}step {where}: {terms}"
                    f"\n  the last checkpoint before it is of step {saved[-1] if saved else 'none'}"
                    "\n  what to do: lower the learning rate or the weight of the term that came first"
                )
        found.append({k: float(np.mean([m[k] for m in values], dtype=np.float64)) for k in values[0]})
    return found
