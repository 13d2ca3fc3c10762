"""Your own data: adaptation from one or several labelled sources to a target, in one line.

    dalib adapt --source photos/ --target sketches/ --method dann --encoder mobilenet_v2 --weights default
    dalib adapt --source a.npz --target b.npz --method coral tca --classifier svm
    dalib adapt --source books.jsonl --source dvd.jsonl --target kitchen.jsonl --method m3sda --seeds 5

Sources and target are folders of images (one folder a class), list files (``path label`` a line), ``.npz`` archives
with ``x`` and ``y`` (vectors, images, or series with time or channels first), or ``.jsonl`` / ``.csv`` texts with a
label column, each as PATH or name=PATH. Nets and closed-form methods may be mixed; source-only runs come along.
``--task regression`` predicts real numbers: ``y`` floating, or a ``.csv`` of numbers with ``--label-column a,b``.
``--method tent`` (bn_norm, sar) adapts the
source-only net in one pass over the target, while it predicts.
Label sets may differ: ``--relation partial`` (the target lacks classes), ``open`` (it has others, which count as one
class, unknown; see osbp, ovanet) or ``universal`` (both).

Protocol: all target examples are used without labels, and tested on (transductive), or ``--target-test`` is; the last
step counts. A fifth of every source class is held out to score the source; closed-form methods train on all of it.
Target labels serve the oracle's column alone; ``--no-target-labels`` drops them at the door, and what the target's
examples were taken for is then in ``predictions.csv``. Images are scaled; ``--augment crop flip`` shows the nets random
views of them in training.

Seen on Office-Caltech10, amazon → webcam, frozen MobileNetV2 features, defaults, seeds 0–4, target accuracy in % ± 95 %
interval: source-only 85.8 ± 0.8, DAN 95.8 ± 1.1, Deep CORAL 91.9 ± 1.1. (``--encoder mobilenet_v2 --weights default
--frozen-features --method dan deep_coral --seeds 5``)
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from dalib.data import Domain, match_classes
from dalib.data.domain import pool, unlabelled
from dalib.data.readers.tabular.columns import described_columns
from dalib.data.readers.tabular.words import described
from dalib.run.cli.extras import require
from dalib.run.cli.main import main, typed
from dalib.run.cli.progress import say, show_progress
from dalib.run.cli.tables import show_tables
from dalib.run.config import OPEN, ClosedForm, Experiment, flat
from dalib.run.grid import Grid, check_jobs, expand, file_name, run_methods, task_folder, tell
from dalib.run.own.closed_form import run_classic
from dalib.run.own.inputs import View
from dalib.run.own.options import Own, default_folder, encoder_options
from dalib.run.own.plan import Classic, Plan, check_c, gather, plan
from dalib.run.own.predictions import write_predictions
from dalib.run.own.read import read_domains
from dalib.run.own.test_time import check_net, run_test_time
from dalib.run.population.members import Job, check_population
from dalib.run.presets.options import SHARED
from dalib.train.devices.processes import leader_first, leads


def experiments(
    options: Own, todo: Plan, source: Domain, target: Domain, view: View, encoder: str, shots: Domain | None = None
) -> list[Experiment]:
    """List and check every run of a net; none without nets."""
    if not todo.nets:
        return []
    same = {name: getattr(options, name) for name in SHARED}
    # Options of closed-form and test-time methods belong to no run of a net.
    texts = [text for text in options.options if text.partition("=")[0].rpartition(".")[0] in todo.nets]
    counts = {name: todo.arguments.get(name, {}).get("sources") for name in todo.nets}
    several = [f"{name}.sources={count}" for name, count in counts.items() if count is not None]
    # The grid's own expansion, so that files of a user train as the benchmarks do.
    grid = Grid(**{**same, "method": todo.nets, "encoder": encoder, "options": (*several, *texts)})
    found = expand(
        grid,
        [(source.name, target.name)],
        protocol=stated(options, todo, view),
        relation=options.relation,
        kind=options.task,
        shots=0 if shots is None else len(shots.split("train")),
        augment="+".join(options.augment),
        weights="" if view.frozen else options.weights,
        encoder_options=flat({} if view.frozen else encoder_options(options)),
    )
    return [replace(experiment, **_particular(options, view, experiment)) for experiment in found]


def _particular(options: Own, view: View, experiment: Experiment) -> dict[str, Any]:
    """Return fields that depend on the data or on the method alone."""
    found: dict[str, Any] = {"benchmark": options.benchmark}
    if options.relation in OPEN and not experiment.needs.rejects:
        found["rejection"] = options.rejection
    if view.kind != "images" or view.frozen:
        found["augment"] = ""  # a preset's views are of images
    if options.head != "auto" or not options.preset:
        found["head"] = experiment.needs.head if options.head == "auto" else options.head
    return found


def stated(options: Own, todo: Plan, view: View) -> tuple[tuple[str, str], ...]:
    """Make the record's facts of the data."""
    facts = {"split": "held out" if todo.test else "transductive", "kind": view.kind}
    if view.kind in ("vectors", "series"):
        facts["scale"] = options.scale
    if options.scale_targets != "none":
        facts["targets"] = f"mean 0 and deviation 1 over the {options.scale_targets}"
    if todo.source_tests or options.holdout == 0:
        facts["source split"] = "a test of its own" if todo.source_tests else "trained on whole"
    if view.frozen:
        facts["features"] = f"{options.encoder}, {options.weights}"
    elif view.kind == "text":
        facts["texts"] = "tokens" if view.words is None else described(view.words)
    if view.columns is not None:
        facts.update(described_columns(view.columns))
    return tuple({**facts, **dict(todo.protocol)}.items())


def own(options: Own) -> None:
    """Check and read everything, run what is not there yet, print the tables and write the report."""
    # Options first, since that takes no time; then all data, before any folder is made.
    todo = plan(options)
    if options.report and leads():
        require("matplotlib", for_what="the report", otherwise="--no-report")
    command = typed("dalib.run.own.adapt")
    task = task_folder("+".join(place.name for place in todo.sources), todo.target.name)
    out = (options.out or default_folder(options)) / task
    source, target, view, encoder, examples, unit, shots = read_domains(options, todo)
    listed = experiments(options, todo, source, target, view, encoder, shots)
    say(_described(source, target))
    starts_of = [e for e in listed if e.name == "source_only"]
    # Checks come first: a test-time method that can't adapt the net must not cost the training of that net.
    given = {name: todo.arguments.get(name, {}) for name in todo.online}
    gather([partial(check_net, name, given[name], e, source) for name in todo.online for e in starts_of[:1]])
    jobs = []
    for experiment in listed:
        starts = experiment.needs.start == "source"
        start = out / "source_only" / f"seed-{experiment.seed}" if starts else None
        folder = out / file_name(experiment.name) / f"seed-{experiment.seed}"
        jobs.append(Job(experiment, source, target, folder, start, shots if experiment.shots else None))
    # Nets first, source-only first of all, since others start from it. A population's pool of rows can't interleave
    # several sources in a batch, so methods that ask for that go one by one.
    interleaved = [job for job in jobs if job.experiment.needs.interleaves]
    check_jobs(jobs)
    with show_progress(len(jobs), max([job.experiment.steps for job in jobs], default=1)) as progress:
        plain = [job for job in jobs if job not in interleaved]
        wrong = run_methods(plain, progress, members=_members(options, view), command=command)
        wrong += run_methods(interleaved, progress, members=1, command=command)
    folders = [job.folder for job in jobs if job.folder.is_dir()]
    # Test-time methods go on from the source-only nets that are there now.
    for name in todo.online:
        for net in starts_of:
            folder, trained = (out / each / f"seed-{net.seed}" for each in (name, "source_only"))
            go = partial(run_test_time, name, given[name], net, source, target, folder)
            folders.append(leader_first(partial(go, net_folder=trained, command=command)))
    # In closed form all of the source is trained on, but for a test of its own.
    fitted = pool(source.name, source.class_names, source.split("train")) if todo.source_tests else source
    for closed in todo.classic:
        fit = _closed_form(options, todo, source, target, view, closed)
        folder = out / fit.name / "seed-0"
        folders.append(leader_first(partial(run_classic, fit, fitted, target, folder, command=command)))
    if leads():
        # Predictions, or scores where there are labels; faults of single runs come last, or they would be overlooked.
        metrics: list[str | None] = [None]
        metrics += ["root_mean_squared_error", "r2"] if options.task == "regression" else ["macro_f1"]
        metrics += ["h_score"] if options.relation in OPEN else []
        if unlabelled(target.labels("test")).any():
            names = match_classes(source, target, relation=options.relation).class_names
            write_predictions(folders, examples, names, unit)
            metrics = []
            print(f"no target labels: the predictions are in {out}/<method>/seed-<n>/predictions.csv")
        show_tables(folders, metrics, out / "report.html" if options.report else None)
    tell(wrong)


def _members(options: Own, view: View) -> int | None:
    """Return how many runs train at once; on a CPU convolutions of several members together are many times slower."""
    convolutions = view.kind in ("images", "series") and not view.frozen
    if options.population == "auto" and convolutions and jax.default_backend() == "cpu":
        return 1
    return check_population(options.population)


def _closed_form(options: Own, todo: Plan, source: Domain, target: Domain, view: View, closed: Classic) -> ClosedForm:
    c = check_c(options.classifier_c)
    return ClosedForm(
        benchmark=options.benchmark,
        source=source.name,
        target=target.name,
        method=closed.method,
        classifier=closed.classifier,
        classifier_options=() if closed.classifier == "1nn" or c == 1 else (("C", c),),
        relation=options.relation,
        protocol=stated(options, todo, view),
        method_options=flat(todo.arguments.get(closed.method, {})),
    )


def _described(source: Domain, target: Domain) -> str:
    lines = []
    for domain in (source, target):
        shape = np.shape(domain.split("train").__getitems__([0])[0])[1:]
        sizes = ", ".join(f"{name} {len(domain.split(name))}" for name in domain.splits)
        lines.append(f"{domain.name}: {sizes} examples of shape {'×'.join(map(str, shape))}")
    if not source.class_names:
        return "\n".join([*lines, f"predicted: {source.columns} real number{'s' * (source.columns > 1)}"])
    return "\n".join([*lines, f"classes: {', '.join(source.class_names[:12])}{' …' * (len(source.class_names) > 12)}"])


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return main(own, Own, (__doc__ or "").split("\n\nProtocol")[0], arguments)


if __name__ == "__main__":
    sys.exit(command())
