"""One run from its description to its record: every benchmark file calls :func:`run_experiment`."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.checks import input_error
from dalib.data import (
    UNLABELLED,
    Domain,
    check_distinct,
    evaluation_batches,
    match_classes,
    paired_stream,
    unlabelled_batches,
)
from dalib.encoders import load
from dalib.methods import NET_GROUPS, States, evaluation_params, setting_of
from dalib.train import (
    Cadence,
    Record,
    TrainState,
    open_checkpoints,
    open_record,
    provenance,
    put_batch,
    recompute_statistics,
    run,
)
from dalib.train.forward import statistics_for
from dalib.train.record import write_atomically
from dalib.types import Batch, Outputs, Params
from dalib.validate import score
from dalib.validate.oracle import oracle_score
from dalib.weights import save_variables
from experiments.config import SEVERAL, Experiment, asdict
from experiments.joined import parts_of
from experiments.program import Program, make_program
from experiments.start import read_start

EVALUATION_ROWS = 250
PICTURE_ROWS = 400


class Run(NamedTuple):
    """A run that has been opened and not ended, as functions of its state.

    Attributes:
        experiment: what to do.
        record: its run folder.
        program: the compiled pieces.
        labelled: the domain whose labels are learnt from; the target for an oracle.
        target: the domain used without labels.
        initial: ``() -> state`` before the first step.
        evaluate: ``state -> events``.
        refresh: ``state -> state``, the method's look at the whole target; None if it takes none.
        finish: ``state -> None``: writes what the end of a run leaves behind.
        text: ``() -> str``: the accuracies last seen, for the display.
    """

    experiment: Experiment
    record: Record
    program: Program
    labelled: Domain
    target: Domain
    initial: Callable[[], TrainState]
    evaluate: Callable[[TrainState], list[dict[str, Any]]]
    refresh: Callable[[TrainState], TrainState] | None
    finish: Callable[[TrainState], None]
    text: Callable[[], str]

    @property
    def cadence(self) -> Cadence:
        """When to log, evaluate and save."""
        return Cadence(self.experiment.log_every, self.experiment.evaluate_every, self.experiment.save_every)


def run_experiment(
    experiment: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    start: Path | None = None,
    command: str = "",
    report: Callable[[int, str], None] = lambda step, text: None,
) -> Path:
    """Trains, evaluates and records one run; finished runs are left as they are, unfinished ones go on.

    Args:
        experiment: what to do.
        source: labelled domain with splits ``train`` and ``test``.
        target: its ``train`` split is used without labels, its ``test`` split is scored.
        folder: the run folder.
        start: for a method that starts from a trained source net, the folder of the finished source-only run; which one
            it was, and the hash of its weights, go into ``config.json``.
        command: the command line, for the record.
        report: called with the step and a line of text now and then.

    Returns:
        The run folder, with ``config.json``, ``record.jsonl``, ``final.npz`` (confusion matrix, features for pictures),
        ``weights.safetensors`` (the net's variables, with the source's batch statistics) and ``checkpoints/``.

    Raises:
        InputError: for bad settings or data, before anything is written.
    """
    opened = open_run(experiment, source, target, folder, start=start, command=command)
    if opened is None:
        return folder
    interleaved = setting_of(experiment.method).split(",")[0] in SEVERAL and experiment.role != "oracle"
    labelled = parts_of(opened.labelled) if interleaved else opened.labelled
    stream = paired_stream(labelled, opened.target, batch_size=experiment.batch_size, seed=experiment.seed)

    def batches(start: int) -> Iterator[Batch]:
        return (put_batch(batch) for batch in stream.batches(start))

    with open_checkpoints(folder / "checkpoints") as checkpoints:
        state = run(
            opened.program.step,
            opened.initial(),
            batches,
            total_steps=experiment.steps,
            record=opened.record,
            checkpoints=checkpoints,
            evaluate=opened.evaluate,
            cadence=opened.cadence,
            report=lambda step, means: report(step, f"{losses(means)}  {opened.text()}"),
            refresh=opened.refresh,
            refresh_every=opened.program.method.refresh_every,
        )
    opened.finish(state)
    return folder


def domains_of(experiment: Experiment, source: Domain, target: Domain) -> tuple[Domain, Domain]:
    """The domain whose labels a run learns from, and its target with the classes matched.

    The oracle learns from the target's own labels; its run is marked so everywhere.
    """
    if experiment.role == "oracle":
        return target, target
    target = match_classes(source, target, relation=experiment.relation)
    check_distinct(source, target)
    return source, target


def losses(means: dict[str, float]) -> str:
    """The loss terms of a record's line in short."""
    return "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in means.items() if "loss/" in k)


def open_run(
    experiment: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    start: Path | None = None,
    command: str = "",
) -> Run | None:
    """Checks a run, makes or finds its folder and binds what it needs; None if it has ended already.

    Args and errors: as in :func:`run_experiment`.
    """
    experiment.check()
    oracle = experiment.role == "oracle"
    labelled, target = domains_of(experiment, source, target)
    for domain in (labelled, target):
        size = len(domain.split("train"))
        if experiment.batch_size > size:
            raise input_error("batch_size", got=experiment.batch_size, expected=f"at most {size}, all of {domain.name}")
    program = make_program(experiment, len(labelled.class_names))
    begin = read_start(program.method, experiment, start)
    record = open_record(
        folder,
        {
            "experiment": asdict(experiment),
            "name": experiment.name,
            "task": experiment.task,
            "seed": experiment.seed,
            "class_names": labelled.class_names,
            "data": dict(_fingerprint(d) for d in (source, target)),
            "command": command,
            **({} if begin is None else {"start": begin.record}),
            **provenance(),
        },
    )
    known = not (target.labels("test") == UNLABELLED).any()
    if record.finished() and (folder / ("final.npz" if known else "predictions.npz")).exists():
        return None
    began = time.monotonic()
    scores = {"text": ""}

    def calibrated(state: TrainState, params: Params) -> States:
        states = States(state.model, state.method)
        if program.method.calibrate is None:
            return states

        def recompute():
            batches = unlabelled_batches(target, "train", EVALUATION_ROWS)
            stats = statistics_for(states.model, "source")
            return recompute_statistics(program.net, params, stats, (b.inputs[b.mask] for b in batches))

        return program.method.calibrate(params, states, recompute)

    def refresh(state: TrainState) -> TrainState:
        def look() -> Outputs:
            parts = []
            for b in unlabelled_batches(target, "train", EVALUATION_ROWS):
                outputs = program.predict_target(state.params, state.model, jnp.asarray(b.inputs))
                parts.append(jax.tree.map(lambda x, b=b: np.asarray(x)[b.mask], outputs._replace(hidden={})))
            return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)

        assert program.method.refresh is not None
        states = program.method.refresh(state.params, States(state.model, state.method), look)
        return state.replace(model=states.model, method=states.method)

    def predictors(state: TrainState):
        params = evaluation_params(program.method, state.params, States(state.model, state.method))
        model = calibrated(state, params).model
        return (
            lambda x: program.predict_source(params, model, jnp.asarray(x)),
            lambda x: program.predict_target(params, model, jnp.asarray(x)),
        )

    def evaluate(state: TrainState) -> list[dict[str, Any]]:
        on_source, on_target = predictors(state)
        if not known:
            mine = score(lambda x: on_source(x).logits, evaluation_batches(source, "test", EVALUATION_ROWS))
            scores["text"] = f"accuracy source {mine.accuracy:.3f}"
            return [{"domain": source.name, "split": "test", "oracle": False, "metrics": mine.metrics()}]
        theirs = oracle_score(lambda x: on_target(x).logits, evaluation_batches(target, "test", EVALUATION_ROWS))
        event = {"domain": target.name, "split": "test", "oracle": True, "metrics": theirs.metrics()}
        if oracle:
            scores["text"] = f"accuracy target {theirs.target_accuracy:.3f}"
            return [event]
        mine = score(lambda x: on_source(x).logits, evaluation_batches(source, "test", EVALUATION_ROWS))
        scores["text"] = f"accuracy source {mine.accuracy:.3f} target {theirs.target_accuracy:.3f}"
        return [{"domain": source.name, "split": "test", "oracle": False, "metrics": mine.metrics()}, event]

    def initial() -> TrainState:
        first = labelled.split("train").__getitems__(range(experiment.batch_size))[0]
        sample = jnp.asarray(first)
        variables = None if begin is None else begin.variables(program.net, sample)
        encoder = None
        if experiment.weights and begin is None:
            encoder = load(experiment.encoder, weights=experiment.weights, **dict(experiment.encoder_options))[1]
        return program.init(jax.random.key(experiment.seed), sample, variables, encoder)

    def finish(state: TrainState) -> None:
        if known:
            write_atomically(folder / "final.npz", _final(predictors(state), source, target))
        else:
            write_atomically(folder / "predictions.npz", _predictions(predictors(state)[1], target))
        final = evaluation_params(program.method, state.params, States(state.model, state.method))
        stats = statistics_for(state.model, "source")
        weights = {"params": {g: final[g] for g in NET_GROUPS if g in final}, "batch_stats": stats}
        save_variables(folder / "weights.safetensors", weights)
        record.write("end", experiment.steps, seconds=round(time.monotonic() - began, 3))

    return Run(
        experiment=experiment,
        record=record,
        program=program,
        labelled=labelled,
        target=target,
        initial=initial,
        evaluate=evaluate,
        refresh=refresh if program.method.refresh else None,
        finish=finish,
        text=lambda: scores["text"],
    )


def _final(predictors: Any, source: Domain, target: Domain) -> bytes:
    """Confusion matrix on the target's test split, and features of both test splits for the pictures."""
    on_source, on_target = predictors
    confusion = oracle_score(lambda x: on_target(x).logits, evaluation_batches(target, "test", EVALUATION_ROWS))
    arrays: dict[str, np.ndarray] = {"confusion": confusion.target_confusion}
    for side, domain, predict in (("source", source, on_source), ("target", target, on_target)):
        features, labels, predictions = [], [], []
        for batch in evaluation_batches(domain, "test", EVALUATION_ROWS):
            outputs = predict(batch.inputs)
            features.append(np.asarray(outputs.features, np.float32)[batch.mask])
            predictions.append(np.asarray(outputs.logits.argmax(-1), np.int32)[batch.mask])
            labels.append(batch.labels[batch.mask])
        rows = np.random.default_rng(0).permutation(sum(map(len, labels)))[:PICTURE_ROWS]
        arrays[f"features_{side}"] = np.concatenate(features)[rows]
        arrays[f"labels_{side}"] = np.concatenate(labels)[rows]
        arrays[f"predictions_{side}"] = np.concatenate(predictions)[rows]
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _predictions(on_target: Any, target: Domain) -> bytes:
    """For a target without labels: ``probabilities`` ``[n, C]`` and ``predictions`` ``[n]`` of its test split."""
    logits = [
        np.asarray(on_target(batch.inputs).logits, np.float32)[batch.mask]
        for batch in unlabelled_batches(target, "test", EVALUATION_ROWS)
    ]
    probabilities = np.asarray(jax.nn.softmax(np.concatenate(logits)))
    file = io.BytesIO()
    np.savez_compressed(file, probabilities=probabilities, predictions=probabilities.argmax(1).astype(np.int32))
    return file.getvalue()


_prints: dict[int, tuple[Domain, tuple[str, str]]] = {}


def _fingerprint(domain: Domain) -> tuple[str, str]:
    """Name with the shape of an example, and fingerprint, computed once per object."""
    if id(domain) not in _prints:
        shape = np.shape(domain.split("train").__getitems__([0])[0][0])
        name = f"{domain.name} {'×'.join(map(str, shape))}"
        _prints[id(domain)] = (domain, (name, domain.fingerprint()))
    return _prints[id(domain)][1]
