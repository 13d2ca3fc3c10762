"""Many runs at once: those that share a compiled program are trained as the members of one population."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.locks import releasing
from dalib.data import UNLABELLED, Domain, stream_rows
from dalib.data.domain import as_labels
from dalib.run.cli.progress import Progress, say
from dalib.run.config import Experiment
from dalib.run.population.scores import make_evaluation
from dalib.run.program import make_program
from dalib.run.run import Run, accuracies, domains_of, losses, open_run, run_experiment
from dalib.train import Pool, Rows, common_steps, fit, open_checkpoints, pool_numbers, run_members
from dalib.train.devices.processes import leads, process_count
from dalib.train.population.members import memory_limit
from dalib.train.termination import deferred

CHOICES = ("auto", "off")
RowsOf = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
"""``(start, stop) -> (source rows, target rows)``: one run's rows in the pool."""


class Job(NamedTuple):
    """One run to be done; the arguments of :func:`dalib.run.run.run_experiment`."""

    experiment: Experiment
    source: Domain
    target: Domain
    folder: Path
    start: Path | None = None
    shots: Domain | None = None


def check_population(value: str) -> int | None:
    """Parse an option ``auto | off | N`` as a number of runs at once: 1 for off, None for as many as fit.

    Raises:
        InputError: for anything else.
    """
    if value in CHOICES:
        return None if value == "auto" else 1
    if value.isdigit() and int(value) >= 1:
        return int(value)
    raise input_error("population", got=repr(value), expected="auto, off, or how many runs at once (a number ≥ 1)")


def run_jobs(jobs: Sequence[Job], progress: Progress, *, members: int | None, command: str = "") -> None:
    """Run all jobs: populations where runs share a program and the examples fit the device, one by one elsewhere.

    Which runs make a population depends on the list of jobs alone, not on finished runs: a killed command that
    is given again divides them the same way.

    Args:
        jobs: the runs; those that start from another run's weights are done after all others.
        progress: display.
        members: at most so many runs at once; None for as many as fit, 1 for the one-by-one loop.
        command: the command line, for the records.

    Raises:
        InputError: also when another process is at one of the run folders.
    """
    if process_count() > 1:
        if members != 1 and leads():
            say("one by one: a population is a program of one process, and here are several")
        members = 1
    for group in _groups(jobs):
        if members == 1 or len(group) == 1 or group[0].shots is not None:
            one_by_one(group, progress, command)
            continue
        with releasing():
            _run_group(group, progress, members, command)


def _run_group(group: Sequence[Job], progress: Progress, members: int | None, command: str) -> None:
    """Train runs of one program in as few populations as fit; all folders are locked before the first one trains."""
    opened = [open_run(*job[:4], start=job.start, command=command) for job in group]
    # All have ended: the display moves on and nothing is compiled.
    if not any(opened):
        progress.start(_title(group), 0, len(group))
        progress.end("done")
        return
    # One copy of the examples serves all members; a copy for each would fill the device.
    try:
        pool, rows = pool_of(group)
        most = members_that_fit(group, pool, min(members or len(group), len(group)))
    except InputError as error:
        say(f"{_title(group)}: one by one, since they can't be a population: {error}")
        one_by_one(group, progress, command)
        return
    # As equal parts as can be, so that few sizes are compiled.
    for part in np.array_split(np.arange(len(group)), -(-len(group) // most)):
        here = [group[i] for i in part]
        # Ended runs keep their seats, since a program of another size would round the others' sums differently.
        runs = [run for i in part if (run := opened[i]) is not None]
        own = [rows[i] for i in part if opened[i] is not None]
        progress.start(_title(here), 0, len(here))
        # Members take their steps together, so runs at different steps go on by themselves.
        if runs and not run_together(runs, pool, own, progress, group=len(part)):
            say(f"{_title(here)}: one by one, since some of them are under way and others are not")
            for job in here:
                run_experiment(*job[:4], start=job.start, command=command, report=progress.step)
        progress.end("done")


def one_by_one(jobs: Sequence[Job], progress: Progress, command: str) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        e = job.experiment
        progress.start(f"{e.task}  {e.name}  seed {e.seed}", 0)
        run_experiment(*job[:4], start=job.start, shots=job.shots, command=command, report=progress.step)
        progress.end("done")


def run_together(
    runs: Sequence[Run], pool: Pool, rows: Sequence[RowsOf], progress: Progress, *, group: int = 0
) -> bool:
    """Train some runs as one population, to their ends.

    Args:
        runs: those that have not ended.
        pool: the examples.
        rows: of each run.
        progress: display.
        group: number of runs before some ended.

    Returns:
        False, with nothing done, when the runs are at different places: some under way, some new, with no checkpoint in
        common.
    """
    first = runs[0]
    total = first.experiment.steps
    names = [f"{r.experiment.task} {r.experiment.name} seed {r.experiment.seed}" for r in runs]
    with ExitStack() as stack:
        # A checkpoint of every member at one step, or none at all: the states are stacked from there.
        checkpoints = [stack.enter_context(open_checkpoints(run.record.folder / "checkpoints")) for run in runs]
        if (common := common_steps(checkpoints)) is None:
            return False
        # The program as it was before a kill: its size and the members' places in it decide how sums round.
        members, seats = _seats(runs, common, group)
        population = first.program.population(members)
        devices = 1 if population.mesh is None else population.mesh.size
        # Every record notes where it went on, and with how many others.
        for run, seat in zip(runs, seats, strict=True):
            run.record.stretch(common, devices=devices, processes=1, together=members, seat=seat)

        # One member's look at the whole target uses its own state alone, so it happens outside the program.
        def refresh(i: int, state: Any) -> Any:
            look = runs[i].refresh
            assert look is not None
            return look(state)

        # The display has one line: means over the members.
        def report(step: int, means: list[dict[str, float]]) -> None:
            mean = {k: float(np.mean([own[k] for own in means])) for k in means[0]}
            progress.step(step, f"{accuracies(runs, step)}  {losses(mean)}")

        # A signal waits for the next point where all members can be saved.
        stop = stack.enter_context(deferred())
        states = run_members(
            population,
            [run.initial() for run in runs],
            pool,
            rows,
            total_steps=total,
            records=[run.record for run in runs],
            checkpoints=checkpoints,
            evaluate=lambda i, state: runs[i].evaluate(state),
            evaluate_together=make_evaluation(runs, members, seats),
            members=members,
            seats=seats,
            cadence=first.cadence,
            refresh=refresh if first.refresh else None,
            refresh_every=first.program.method.hooks.refresh_every,
            names=names,
            report=report,
            stop=stop,
        )
    # Files and "end" lines run by run: a kill here leaves some ended, which the seats above allow for.
    for run, state in zip(runs, states, strict=True):
        run.finish(state, together=members)
    progress.step(total, accuracies(runs))
    return True


def _seats(runs: Sequence[Run], common: Sequence[int], group: int) -> tuple[int, list[int]]:
    """Return the program's size and each run's seat in it, as they were when the runs were last trained.

    A kill among the members' ends, or a damaged checkpoint, leaves some ended and others to go on. In a program of
    another size, or at another place in it, their sums would round differently.

    Args:
        runs: those that have not ended.
        common: steps of which all have a checkpoint.
        group: number of runs before some ended.
    """
    alone = len(runs), list(range(len(runs)))
    if not common:
        return alone
    last = [run.record.last_stretch() for run in runs]
    size, seats = last[0].get("together"), [note.get("seat", -1) for note in last]
    if all(note.get("together") == size for note in last) and seats == sorted(set(seats)) and 0 <= seats[0]:
        return size or 0, seats
    # Older runs noted no seats: those left sat in front, in a program for all once training was over.
    return (max(group, len(runs)), alone[1]) if runs[0].experiment.steps in common else alone


def pool_of(jobs: Sequence[Job]) -> tuple[Pool, list[RowsOf]]:
    """Put the training examples of some jobs on the device; return them with each job's rows in the pool.

    A domain is there once with labels, for the runs that learn from them, and once without, as a target. A batch
    still holds row numbers within its own domain (:func:`dalib.train.pool_numbers`).

    Raises:
        InputError: for examples of several shapes, or more of them than fit.
    """
    offsets: dict[tuple[int, bool], int] = {}
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    limit = memory_limit()

    # Once for each split, however many jobs read it.
    def place(domain: Domain, labelled: bool) -> int:
        split = domain.split("train")
        key = (id(split), labelled)
        if key not in offsets:
            # Measured on one row before all are read: too large a domain must not fill the host's memory first.
            size = len(split) * np.asarray(split.__getitems__([0])[0]).nbytes
            if limit is not None and size > limit:  # rows of sparse texts grow when they are read
                raise InputError(f"the examples of {domain.name} are more than {limit / 2**20:.0f} MiB")
            x, y = split.__getitems__(range(len(split)))
            if not isinstance(x, np.ndarray) or (inputs and x.shape[1:] != inputs[0].shape[1:]):
                raise InputError(f"the examples of {domain.name} have another shape or several")
            offsets[key] = sum(map(len, inputs))
            # A pool is one array, so all examples must have one shape.
            inputs.append(x)
            # Labels of a target never reach the device: what is there in their place is the mark for unknown ones.
            labels.append(as_labels(y) if labelled else np.full(np.shape(y), _hidden(domain), as_labels(y).dtype))
            if labels[-1].shape[1:] != labels[0].shape[1:]:
                raise InputError(f"the labels of {domain.name} have another shape or are not known")
            if limit is not None and sum(x.nbytes for x in inputs) > limit:
                raise InputError(f"the examples are more than {limit / 2**20:.0f} MiB")
        return offsets[key]

    def rows_of(job: Job) -> RowsOf:
        labelled, target = domains_of(job.experiment, job.source, job.target)
        source_at, target_at = np.int32(place(labelled, True)), np.int32(place(target, False))
        sizes = [len(domain.split("train")) for domain in (labelled, target)]
        stream = stream_rows(*sizes, batch_size=job.experiment.batch_size, seed=job.experiment.seed)

        # The same draws as a run alone takes, moved to where its domains begin in the pool.
        def rows(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            of_source, of_target = stream(start, stop)
            return of_source + source_at, of_target + target_at

        return rows

    rows = [rows_of(job) for job in jobs]
    columns = (np.concatenate(inputs), np.concatenate(labels), pool_numbers(*map(len, inputs)))
    return Pool(*map(jnp.asarray, columns)), rows


def _hidden(domain: Domain) -> float:
    """Return the value in place of labels that must not be seen."""
    return UNLABELLED if domain.class_names else np.nan


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Group jobs with one compiled program and one shape of examples and states; those that start from another
    run come last."""
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        example = job.source.split("train").__getitems__([0])[0][0]
        program = make_program(job.experiment, job.source.columns)
        found.setdefault((job.start is not None, id(program), example.shape, str(example.dtype)), []).append(job)
    for key in sorted(found, key=lambda key: key[0]):
        yield from _alike(found[key], jax.ShapeDtypeStruct(*key[2:]))


def _alike(jobs: Sequence[Job], example: jax.ShapeDtypeStruct) -> list[list[Job]]:
    """Divide jobs of one program by the shapes of their states: a method may keep a row for each target example."""
    sizes = {_target_size(job) for job in jobs}
    if len(sizes) == 1:
        return [list(jobs)]
    found: dict[Any, list[Job]] = {}
    shapes: dict[int, Any] = {}
    # The size of the target is all that can differ here, so each size is traced once.
    for job in jobs:
        size = _target_size(job)
        if size not in shapes:
            try:
                state = _first_state(job, example.shape, example.dtype)
                shapes[size] = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state))
            except InputError:
                shapes[size] = None  # it is raised again where the run begins, and says more there
        found.setdefault(shapes[size], []).append(job)
    return list(found.values())


def _first_state(job: Job, example: tuple[int, ...], dtype: Any) -> Any:
    """Trace the shapes of a job's state before the first step, for examples of this shape and dtype."""
    program = make_program(job.experiment, job.source.columns)
    sample = jax.ShapeDtypeStruct((job.experiment.batch_size, *example), dtype)
    return jax.eval_shape(partial(program.init, target_size=_target_size(job)), jax.random.key(0), sample)


def _target_size(job: Job) -> int:
    return len(job.target.split("train"))


def members_that_fit(group: Sequence[Job], pool: Pool, most: int) -> int:
    """Return how many of ``most`` jobs fit the device's memory next to the pool.

    Raises:
        InputError: when not even one does.
    """
    job = group[0]
    e = job.experiment
    program = make_program(e, job.source.columns)
    state = _first_state(job, pool.inputs.shape[1:], pool.inputs.dtype)
    at = jax.ShapeDtypeStruct((min(e.log_every, e.steps), e.batch_size), jnp.int32)
    return fit(program.population(most), state, pool, Rows(at, at), {}, members=most).members


def _title(jobs: Sequence[Job]) -> str:
    names = ", ".join(dict.fromkeys(job.experiment.name for job in jobs))
    tasks = list(dict.fromkeys(job.experiment.task for job in jobs))
    # The tasks of a grid by name would make every line of the display as long as all of them.
    return (
        f"{names}: {len(jobs)} run{'s' * (len(jobs) > 1)} of {tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks'}"
    )
