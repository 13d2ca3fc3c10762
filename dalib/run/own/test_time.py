"""Test-time runs: a net trained on the source goes once over the target's test stream and adapts while it predicts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.files import checksum, write_atomically
from dalib.core.locks import hold, release
from dalib.core.records import Clock
from dalib.core.types import Array, Outputs, PyTree
from dalib.data import Domain, check_distinct, match_classes
from dalib.data.domain import unlabelled
from dalib.encoders import Net
from dalib.evaluate.scores import Scores, confusion_matrix
from dalib.evaluate.selection import unlabelled_events
from dalib.methods import TEST_TIME, Method, Needs, TestTime
from dalib.run.artefacts import PICTURE_ROWS, configuration, faults, fingerprints, packed, read_start
from dalib.run.config import Experiment, flat
from dalib.run.evaluation import predictions
from dalib.run.program import Program, make_program
from dalib.train import open_record
from dalib.train.predict import adapt, make_apply

STREAM = 0x57EA
"""Keeps the order of the stream apart from other draws by the same seed."""


class Passed(NamedTuple):
    """Results of one pass over the stream, in the stored order of the test split.

    Attributes:
        before: logits ``[n, C]`` of each example before its batch's update.
        after: the same after it.
        features: ``[n, d]``, before.
        metrics: of each batch.
    """

    before: np.ndarray
    after: np.ndarray
    features: np.ndarray
    metrics: list[dict[str, Any]]


def stream_of(count: int, batch_size: int, seed: int) -> list[np.ndarray]:
    """List the rows of each batch of the stream, every example once, in an order of the seed.

    A rest at the end is a batch of its own, or joins the last one where it is less than half a batch: statistics
    of a few examples would spoil its predictions.
    """
    order = np.random.default_rng([seed, STREAM]).permutation(count)
    ends = list(range(batch_size, count, batch_size))
    if ends and 2 * (count - ends[-1]) < batch_size:
        ends.pop()
    return np.split(order, ends)


def make_method(name: str, options: dict[str, Any], net: Net) -> TestTime:
    """Make a test-time method on a net."""
    return TEST_TIME[name](make_apply(net), **options)


def check_net(name: str, options: dict[str, Any], start: Experiment, source: Domain) -> None:
    """Raise an InputError for a net that a test-time method cannot adapt; nothing is computed.

    Args:
        name: of the method.
        options: its hyper-parameters.
        start: the source-only run that it goes on from.
        source: its labelled domain.
    """
    net = make_program(start, source.columns).net
    sample = source.split("train").__getitems__([0, 1])[0]
    try:
        method = make_method(name, options, net)
        jax.eval_shape(lambda x: method.init(net.init(jax.random.key(0), x)), jnp.asarray(sample))
    except (InputError, TypeError, ValueError) as error:
        raise input_error(
            "method",
            got=f"{name}, which cannot adapt {start.encoder} as it is: {error}",
            expected="a net of dalib's with normalisation layers, and hyper-parameters that are numbers",
            todo="choose another --encoder; mlp and lenet get BatchNorm by --encoder-options encoder.norm=true",
        ) from None


def run_test_time(
    name: str,
    options: dict[str, Any],
    start: Experiment,
    source: Domain,
    target: Domain,
    folder: Path,
    *,
    net_folder: Path,
    command: str = "",
) -> Path:
    """Make one online pass over the target's split ``test``; a killed one simply starts again, with the same numbers.

    Args:
        name: of the method.
        options: its hyper-parameters.
        start: the source-only run that it goes on from; its batch size and seed are those of the stream.
        source: only the statistics of its pictures are read.
        target: its labels enter the scores alone.
        folder: the run folder; a finished one is left as it is.
        net_folder: of the finished source-only run.
        command: for the record.

    Returns:
        The run folder: ``config.json``, ``record.jsonl`` and ``final.npz``, or ``predictions.npz`` for a target without
        labels. The headline score is of the predictions that were made before each update, as a deployed net would.
    """
    target = match_classes(source, target)
    check_distinct(source, target)
    # The net is the source-only run's, and the record says which one.
    begin = read_start(Method(name, needs=Needs("test time", start="source")), start, net_folder)
    assert begin is not None
    program = make_program(start, source.columns)
    experiment = replace(start, method=name, method_options=flat(options))
    config = configuration(experiment, target.class_names, fingerprints((source, target)), command=command)
    record = open_record(folder, {**config, "start": begin.record})._replace(clock=Clock())
    # What is scored: a target without labels gets predictions alone.
    labels = target.labels("test")
    known = not unlabelled(labels).any()
    file = folder / ("final.npz" if known else "predictions.npz")
    if (end := record.end()) is not None and not faults(folder, end, file.name):
        return folder
    hold(folder)
    # One pass, from the start: a broken-off one leaves nothing that could be gone on from.
    record.cut_after(-1)
    # The pass itself: labels come in only after it, when it is scored.
    sample = source.split("train").__getitems__(range(start.batch_size))[0]
    variables = begin.variables(program.net, jnp.asarray(sample))
    rows = stream_of(len(labels), start.batch_size, start.seed)
    passed = go_over(make_method(name, options, program.net), variables, target, rows)
    # Lines batch by batch, as a deployed net would be watched, and then of the whole stream.
    for i, (here, metrics) in enumerate(zip(rows, passed.metrics, strict=True), start=1):
        record.write("train", i, metrics=metrics)
        if known:
            scores = {"accuracy": passed.before, "accuracy_after": passed.after}
            found = {key: float((logits[here].argmax(1) == labels[here]).mean()) for key, logits in scores.items()}
            record.write("evaluate", i, domain=target.name, split="stream", oracle=True, metrics=found)
    if known:
        metrics = whole_scores(passed, labels)
        record.write("evaluate", len(rows), domain=target.name, split="test", oracle=True, metrics=metrics)
    # Scores without labels, and the files; the "end" line comes last, when all of them are there.
    for event in unlabelled_events(target, passed.before):
        record.write("evaluate", len(rows), **event)
    data = final_arrays(passed, labels, source, program, variables) if known else {}
    write_atomically(file, packed({**data, **left_over(passed, rows)}))
    record.write("end", len(rows), files={file.name: checksum(file)})
    release(folder)
    return folder


def go_over(method: TestTime, variables: PyTree, target: Domain, rows: list[np.ndarray]) -> Passed:
    """Adapt to the target's test inputs batch by batch; labels stay out."""
    split = target.split("test")

    def batches() -> Iterator[Array]:
        for here in rows:
            inputs = split.__getitems__(here.tolist())[0]
            yield jnp.asarray(inputs if isinstance(inputs, np.ndarray) else np.stack(inputs))

    # Fetched batch by batch: the device holds one batch, however long the stream is.
    parts: list[tuple[np.ndarray, ...]] = []
    metrics: list[dict[str, Any]] = []
    for found in adapt(method, variables, batches(), after=True):
        assert found.after is not None
        parts.append(
            tuple(np.asarray(x, np.float32) for x in (found.outputs.logits, found.after.logits, found.outputs.features))
        )
        metrics.append({k: float(v) for k, v in found.metrics.items() if np.ndim(v) == 0})
    # Back to the stored order, in which labels and names of examples are.
    back = np.argsort(np.concatenate(rows))
    before, after, features = (np.concatenate(column)[back] for column in zip(*parts, strict=True))
    return Passed(before, after, features, metrics)


def whole_scores(passed: Passed, labels: np.ndarray) -> dict[str, float]:
    """Score the whole stream: predictions before the updates, and the accuracy of those after them."""
    confusion = confusion_matrix(labels, passed.before.argmax(1), passed.before.shape[1])
    return {**Scores(confusion).metrics(), "accuracy_after": float((passed.after.argmax(1) == labels).mean())}


def left_over(passed: Passed, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return predicted classes of all test examples before and after the updates, and the order of the stream."""
    shifted = passed.before - passed.before.max(1, keepdims=True)
    weights = np.exp(shifted)
    return {
        "predictions": passed.before.argmax(1).astype(np.int32),
        "probabilities": weights / weights.sum(1, keepdims=True),
        "predictions_after": passed.after.argmax(1).astype(np.int32),
        "order": np.concatenate(rows).astype(np.int32),
        "batch_sizes": np.array([len(here) for here in rows], np.int32),
    }


def final_arrays(
    passed: Passed, labels: np.ndarray, source: Domain, program: Program, variables: PyTree
) -> dict[str, np.ndarray]:
    """Return the confusion matrix, and features of both test splits for pictures; the source's by the net as it was."""
    plain = jax.jit(make_apply(program.net))

    def predict(inputs: Any) -> Outputs:
        return plain(variables["params"], variables.get("batch_stats", {}), jnp.asarray(inputs), 1.0)[0]

    features = predictions(predict, source, "test", of=lambda outputs: outputs.features)
    # At most as many rows as a picture shows, the same ones for every method.
    theirs = source.labels("test")
    pick = [np.random.default_rng(0).permutation(n)[:PICTURE_ROWS] for n in (len(theirs), len(labels))]
    return {
        "confusion": confusion_matrix(labels, passed.before.argmax(1), passed.before.shape[1]),
        "features_source": np.asarray(features[pick[0]], np.float32),
        "labels_source": theirs[pick[0]],
        "features_target": passed.features[pick[1]],
        "labels_target": labels[pick[1]],
        "predictions_target": passed.before.argmax(1).astype(np.int32)[pick[1]],
    }
