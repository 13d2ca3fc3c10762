"""Many runs at once: those that share a compiled program are trained as the members of one population."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.checks import InputError, input_error
from dalib.data import UNLABELLED, Domain, stream_rows
from dalib.train import Pool, Rows, common_steps, fit, open_checkpoints, run_members
from dalib.train.population import memory_limit
from experiments.config import Experiment
from experiments.program import make_program
from experiments.progress import Progress
from experiments.run import Run, losses, open_run, run_experiment

CHOICES = ("auto", "off")


class Job(NamedTuple):
    """One run to be done; the arguments of :func:`experiments.run.run_experiment`."""

    experiment: Experiment
    source: Domain
    target: Domain
    folder: Path
    start: Path | None = None


def check_population(value: str) -> int | None:
    """How many runs at once an option ``auto | off | N`` asks for: 1 for off, None for as many as fit.

    Raises:
        InputError: for anything else.
    """
    if value in CHOICES:
        return None if value == "auto" else 1
    if value.isdigit() and int(value) >= 1:
        return int(value)
    raise input_error("population", got=repr(value), expected="auto, off, or how many runs at once (a number ≥ 1)")


def run_jobs(jobs: Sequence[Job], progress: Progress, *, members: int | None, command: str = "") -> None:
    """Does all jobs: populations where runs share a program and the examples fit the device, one by one elsewhere.

    Which runs make a population depends on the list of jobs alone, not on what is done already: a killed command that
    is given again divides them the same way.

    Args:
        jobs: the runs; those that start from another run's weights are done after all others.
        progress: display.
        members: at most so many runs at once; None for as many as fit, 1 for the one-by-one loop.
        command: the command line, for the records.
    """
    for group in _groups(jobs):
        if members == 1 or len(group) == 1:
            one_by_one(group, progress, command)
            continue
        try:
            chunks = list(_chunks(group, members))
        except InputError as error:
            _say(f"{_title(group)}: one by one, since they can't be a population: {error}", progress)
            one_by_one(group, progress, command)
            continue
        for chunk in chunks:
            run_together(chunk, progress, command)


def one_by_one(jobs: Sequence[Job], progress: Progress, command: str) -> None:
    """The plain loop over runs."""
    for job in jobs:
        e = job.experiment
        progress.start(f"{e.task}  {e.name}  seed {e.seed}", 0)
        run_experiment(*job[:4], start=job.start, command=command, report=progress.step)
        progress.end("done")


def run_together(jobs: Sequence[Job], progress: Progress, command: str) -> None:
    """Trains the unfinished ones of some jobs as one population; the others are left alone.

    Jobs that are at different places (some under way, some new, with no checkpoint in common) are done one by one.
    """
    opened = [open_run(*job[:4], start=job.start, command=command) for job in jobs]
    runs = [run for run in opened if run is not None]
    progress.start(_title(jobs), 0, len(jobs))
    if not runs:
        progress.end("done")
        return
    first = runs[0]
    total = first.experiment.steps
    names = [f"{r.experiment.task} {r.experiment.name} seed {r.experiment.seed}" for r in runs]
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(open_checkpoints(run.record.folder / "checkpoints")) for run in runs]
        apart = common_steps(checkpoints) is None
        if not apart:
            pool, rows = pool_of(runs)

            def refresh(i: int, state: Any) -> Any:
                look = runs[i].refresh
                assert look is not None
                return look(state)

            def report(step: int, means: list[dict[str, float]]) -> None:
                shared = means[0].keys() & set.intersection(*(set(m) for m in means))
                mean = {k: float(np.mean([m[k] for m in means])) for k in means[0] if k in shared}
                progress.step(step, f"{losses(mean)}  {runs[-1].text()}")

            states = run_members(
                first.program.population(len(runs)),
                [run.initial() for run in runs],
                pool,
                rows,
                total_steps=total,
                records=[run.record for run in runs],
                checkpoints=checkpoints,
                evaluate=lambda i, state: runs[i].evaluate(state),
                cadence=first.cadence,
                refresh=refresh if first.refresh else None,
                refresh_every=first.program.method.refresh_every,
                names=names,
                report=report,
            )
            for run, state in zip(runs, states, strict=True):
                run.finish(state)
    if apart:
        _say(f"{_title(jobs)}: one by one, since some of them are under way and others are not", progress)
        for job in jobs:
            run_experiment(*job[:4], start=job.start, command=command, report=progress.step)
    progress.end("done")


def pool_of(runs: Sequence[Run]) -> tuple[Pool, list[Callable[[int, int], tuple[np.ndarray, np.ndarray]]]]:
    """The training examples of all runs on the device, and each run's rows in there.

    A domain is there once with labels, for the runs that learn from them, and once without, as a target.
    """
    offsets: dict[tuple[int, bool], int] = {}
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    count = 0

    def place(domain: Domain, labelled: bool) -> int:
        nonlocal count
        split = domain.split("train")
        key = (id(split), labelled)
        if key not in offsets:
            x, y = split.__getitems__(range(len(split)))
            if not isinstance(x, np.ndarray):
                raise InputError(f"the examples of {domain.name} have several shapes")
            inputs.append(x)
            labels.append(np.asarray(y, np.int32) if labelled else np.full(len(x), UNLABELLED, np.int32))
            offsets[key], count = count, count + len(x)
        return offsets[key]

    def rows_of(run: Run) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
        e = run.experiment
        source, target = place(run.labelled, True), place(run.target, False)
        sizes = [len(domain.split("train")) for domain in (run.labelled, run.target)]
        stream = stream_rows(*sizes, batch_size=e.batch_size, seed=e.seed)

        def rows(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            of_source, of_target = stream(start, stop)
            return of_source + np.int32(source), of_target + np.int32(target)

        return rows

    rows = [rows_of(run) for run in runs]
    return Pool(jnp.asarray(np.concatenate(inputs)), jnp.asarray(np.concatenate(labels))), rows


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs of one compiled program and one shape of examples; those that start from another run come last."""
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        example = job.source.split("train").__getitems__([0])[0][0]
        program = make_program(job.experiment, len(job.source.class_names))
        found.setdefault((job.start is not None, id(program), example.shape, str(example.dtype)), []).append(job)
    for key in sorted(found, key=lambda key: key[0]):
        yield found[key]


def _chunks(group: list[Job], members: int | None) -> Iterator[list[Job]]:
    """Consecutive parts of a group that fit the device's memory, as equal as can be.

    Raises:
        InputError: when not even one member fits.
    """
    most = min(members or len(group), len(group))
    job = group[0]
    e = job.experiment
    splits = {id(s): s for j in group for s in (j.source.split("train"), j.target.split("train"))}
    examples = 2 * sum(map(len, splits.values()))
    first = job.source.split("train").__getitems__([0])[0]
    example = jax.ShapeDtypeStruct((examples, *first.shape[1:]), first.dtype)
    pool = Pool(example, jax.ShapeDtypeStruct((examples,), jnp.int32))  # type: ignore[arg-type]
    program = make_program(e, len(job.source.class_names))
    sample = jax.ShapeDtypeStruct((e.batch_size, *first.shape[1:]), first.dtype)
    state = jax.eval_shape(program.init, jax.random.key(0), sample)
    at = jax.ShapeDtypeStruct((min(e.log_every, e.steps), e.batch_size), jnp.int32)
    fits = fit(program.population(most), state, pool, Rows(at, at), {}, members=most, limit=memory_limit())
    parts = -(-len(group) // fits.members)
    for part in np.array_split(np.arange(len(group)), parts):
        yield [group[i] for i in part]


def _title(jobs: Sequence[Job]) -> str:
    names = ", ".join(dict.fromkeys(job.experiment.name for job in jobs))
    tasks = ", ".join(dict.fromkeys(job.experiment.task for job in jobs))
    return f"{names}: {len(jobs)} run{'s' * (len(jobs) > 1)} of {tasks}"


def _say(text: str, progress: Progress) -> None:
    del progress
    print(text, file=sys.stderr, flush=True)
