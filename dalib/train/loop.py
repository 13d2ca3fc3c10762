"""The loop around the step: metrics, checks, evaluations, checkpoints, resume.

Everything here is host code. Metrics stay on the device and are fetched once per ``cadence.log`` steps; every step's
values are checked, and a checkpoint is written only when all of them up to it were finite.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.checks import input_error
from dalib.train.checkpoint import Checkpoints
from dalib.train.record import Record
from dalib.train.state import TrainState
from dalib.train.step import Step
from dalib.types import Batch

Report = Callable[[int, dict[str, float]], None]


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
) -> TrainState:
    """Trains from ``state`` (or the newest checkpoint) to ``total_steps``.

    Killed anywhere and called again with the same arguments it ends with the same parameters, bit for bit on one
    topology, and the same record: the batch is a function of the step, randomness of ``fold_in(key, step)``.

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

    Raises:
        NonFiniteError: at the first step with a non-finite metric.
        InputError: for a cadence that would break exact resume.
    """
    check_cadence(cadence)
    restored = checkpoints.restore(state)
    start = 0 if restored is None else int(restored.step)
    state = state if restored is None else restored
    record.cut_after(start if start else -1)
    if restored is None:
        checkpoints.save(0, state)
    if start == 0:
        for event in evaluate(state):
            record.write("evaluate", 0, **event)
    pending: list[Any] = []
    stream = batches(start)
    for number in range(start + 1, total_steps + 1):
        if refresh is not None and (number - 1) % refresh_every == 0:
            state = refresh(state)
        state, metrics = step(state, next(stream))
        pending.append(metrics)
        last = number == total_steps
        if number % cadence.log and not last:
            continue
        means = step_means(pending, number, checkpoints)
        pending = []
        record.write("train", number, metrics=means)
        report(number, means)
        if number % cadence.evaluate == 0 or last:
            for event in evaluate(state):
                record.write("evaluate", number, **event)
        if number % cadence.save == 0 or last:
            checkpoints.save(number, state)
    return state


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
