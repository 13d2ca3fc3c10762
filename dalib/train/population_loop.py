"""The loop around a population: every member keeps a record and checkpoints of its own, as if it were run alone.

The program goes from one line of the record to the next; there the host fetches and checks the metrics of every step,
writes each member's line, evaluates and saves. A killed population goes on from the newest step that all members have.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.checks import InputError, input_error
from dalib.train.checkpoint import Checkpoints
from dalib.train.loop import DEFAULT_CADENCE, Cadence, NonFiniteError, check_cadence, step_means
from dalib.train.place import Place, Preempted, Stop, check_lines, never, return_to, save_place
from dalib.train.population import Pool, Population, Rows, member_of, pad_rows, stack_members
from dalib.train.record import Record
from dalib.train.state import TrainState

logger = logging.getLogger(__name__)

Evaluate = Callable[[int, TrainState], list[dict[str, Any]]]
EvaluateTogether = Callable[[TrainState], Sequence[list[dict[str, Any]]]]
"""``states of all members, stacked -> events of each``."""


def run_members(
    population: Population,
    states: Sequence[TrainState],
    pool: Pool,
    rows: Sequence[Callable[[int, int], tuple[np.ndarray, ...]]],
    *,
    total_steps: int,
    records: Sequence[Record],
    checkpoints: Sequence[Checkpoints],
    evaluate: Evaluate,
    evaluate_together: EvaluateTogether | None = None,
    hyper: Sequence[Any] | None = None,
    cadence: Cadence = DEFAULT_CADENCE,
    refresh: Callable[[int, TrainState], TrainState] | None = None,
    refresh_every: int = 500,
    names: Sequence[str] | None = None,
    report: Callable[[int, list[dict[str, float]]], None] = lambda step, means: None,
    stop: Stop = never,
) -> list[TrainState]:
    """Trains all members from their states (or their newest common checkpoint) to ``total_steps``.

    Each member's run folder ends up as :func:`dalib.train.run` would leave it. Killed anywhere and called again with
    the same members it ends with the same bits.

    Args:
        population: from :func:`dalib.train.make_population`.
        states: before the first step, one a member; donated.
        pool: the examples on the device.
        rows: for each member ``(start, stop) -> (source rows [steps, n], target rows [steps, m])`` of the pool, int32;
            with shots, ``[steps, s]`` of these as well.
        total_steps: where to end.
        records: open run folders.
        checkpoints: open checkpoint folders.
        evaluate: ``(member, state) -> events``.
        evaluate_together: the events of all members at once; None asks ``evaluate`` for one after the other. The
            stacked states may be more than the members (the last one repeated, to fill the devices).
        hyper: for each member what ``step_of`` of the population gets.
        cadence: as in :func:`dalib.train.run`.
        refresh: ``(member, state) -> state`` before step 0 and every ``refresh_every`` steps.
        refresh_every: steps between two refreshes.
        names: of the members, for messages.
        report: called with the step and each member's means.
        stop: asked whenever the program has come back to the host; once it is true all members are saved and
            :class:`Preempted` is raised.

    Raises:
        NonFiniteError: at the first step with a non-finite metric; it names the member.
        InputError: for a cadence that would break exact resume, lists of different lengths, or members that are at
            different places (see :func:`common_steps`), or a run folder that can't be written.
        StorageError: when the disk is full or fails.
        Preempted: when ``stop`` said so.
    """
    check_cadence(cadence)
    count = len(states)
    names = [str(i) for i in range(count)] if names is None else names
    for argument, given in {"rows": rows, "records": records, "checkpoints": checkpoints, "names": names}.items():
        if len(given) != count:
            raise input_error(argument, got=f"{len(given)} for {count} members", expected="one for each member")
    for record in records:
        record.check_writable()
    places, states = _start(states, records, checkpoints, names)
    number, due = places[0].step, [place.due for place in places]

    devices = 1 if population.mesh is None else population.mesh.size
    whole = -(-count // devices) * devices
    extra = [jax.tree.map(jnp.copy, states[-1]) for _ in range(whole - count)]
    stacked = stack_members([*states, *extra], population.mesh)
    del states, extra
    members = [{}] * count if hyper is None else list(hyper)
    hypers = stack_members(
        [jax.tree.map(jnp.asarray, h) for h in members + [members[-1]] * (whole - count)], population.mesh
    )
    pending = _stacked([place.pending for place in places])

    def save() -> None:
        for i, own in enumerate(_by_member(pending, count)):
            save_place(checkpoints[i], records[i], member_of(stacked, i), Place(number, own, due[i]))

    def halt() -> Preempted:
        if pending:
            _means(pending, number, checkpoints, names)  # states behind a NaN are not worth saving
        save()
        return Preempted(f"saved {count} runs at step {number} of {total_steps}")

    stopping = stop()
    while True:
        together = None
        for i in [i for i in range(count) if due[i] and not stopping]:
            try:
                if evaluate_together and together is None:
                    together = evaluate_together(stacked)
                events = evaluate(i, member_of(stacked, i)) if together is None else together[i]
            except Preempted:
                stopping = True
                break
            for event in events:
                records[i].write("evaluate", number, **event)
            due[i] = False
        if number % cadence.save == 0 or number == total_steps:
            save()
        if refresh is not None and not stopping and number < total_steps and number % refresh_every == 0:
            try:
                fresh = [refresh(i, member_of(stacked, i)) for i in range(count)]
            except Preempted:
                stopping = True
            else:
                fillers = [member_of(stacked, i) for i in range(count, whole)]
                stacked = stack_members([*fresh, *fillers], population.mesh)
        if stopping:
            raise halt()
        if number == total_steps:
            return [member_of(stacked, i) for i in range(count)]
        until = min(_next(number, cadence.log), total_steps)
        if refresh is not None:
            until = min(until, _next(number, refresh_every))
        parts = [own(number, until) for own in rows]
        taken = pad_rows(Rows(*(np.stack(side) for side in zip(*parts, strict=True))), whole)
        stacked, metrics = population.advance(stacked, pool, taken, hypers)
        pending.append(metrics)
        number = until
        stopping = stop()
        if number % cadence.log and number < total_steps:
            continue
        means = _means(pending, number, checkpoints, names)
        pending = []
        for record, own in zip(records, means, strict=True):
            record.write("train", number, metrics=own)
        report(number, means)
        due = [number % cadence.evaluate == 0 or number == total_steps] * count


def common_steps(checkpoints: Sequence[Checkpoints]) -> list[int] | None:
    """Steps of which all members have a checkpoint, ascending; ``[]`` if all are to start anew.

    None says that they are at different places: some have gone on and share no checkpoint with the others. Such members
    can't be one population; run them one by one, or those apart that have not begun.
    """
    steps = [folder.steps() for folder in checkpoints]
    shared = set.intersection(*map(set, steps)) if steps else set()
    if not shared and any(own and own[-1] > 0 for own in steps):
        return None
    return sorted(shared)


def _start(
    states: Sequence[TrainState], records: Sequence[Record], checkpoints: Sequence[Checkpoints], names: Sequence[str]
) -> tuple[list[Place], list[TrainState]]:
    """The newest step that all members have whole, and their states there."""
    shared = common_steps(checkpoints)
    if shared is None:
        places = ", ".join(f"{n}: {c.steps()}" for n, c in zip(names, checkpoints, strict=True))
        raise input_error(
            "checkpoints", got=f"steps {places}", expected="a step that all members have", todo="run them one by one"
        )
    problems = []
    for step in reversed(shared):
        try:
            for record, folder in zip(records, checkpoints, strict=True):
                check_lines(record)(step, folder.notes(step))
            loaded = [folder.load(step, state) for folder, state in zip(checkpoints, states, strict=True)]
        except Exception as error:  # orbax raises many kinds for damaged files
            problems.append(f"  step {step}: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
            continue
        if problems:
            logger.warning("passed over damaged checkpoints:\n%s", "\n".join(problems))
        return [return_to(step, record, folder) for record, folder in zip(records, checkpoints, strict=True)], loaded
    if problems:
        raise InputError(
            "checkpoint: none that all members have can be read into this population's states:\n"
            + "\n".join(problems)
            + "\n  expected: checkpoints of these very configurations, complete"
            "\n  what to do: move these run folders away to start again, or choose another --out"
        )
    for state, record, folder in zip(states, records, checkpoints, strict=True):
        record.keep(0)
        save_place(folder, record, state, Place(0, [], True))
    return [Place(0, [], True)] * len(states), list(states)


def _next(number: int, every: int) -> int:
    """The smallest multiple of ``every`` above ``number``."""
    return (number // every + 1) * every


def _by_member(pending: list[Any], count: int) -> list[list[dict[str, float]]]:
    """The metrics of each member, one dict a step."""
    if not pending:
        return [[] for _ in range(count)]
    parts = jax.device_get(pending)
    values = {name: np.concatenate([part[name][:count] for part in parts], axis=1) for name in parts[0]}
    steps = range(next(iter(values.values())).shape[1])
    return [[{k: v[i, t] for k, v in values.items()} for t in steps] for i in range(count)]


def _stacked(pending: Sequence[list[dict[str, float]]]) -> list[Any]:
    """The inverse of :func:`_by_member`."""
    if not pending[0]:
        return []
    return [{name: np.array([[metrics[name] for metrics in own] for own in pending]) for name in pending[0][0]}]


def _means(
    pending: list[Any], number: int, checkpoints: Sequence[Checkpoints], names: Sequence[str]
) -> list[dict[str, float]]:
    """Each member's means over the steps since the last line, all values checked."""
    found = []
    for own, folder, name in zip(_by_member(pending, len(names)), checkpoints, names, strict=True):
        try:
            found.append(step_means(own, number, folder))
        except NonFiniteError as error:
            raise NonFiniteError(f"{name}: {error}") from None
    return found
