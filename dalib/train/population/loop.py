"""A population in the loop: its members go together from one line of the record to the next, in one program."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.core.records import Record
from dalib.core.types import Metrics
from dalib.train.checkpoint import Checkpoints
from dalib.train.loop import DEFAULT_CADENCE, Cadence, Engine, Events, Member, check_cadence, fit
from dalib.train.population.members import Pool, Population, Rows, member_of, stack_members
from dalib.train.state import TrainState
from dalib.train.termination import Stop, find_places, never


def run_members(
    population: Population,
    states: Sequence[TrainState],
    pool: Pool,
    rows: Sequence[Callable[[int, int], tuple[np.ndarray, ...]]],
    *,
    total_steps: int,
    records: Sequence[Record],
    checkpoints: Sequence[Checkpoints],
    evaluate: Callable[[int, TrainState], Events],
    evaluate_together: Callable[[TrainState], Sequence[Events]] | None = None,
    hyper: Sequence[Any] | None = None,
    members: int = 0,
    seats: Sequence[int] | None = None,
    cadence: Cadence = DEFAULT_CADENCE,
    refresh: Callable[[int, TrainState], TrainState] | None = None,
    refresh_every: int = 500,
    names: Sequence[str] | None = None,
    report: Callable[[int, list[dict[str, float]]], None] = lambda step, means: None,
    stop: Stop = never,
) -> list[TrainState]:
    """Train all members from their states (or their newest common checkpoint) to ``total_steps``.

    Each member's run folder ends up as :func:`run` would leave it. Killed anywhere and called again with the same
    members it ends with the same bits. What is not listed here, errors included, is as in :func:`run`.

    Args:
        population: from :func:`dalib.train.make_population`.
        states: before the first step, one a member; donated.
        pool: the examples on the device.
        rows: for each member ``(start, stop) -> (source rows [steps, n], target rows [steps, m])`` of the pool, int32;
            with shots, ``[steps, s]`` of these as well.
        evaluate: ``(member, state) -> events``.
        evaluate_together: ``states -> events of each``, of all members at once; None asks ``evaluate`` for one after
            the other. The stacked states may be more than the members (the last one repeated in the empty seats).
        hyper: for each member the argument of the population's ``step_of``.
        members: least number in the program; the last one is repeated.
        seats: the place of each member in the program, ascending; None seats them one after the other. Members that go
            on without some of those that they began with keep their seats: elsewhere sums may round differently.
        refresh: ``(member, state) -> state`` before step 0 and every ``refresh_every`` steps.
        names: of the members, for messages.
        report: called with the step and each member's means.
        stop: asked whenever the program has come back to the host; once it is true all members are saved and
            :class:`Preempted` is raised.

    Raises:
        NonFiniteError: at the first step with a non-finite metric; it names the member.
        InputError: also for lists of different lengths, or members at different places (see
            :func:`~dalib.train.checkpoint.common_steps`).
    """
    check_cadence(cadence)
    count = len(states)
    names = [str(i) for i in range(count)] if names is None else names
    for argument, given in {"rows": rows, "records": records, "checkpoints": checkpoints, "names": names}.items():
        if len(given) != count:
            raise input_error(argument, got=f"{len(given)} for {count} members", expected="one for each member")
    seats = list(range(count)) if seats is None else list(seats)
    if len(seats) != count or seats != sorted(set(seats)):
        raise input_error("seats", got=seats, expected=f"{count} places in the program, ascending")
    # All members begin at one step, or none does.
    places, states = find_places(states, records, checkpoints, names)
    devices = 1 if population.mesh is None else population.mesh.size
    # The devices divide the seats: the axis of members is split over them.
    whole = -(-max(members, seats[-1] + 1) // devices) * devices
    # Who sits where; the last one also wherever nobody does.
    sitting = [seats.index(seat) if seat in seats else count - 1 for seat in range(whole)]
    stacked = stack_members([states[i] for i in sitting], population.mesh)
    del states  # the stacked copy is the one that is trained
    own_hyper = [{}] * count if hyper is None else list(hyper)
    hypers = stack_members([jax.tree.map(jnp.asarray, own_hyper[i]) for i in sitting], population.mesh)

    # The engine of the loop: the program sees seats, records and callers see members.
    def advance(states: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        parts = [own(start, stop) for own in rows]
        taken = Rows(*(np.stack([side[i] for i in sitting]) for side in zip(*parts, strict=True)))
        states, metrics = population.advance(states, pool, taken, hypers)
        return states, metrics if seats == list(range(count)) else _take(metrics, np.asarray(seats))

    def member(states: TrainState, i: int) -> TrainState:
        return member_of(states, seats[i])

    def until(number: int) -> int:
        every = [cadence.log] if refresh is None else [cadence.log, refresh_every]
        # The program comes back to the host where a line is due, or a refresh.
        return min((number // n + 1) * n for n in every)

    def events(states: TrainState, due: list[int]) -> Iterator[Events]:
        # One program for all members where there is one, instead of one evaluation after the other.
        together = None if evaluate_together is None else evaluate_together(states)
        for i in due:
            yield evaluate(i, member(states, i)) if together is None else together[i]

    def look(states: TrainState) -> TrainState:
        assert refresh is not None
        fresh = {seat: refresh(i, member(states, i)) for i, seat in enumerate(seats)}
        # Empty seats keep the state that they had: no member refreshes them.
        return stack_members(
            [fresh[seat] if seat in fresh else member_of(states, seat) for seat in range(whole)], population.mesh
        )

    stacked = fit(
        Engine(advance, until, member, events, None if refresh is None else look),
        stacked,
        places,
        [Member(*own) for own in zip(records, checkpoints, names, strict=True)],
        total_steps=total_steps,
        cadence=cadence,
        refresh_every=refresh_every,
        report=report,
        stop=stop,
    )
    return [member(stacked, i) for i in range(count)]


@jax.jit
def _take(tree: Metrics, at: np.ndarray) -> Metrics:
    return {name: values[at] for name, values in tree.items()}
