"""One run from its configuration to its record; every benchmark file calls :func:`run_experiment`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.core.locks import hold, release, releasing
from dalib.core.types import Batch
from dalib.data import Domain, check_distinct, match_classes, paired_stream
from dalib.data.matching import parts_of
from dalib.encoders import load
from dalib.methods import Method
from dalib.run.artefacts import configuration, faults, fingerprints, outcome_file, read_start, write_outcome
from dalib.run.cli.progress import say
from dalib.run.config import Experiment
from dalib.run.evaluation import Evaluation, make_inference
from dalib.run.preflight.trace import check_step
from dalib.run.program import NAMED, Given, Program, make_program
from dalib.run.select.kept import keep_outputs
from dalib.train import (
    Cadence,
    Clock,
    Record,
    TrainState,
    open_checkpoints,
    open_record,
    put_batch,
    run,
)
from dalib.train.devices.processes import (
    leader_first,
    leaders,
    leads,
    process_count,
    process_index,
    replicate,
    run_mesh,
)
from dalib.train.devices.sharding import check_rows
from dalib.train.termination import deferred
from dalib.transfer.adapters import with_adapter

ADAPTER = 0xADA
"""Keeps an adapter's first weights apart from other draws by the same seed."""


class Run(NamedTuple):
    """A run that has been opened and not ended, as functions of its state.

    Attributes:
        experiment: what to do.
        record: its run folder.
        program: the compiled pieces.
        labelled: the domain that gives the labels; the target for an oracle.
        target: the domain used without labels.
        initial: ``() -> state`` before the first step.
        evaluate: ``state -> events``.
        events: ``(logits of source, of target) -> events``: the same from given logits ``[n, C]`` of the test splits.
        refresh: ``state -> state``, the method's look at the whole target; None where it takes none.
        finish: ``(state, together=1) -> None``: writes the run's final files; ``together`` is the number
            of runs that were trained at once; each of them records their common wall-clock time.
        seen: ``() -> scores by name`` of the last evaluation, for the display; empty before there is one.
    """

    experiment: Experiment
    record: Record
    program: Program
    labelled: Domain
    target: Domain
    initial: Callable[[], TrainState]
    evaluate: Callable[[TrainState], list[dict[str, Any]]]
    events: Callable[[np.ndarray | None, np.ndarray], list[dict[str, Any]]]
    refresh: Callable[[TrainState], TrainState] | None
    finish: Callable[..., None]
    seen: Callable[[], dict[str, float]]

    @property
    def cadence(self) -> Cadence:
        """Return the steps between logs, evaluations and checkpoints."""
        return Cadence(self.experiment.log_every, self.experiment.evaluate_every, self.experiment.save_every)


def run_experiment(
    experiment: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    method: Method | None = None,
    net: Any = None,
    start: Path | None = None,
    shots: Domain | None = None,
    command: str = "",
    report: Callable[[int, str], None] = lambda step, text: None,
) -> Path:
    """Train, evaluate and record one run; finished runs are left as they are, unfinished ones go on.

    It uses all devices of all processes, with the batch split over them; all processes must call it. Their number is
    no part of the run: it may go on with another one (and then agrees to rounding); each stretch notes it.

    Args:
        experiment: what to do.
        source: labelled domain with splits ``train`` and ``test``.
        target: its ``train`` split is used without labels, its ``test`` split is scored.
        folder: the run folder.
        method: the method itself, in the place of the one that ``experiment.method`` names; that name then only labels
            the run, and ``method_options`` are not read.
        net: in the same way an encoder, which gets the experiment's bottleneck and head, or a whole classifier.
        start: for a method that starts from a trained source net, the folder of the finished source-only run; which one
            it was, and the hash of its weights, go into ``config.json``.
        shots: for a semi-supervised method, a few labelled target examples: a domain with the source's classes.
        command: the command line, for the record.
        report: called with the step and a line of text now and then.

    Returns:
        The run folder, with ``config.json``, ``record.jsonl``, ``final.npz`` (confusion matrix, features for pictures),
        ``weights.safetensors`` (the net's variables, with the source's batch statistics), ``checkpoints/`` and
        ``stretches.jsonl`` (the devices of each stretch).

    Raises:
        InputError: for bad settings or data, or a batch that the devices do not divide, before anything is written.
        Preempted: after SIGTERM, saved.
    """
    check_rows(experiment.batch_size, run_mesh())
    given = Given(method, net)
    with releasing():
        opened = open_run(experiment, source, target, folder, given=given, start=start, shots=shots, command=command)
        if opened is not None:
            opened.finish(_trained(opened, shots, report))
            report(experiment.steps, accuracies([opened]))
    return folder


def _trained(opened: Run, shots: Domain | None, report: Callable[[int, str], None]) -> TrainState:
    """Train a run to its last step and return its state."""
    experiment, record, mesh = opened.experiment, opened.record, opened.program.mesh
    # Interleaved sources fill equal parts of a batch; an oracle has one domain and nothing to interleave.
    interleaved = opened.program.method.needs.interleaves and experiment.role != "oracle"
    labelled = parts_of(opened.labelled) if interleaved else opened.labelled
    # Each process reads its own rows of the global batch, in an order that the seed alone decides.
    stream = paired_stream(
        labelled,
        opened.target,
        batch_size=experiment.batch_size,
        shots=shots,
        shots_batch_size=None if shots is None else shots_in_a_batch(experiment, shots),
        seed=experiment.seed,
        process_index=process_index(),
        process_count=process_count(),
    )

    def batches(start: int) -> Iterator[Batch]:
        return (put_batch(batch, mesh) for batch in stream.batches(start))

    # A signal waits for the next checkpoint, so that nothing trained is lost.
    with open_checkpoints(record.folder / "checkpoints") as checkpoints, deferred() as stop:
        # Noted before training: a stretch that dies at once must still say on which devices it was.
        record.stretch(checkpoints.steps(), devices=1 if mesh is None else mesh.size, processes=process_count())
        return run(
            opened.program.step,
            replicate(opened.initial(), mesh),
            batches,
            total_steps=experiment.steps,
            record=record,
            checkpoints=checkpoints,
            evaluate=opened.evaluate,
            cadence=opened.cadence,
            report=lambda step, means: report(step, f"{accuracies([opened], step)}  {losses(means)}"),
            refresh=opened.refresh,
            refresh_every=opened.program.method.hooks.refresh_every,
            stop=stop,
        )


def domains_of(experiment: Experiment, source: Domain, target: Domain) -> tuple[Domain, Domain]:
    """Return the domain that gives a run its labels, and its target with the classes matched.

    The oracle learns from the target's own labels; its run is marked so everywhere.
    """
    if experiment.role == "oracle":
        return target, target
    target = match_classes(source, target, relation=experiment.relation)
    check_distinct(source, target)
    return source, target


def shots_in_a_batch(experiment: Experiment, shots: Domain) -> int:
    """Count labelled target examples in a batch: as many as the source's, or all if fewer, in equal parts."""
    mesh = run_mesh()
    devices = 1 if mesh is None else mesh.size
    least = min(experiment.batch_size, len(shots.split("train")))
    if least < devices:
        raise input_error("shots", got=least, expected=f"at least {devices}, one for each device")
    return least // devices * devices


def check_labels(experiment: Experiment, domain: Domain) -> None:
    """Raise an InputError for classes in a regression, or real numbers elsewhere."""
    if (experiment.kind == "regression") == bool(domain.class_names):
        got = f"{'classes' if domain.class_names else 'real numbers'} in {domain.name} for a {experiment.kind}"
        raise input_error("labels", got=got, expected="class names for a classification, none for a regression")


def losses(means: dict[str, float]) -> str:
    """Shorten the loss terms of a record's line."""
    return "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in means.items() if "loss/" in k)


def accuracies(runs: Sequence[Run], step: int | None = None) -> str:
    """Write the means over runs of the scores last seen.

    Args:
        runs: those trained together.
        step: the reported step; its own evaluation comes later, so the scores are of an earlier one, and say of which.
            None for the scores of the end.
    """
    found = [seen for run in runs if (seen := run.seen())]
    if not found:
        return ""
    # An oracle has no source to score, and may train together with runs that have one.
    scores = {name: [seen[name] for seen in found if name in seen] for seen in found for name in seen}
    words = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in scores.items())
    every = runs[0].cadence.evaluate
    return words if step is None else f"{words} at step {(step - 1) // every * every}"


def _check_domains(experiment: Experiment, labelled: Domain, target: Domain, shots: Domain | None) -> None:
    """Check the domains against the experiment: number of shots, labels, and room for a batch."""
    if (0 if shots is None else len(shots.split("train"))) != experiment.shots:
        got = f"{experiment.shots}, and {'no domain' if shots is None else len(shots.split('train'))}"
        raise input_error("shots", got=got, expected="as many as the domain of labelled target examples has")
    for domain in (labelled, target):
        check_labels(experiment, domain)
        size = len(domain.split("train"))
        if experiment.batch_size > size:
            raise input_error("batch_size", got=experiment.batch_size, expected=f"at most {size}, all of {domain.name}")


def _ended(record: Record, steps: int, outcome: str) -> bool:
    """Tell whether a run has ended with all its files; lock one that has not for this process.

    Raises:
        InputError: when another process writes it, or when a finished run's files are damaged and no checkpoint is
            left to make them from.
    """

    def look() -> bool:
        end = record.end()
        found = [] if end is None else faults(record.folder, end, outcome)
        if end is not None and not found:
            return True
        # Locked before anything is mended, or two processes would write the same files.
        hold(record.folder)
        if found and not (record.folder / "checkpoints" / str(steps)).is_dir():
            raise input_error(
                "run folder",
                got=f"{record.folder}, a finished run of which {', '.join(found)}",
                expected="its files as they were, or its last checkpoint to make them from",
                todo="restore them, or move this folder away to run it again",
            )
        if found:
            say(f"{record.folder}: {', '.join(found)}; made again from the checkpoint")
            return False
        return record.finished()  # it may have ended while this process waited for the lock

    # Process 0 decides for all: a network disk may show the others an older state.
    return bool(leaders(leader_first(lambda: leads() and look())))


def check_run(
    experiment: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    given: Given = NAMED,
    shots: Domain | None = None,
) -> tuple[Domain, Domain, Program]:
    """Check settings and data of a run, and trace its step unless the folder shows that this was done.

    Returns:
        The domain that gives the labels, the target, and the compiled pieces.
    """
    experiment.check(given.method, given.net)
    labelled, target = domains_of(experiment, source, target)
    _check_domains(experiment, labelled, target, shots)
    program = make_program(experiment, labelled.columns, given)
    if not (folder / "config.json").exists():
        few = None if shots is None else (shots, shots_in_a_batch(experiment, shots))
        check_step(experiment, program, labelled, target, few)
    return labelled, target, program


def open_run(
    experiment: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    given: Given = NAMED,
    start: Path | None = None,
    shots: Domain | None = None,
    command: str = "",
) -> Run | None:
    """Check a run, make or find its folder and bind its functions; None if it has ended already.

    Args and errors: as in :func:`run_experiment`.
    """
    # Everything is checked before the folder is made: a refused run must leave nothing on the disk.
    labelled, target, program = check_run(experiment, source, target, folder, given=given, shots=shots)
    init = partial(program.init, target_size=len(target.split("train")))
    begin = read_start(program.method, experiment, start)
    # The configuration holds all that the numbers depend on; a folder with another one is refused.
    domains = (source, target) if shots is None else (source, target, shots)
    extra = {} if begin is None else {"start": begin.record}
    extra |= {"plugins": foreign} if (foreign := given.origins(experiment)) else {}
    config = configuration(experiment, target.class_names, fingerprints(domains), command=command) | extra
    record = leader_first(lambda: open_record(folder, config))._replace(writes=leads(), clock=Clock())
    evaluation = Evaluation(experiment, source, target, program.mesh)
    # From here on this process is the folder's one writer.
    if _ended(record, experiment.steps, outcome_file(evaluation.known)):
        return None
    infer = make_inference(program, labelled, target)

    def initial() -> TrainState:
        # Parameters are made for one batch's shapes, but their values depend on the seed alone.
        first = labelled.split("train").__getitems__(range(experiment.batch_size))[0]
        sample = jnp.asarray(first)
        variables = None if begin is None else begin.variables(program.net, sample)
        # Published weights fill the encoder only; a run that starts from source-only has trained weights for all of it.
        encoder = None
        if experiment.weights and begin is None:
            encoder = load(experiment.encoder, weights=experiment.weights, **dict(experiment.encoder_options))[1]
            if adapter := experiment.make_adapter():
                encoder = with_adapter(encoder, adapter, jax.random.fold_in(jax.random.key(experiment.seed), ADAPTER))
        return init(jax.random.key(experiment.seed), sample, variables, encoder)

    def evaluate(state: TrainState) -> list[dict[str, Any]]:
        predictors = infer.predictors(state)
        # Kept at every evaluation, so that a later choice can take any step; an oracle is no candidate.
        if experiment.keep and experiment.role != "oracle":
            kept = (folder, int(state.step), predictors, infer.variables(state), (labelled, target), experiment.keep)
            keep_outputs(*kept, mesh=program.mesh, writes=leads())
        return evaluation.of(*predictors)

    def finish(state: TrainState, together: int = 1) -> None:
        # The files first and the "end" line last: only a run with all its files counts as finished.
        files = write_outcome(
            folder,
            predictors=infer.predictors(state),
            variables=infer.variables(state),
            on_target=infer.on_target(state),
            domains=(source, target),
            labelled=evaluation.known,
            kind=experiment.kind,
            mesh=program.mesh,
            writes=leads(),
        )
        record.write("end", experiment.steps, together=together, files=files)
        release(folder)

    return Run(
        experiment=experiment,
        record=record,
        program=program,
        labelled=labelled,
        target=target,
        initial=initial,
        evaluate=evaluate,
        events=evaluation.events,
        refresh=infer.refresh,
        finish=finish,
        seen=lambda: evaluation.seen,
    )
