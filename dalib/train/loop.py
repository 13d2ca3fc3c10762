"""The loop around the step: metrics, checks, evaluations, checkpoints, resume.

Everything here is host code. Metrics stay on the device and are fetched once per ``cadence.log`` steps; every step's
values are checked, and a checkpoint is written only when all of them up to it were finite.

A run that is asked to stop ends with the step under way: it saves there, off the cadence if need be, together with the
metrics that are not yet in the record (:mod:`dalib.train.place`), so that the record ends up the same.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.checks import input_error
from dalib.train.checkpoint import Checkpoints
from dalib.train.place import Place, Preempted, Stop, check_lines, never, return_to, save_place
from dalib.train.record import Record
from dalib.train.state import TrainState
from dalib.train.step import Step
from dalib.types import Batch

Report = Callable[[int, dict[str, float]], None]
AHEAD = 4
"""Steps that the host may be ahead of the device: enough to keep it busy, few enough to stop soon."""


class Cadence(NamedTuple):
    """When things happen, in steps. ``log`` divides ``save`` and ``evaluate``, so that a resumed record is the same."""

    log: int = 20
    evaluate: int = 100
    save: int = 200


DEFAULT_CADENCE = Cadence()


class NonFiniteError(RuntimeError):
    """A loss, gradient or other metric became NaN or infinite; the message names the step, the terms, a way back."""


def check_cadence(cadence: Cadence) -> None:
    """Raises an InputError unless all are ≥ 1 and ``log`` divides the others."""
    for name, every in cadence._asdict().items():
        if every < 1:
            raise input_error(f"cadence.{name}", got=every, expected="a number of steps ≥ 1")
        if every % cadence.log:
            raise input_error(f"cadence.{name}", got=every, expected=f"a multiple of cadence.log = {cadence.log}")


def run(
    step: Step,
    state: TrainState,
    batches: Callable[[int], Iterator[Batch]],
    *,
    total_steps: int,
    record: Record,
    checkpoints: Checkpoints,
    evaluate: Callable[[TrainState], list[dict[str, Any]]],
    cadence: Cadence = DEFAULT_CADENCE,
    refresh: Callable[[TrainState], TrainState] | None = None,
    refresh_every: int = 500,
    report: Report = lambda step, metrics: None,
    stop: Stop = never,
) -> TrainState:
    """Trains from ``state`` (or the newest checkpoint) to ``total_steps``.

    Killed or stopped anywhere and called again with the same arguments it ends with the same parameters, bit for bit on
    one topology, and the same record: the batch is a function of the step, randomness of ``fold_in(key, step)``.

    Args:
        step: a jitted step, from :func:`dalib.train.make_step`.
        state: the state before the first step; donated.
        batches: ``start -> iterator`` of device batches of steps start, start + 1, ...
        total_steps: where to end.
        record: open run folder; gets "train" events with the mean of each metric over ``cadence.log`` steps.
        checkpoints: open checkpoint folder.
        evaluate: called on the schedule and at the end; its dicts become "evaluate" events.
        cadence: how often to log, evaluate and save.
        refresh: the method's look at the whole target, before step 0 and then every ``refresh_every`` steps; a
            function of the state, so a resumed run does the same.
        refresh_every: steps between two refreshes.
        report: called with the step and the means just logged, for progress displays.
        stop: asked after every step; once it is true the run saves and raises :class:`Preempted`. An evaluation that is
            due then is left to the next start.

    Raises:
        NonFiniteError: at the first step with a non-finite metric.
        InputError: for a cadence that would break exact resume, or a run folder that can't be written.
        StorageError: when the disk is full or fails.
        Preempted: when ``stop`` said so.
    """
    check_cadence(cadence)
    record.check_writable()
    restored = checkpoints.restore(state, check_lines(record))
    if restored is None:
        record.keep(0)
        place = Place(0, [], True)
        save_place(checkpoints, record, state, place)
    else:
        state = restored
        place = return_to(int(restored.step), record, checkpoints)
    number, pending, due = place.step, list[Any](place.pending), place.due

    def halt() -> Preempted:
        if pending:
            step_means(pending, number, checkpoints)  # a state behind a NaN is not worth saving
        save_place(checkpoints, record, state, Place(number, pending, due))
        return Preempted(f"saved at step {number} of {total_steps}")

    stream = batches(number)
    stopping = stop()
    while True:
        if due and not stopping:
            try:
                events = evaluate(state)
            except Preempted:
                stopping = True
            else:
                for event in events:
                    record.write("evaluate", number, **event)
                due = False
        if number % cadence.save == 0 or number == total_steps:
            save_place(checkpoints, record, state, Place(number, pending, due))
        if refresh is not None and not stopping and number < total_steps and number % refresh_every == 0:
            try:
                state = refresh(state)
            except Preempted:
                stopping = True
        if stopping:
            raise halt()
        if number == total_steps:
            return state
        state, metrics = step(state, next(stream))
        number += 1
        pending.append(metrics)
        if len(pending) > AHEAD:
            jax.block_until_ready(pending[-1 - AHEAD])
        stopping = stop()
        if number % cadence.log and number < total_steps:
            continue
        means = step_means(pending, number, checkpoints)
        pending = []
        record.write("train", number, metrics=means)
        report(number, means)
        due = number % cadence.evaluate == 0 or number == total_steps


def step_means(pending: list[Any], number: int, checkpoints: Checkpoints) -> dict[str, float]:
    """Fetches the metrics of the last steps, ``number`` being the last of them, checks every value and averages each.

    Raises:
        NonFiniteError: at the first step with a NaN or an infinity.
    """
    values = jax.device_get(pending)
    for i, metrics in enumerate(values):
        bad = {k: float(v) for k, v in metrics.items() if not math.isfinite(float(v))}
        if bad:
            where = number - len(values) + 1 + i
            terms = ", ".join(f"{k} = {v}" for k, v in bad.items())
            saved = checkpoints.steps()
            raise NonFiniteError(
                f"step {where}: {terms}\n  the last checkpoint before it is of step {saved[-1] if saved else 'none'}"
                "\n  what to do: lower the learning rate or the weight of the term that came first"
            )
    return {k: float(np.mean([m[k] for m in values], dtype=np.float64)) for k in values[0]}
