"""Digits: adaptation between three real domains that come inside ordinary packages.

Commands:

    python -m experiments.digits                        # three tasks, four methods and the oracle, 3 seeds, a report
    python -m experiments.digits --seeds 5 --steps 2000                                    # the README's table
    python -m experiments.digits --method dann --source mnist --target optdigits --seeds 1 --steps 50

Protocol: LeNet (20-50-500, no BatchNorm) on 16×16 images from scratch, values in [−1, 1]; SGD with momentum 0.9, rate
0.03/(1 + 10p)^0.75, 32 labelled source and 32 unlabelled target examples a step; λ = 1 for every method.
All of the target's train split is used without labels, its test split is scored once the run has ended (the last
step counts; nothing is selected). The rate was chosen among 0.01, 0.03, 0.1 by the accuracy of source-only on held-out
source examples. Domains, splits and geometry: :mod:`dalib.data.digits`.

Ours, mean ± 95 % interval over seeds 0–4, target test accuracy in %, from the second command (Python 3.11, jax 0.10.2):

                 mnist → optdigits   optdigits → mnist   mnist → mnist_m
    source-only     82.3 ± 1.8          60.5 ± 3.3          49.7 ± 1.5
    DAN             90.7 ± 2.5          72.1 ± 4.7          36.7 ± 1.1
    DANN            91.1 ± 2.6          79.0 ± 7.6          41.6 ± 4.2
    Deep CORAL      91.1 ± 2.9          65.0 ± 4.9          44.7 ± 2.1
    oracle          98.6 ± 0.2          97.1 ± 0.3          86.6 ± 1.2

Published numbers for the comparable task, MNIST → MNIST-M with all 60,000 digits and BSDS500 photographs (Ganin et
al., JMLR 2016, table 2): source-only 52.25, DANN 76.66, trained on target 95.96. No publication that we know adapts
between MNIST and optdigits; its cousin is MNIST → USPS (source-only 75–82, DANN 77–92, depending on the protocol).
"""

import hashlib
import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from dalib.checks import choose, input_error
from dalib.data import DIGIT_DOMAINS, Domain, from_arrays
from dalib.methods import METHODS
from experiments.config import Experiment, Recipe, flat, main, method_options
from experiments.population import Job, check_population, run_jobs
from experiments.progress import show_progress

TASKS = (("mnist", "optdigits"), ("optdigits", "mnist"), ("mnist", "mnist_m"))
COLOURED = ("mnist_m",)


@dataclass(frozen=True)
class Digits:
    """Options of ``python -m experiments.digits``."""

    method: tuple[str, ...] = ("source_only", "dan", "deep_coral", "dann")
    """Methods to run, one or more. Those that start from a trained source net (adda, shot) bring source_only along."""
    source: str | None = None
    """Labelled domain: mnist, optdigits or mnist_m. Default: the three tasks of the README."""
    target: str | None = None
    """Domain to adapt to, used without labels."""
    seeds: int = 3
    """Seeds 0 … seeds − 1 of each method and task."""
    steps: int = 500
    """Training steps of a run."""
    batch_size: int = 32
    """Examples of each domain in a step."""
    size: int = 16
    """Height and width of the images in pixels."""
    encoder: str = "lenet"
    """Net in front of the classifier."""
    bottleneck: str = "none"
    """Layers between encoder and head, by name."""
    batch_norm: str = "auto"
    """joint, separate, source, domain, frozen; auto takes each method's own convention."""
    recipe: Recipe = Recipe(learning_rate=0.03)
    options: tuple[str, ...] = ()
    """Hyper-parameters of methods, e.g. dann.weight=0.5 dan.estimator=biased."""
    oracle: bool = True
    """Also train on the target's labels: the upper bound, labelled as such."""
    log_every: int = 20
    """Steps between two lines of the record; each holds means over these steps."""
    evaluate_every: int = 100
    """Steps between two evaluations, a multiple of log_every."""
    save_every: int = 200
    """Steps between two checkpoints, a multiple of log_every."""
    population: str = "auto"
    """auto trains the runs of one method together, as many as fit the device; a number limits how many; off trains one
    run after the other. Numbers agree to rounding."""
    out: Path | None = None
    """Folder of the run records and the report; runs found there are kept, unfinished ones go on. Default: a folder in
    runs/ named after the protocol, so that other settings get another folder."""
    report: bool = True
    """Write report.html at the end."""


def experiments(options: Digits) -> list[Experiment]:
    """Every run that the options ask for, checked, source-only first."""
    chosen = method_options(options.options)
    for name in options.method:
        choose("method", name, METHODS)
    if unused := [name for name in chosen if name not in options.method]:
        raise input_error("options", got=f"options of {', '.join(unused)}", expected="options of the methods being run")
    if options.seeds < 1:
        raise input_error("seeds", got=options.seeds, expected="an integer ≥ 1")
    names = list(options.method)
    if any(METHODS[name](**chosen.get(name, {})).starts_from == "source" for name in names):
        names = ["source_only", *(name for name in names if name != "source_only")]
    found = []
    for source, target in tasks(options):
        for seed in range(options.seeds):
            roles = [(name, "method") for name in names] + [("source_only", "oracle")] * options.oracle
            for name, role in roles:
                arguments = chosen.get(name, {})
                convention = options.batch_norm
                if convention == "auto":
                    convention = METHODS[name](**arguments).batch_norm
                found.append(
                    Experiment(
                        benchmark="digits",
                        source=source,
                        target=target,
                        method=name,
                        seed=seed,
                        steps=options.steps,
                        batch_size=options.batch_size,
                        encoder=options.encoder,
                        bottleneck=options.bottleneck,
                        batch_norm=convention,
                        recipe=options.recipe,
                        role=role,
                        method_options=flat(arguments),
                        log_every=options.log_every,
                        evaluate_every=options.evaluate_every,
                        save_every=options.save_every,
                    )
                )
    for experiment in found:
        experiment.check()
    return found


def tasks(options: Digits) -> list[tuple[str, str]]:
    """The (source, target) pairs asked for: one domain named means all its pairs, none means :data:`TASKS`."""
    for argument in ("source", "target"):
        if (name := getattr(options, argument)) is not None:
            choose(argument, name, DIGIT_DOMAINS)
    if options.source is None and options.target is None:
        return list(TASKS)
    sources = [options.source] if options.source else [d for d in DIGIT_DOMAINS if d != options.target]
    targets = [options.target] if options.target else [d for d in DIGIT_DOMAINS if d != options.source]
    return [(s, t) for s in sources for t in targets]


def load(name: str, size: int, channels: int) -> Domain:
    """A digit domain with values brought from [0, 1] to [−1, 1]."""
    domain = DIGIT_DOMAINS[name](size, channels=channels)
    arrays = {split: domain.split(split).__getitems__(range(len(domain.split(split)))) for split in domain.splits}
    return from_arrays(name, {s: (2 * x - 1, y) for s, (x, y) in arrays.items()}, class_names=domain.class_names)


def default_folder(options: Digits) -> Path:
    """``runs/digits-<steps>-<hash>``: the hash is of every option that changes numbers, not of which runs are done."""
    which = ("method", "source", "target", "seeds", "oracle", "population", "out", "report")
    protocol = [(f.name, repr(getattr(options, f.name))) for f in fields(options) if f.name not in which]
    return Path("runs") / f"digits-{options.steps}-{hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]}"


def digits(options: Digits) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    todo = experiments(options)
    at_once = check_population(options.population)
    command = "python -m experiments.digits " + shlex.join(sys.argv[1:])
    out = options.out or default_folder(options)
    domains: dict[tuple[str, int], Domain] = {}
    jobs = []
    for experiment in todo:
        channels = 3 if {experiment.source, experiment.target} & set(COLOURED) else 1
        for name in (experiment.source, experiment.target):
            if (name, channels) not in domains:
                domains[name, channels] = load(name, options.size, channels)
        pair = f"{experiment.source}-{experiment.target}"
        folder = out / pair / experiment.name / f"seed-{experiment.seed}"
        starts = METHODS[experiment.method](**dict(experiment.method_options)).starts_from == "source"
        start = out / pair / "source_only" / f"seed-{experiment.seed}" if starts else None
        source, target = domains[experiment.source, channels], domains[experiment.target, channels]
        jobs.append(Job(experiment, source, target, folder, start))
    with show_progress(len(todo), options.steps) as progress:
        run_jobs(jobs, progress, members=at_once, command=command.strip())
    if options.report:
        from dalib import report

        runs = report.load_runs([job.folder for job in jobs])
        print(report.to_text(report.accuracy_table(runs)))
        path = report.write_report(runs, out / "report.html")
        print(f"\nreport: {path.resolve()}")


if __name__ == "__main__":
    sys.exit(main(digits, Digits, (__doc__ or "").split("\nOurs")[0]))
