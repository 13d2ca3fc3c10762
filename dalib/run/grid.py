"""Grids of runs, the engine of the benchmark files: from options to runs, their folders, the tables and the report.

A benchmark file is a subclass of :class:`Grid` with its defaults, a list of tasks, and a function that reads data::

    def mine(options: Mine) -> None:
        run_grid(options, expand(options, tasks(options)), read)

Runs are in ``<out>/<source>-<target>/<method>/seed-<n>``; those found there are kept, unfinished ones go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dalib.core.checks import choose, input_error
from dalib.core.files import folder_name
from dalib.core.options import check_fields
from dalib.data import Domain
from dalib.run.cli.array import part, share
from dalib.run.cli.extras import require
from dalib.run.cli.main import typed
from dalib.run.cli.progress import Progress, show_progress
from dalib.run.cli.tables import show_tables
from dalib.run.config import Experiment, flat, method_options, named_values
from dalib.run.population.members import Job, check_population, run_jobs
from dalib.run.presets.options import Grid as Grid
from dalib.run.presets.options import RunOptions, Settings
from dalib.run.presets.options import default_folder as default_folder
from dalib.run.presets.protocols import settings
from dalib.run.registry import METHODS
from dalib.run.run import check_run
from dalib.train import NonFiniteError
from dalib.train.devices.processes import leads

Reader = Callable[[Sequence[Experiment]], Callable[[Experiment], tuple[Domain, Domain]]]
"""Read and check the data of some experiments before any training; return each one's source and target."""


def pairs(
    options: Grid, domains: Sequence[str], usual: Sequence[tuple[str, str]] | None = None
) -> list[tuple[str, str]]:
    """List the (source, target) pairs asked for; a source or target alone means all its pairs.

    Args:
        options: with ``source`` and ``target``, which must be among ``domains``.
        domains: names that they may have.
        usual: the tasks where neither is given; without it, all ordered pairs of domains.
    """
    for argument in ("source", "target"):
        if (name := getattr(options, argument)) is not None:
            choose(argument, name, dict.fromkeys(domains))
    if options.source is None and options.target is None and usual is not None:
        return list(usual)
    if options.source is not None and options.source == options.target:
        return [(options.source, options.target)]  # refused later, with the reason
    sources = [options.source] if options.source else list(domains)
    targets = [options.target] if options.target else list(domains)
    return [(s, t) for s in sources for t in targets if s != t]


def fixed(options: RunOptions, method: str, task: str = "") -> Settings:
    """Return the preset's settings of a method on a task ``source → target``, or the command line's."""
    if not options.preset:
        return Settings(options.recipe, options.bottleneck, None, options.batch_size, options.steps, options.batch_norm)
    found = settings(options.preset, method, task)
    return found if options.preset_steps else found._replace(steps=options.steps)


def _check_methods(options: Grid) -> dict[str, dict[str, Any]]:
    """Return each method's hyper-parameters from the command line, checked together with names and seeds."""
    check_fields(options)
    chosen = method_options(options.options)
    for name in options.method:
        choose("method", name, METHODS)
    if not options.method:
        raise input_error("method", got="none", expected="at least one")
    if unused := [name for name in chosen if name not in options.method]:
        raise input_error("options", got=f"options of {', '.join(unused)}", expected="options of the methods being run")
    return chosen


def expand(
    options: Grid,
    tasks: Sequence[tuple[str, str]],
    *,
    settings_of: Callable[[str, str], Settings] | None = None,
    protocol: tuple[tuple[str, str], ...] = (),
    shots: int = 0,
    **own: Any,
) -> list[Experiment]:
    """List and check every run that the options ask for; tasks outermost, then seeds, source-only first.

    Args:
        options: the command line.
        tasks: (source, target) pairs.
        settings_of: ``(method, task) -> settings``; without it :func:`fixed`.
        protocol: what the record says of the data; a preset's name is added.
        shots: labelled target examples, for semi-supervised methods; the others get none.
        **own: other fields of :class:`dalib.run.config.Experiment` (``encoder``, ``weights``, ``encoder_options`` …).

    Raises:
        InputError: for unknown names, options of methods that are not run, or settings that contradict one another.
    """
    # Source-only first: some methods start from its net, and every comparison rests on it.
    chosen = _check_methods(options)
    names = list(options.method)
    if any(starts_from_source(name, chosen.get(name, {})) for name in names):
        names = ["source_only", *(name for name in names if name != "source_only")]
    roles = [(name, "method") for name in names] + [("source_only", "oracle")] * options.oracle
    rule_of = settings_of or (lambda name, task: fixed(options, name, task))
    if options.preset:
        protocol = (*protocol, ("preset", options.preset))
    # What is the same for all runs; recipe, net and method's own arguments come per method and task below.
    same = ("encoder", "accumulate", "gradient_cache", "log_every", "evaluate_every", "save_every", "keep")
    common = {**{name: getattr(options, name) for name in same}, **own}
    common |= {
        "adapter": options.adapter,
        "adapter_options": flat(named_values("adapter-options", options.adapter_options)),
    }
    found = []
    for source, target in tasks:
        rules = {name: rule_of(name, f"{source} → {target}") for name, _ in roles}
        for seed in range(options.seeds):
            for name, role in roles:
                # The command line outranks the preset, and the preset the benchmark.
                rule = rules[name]
                arguments = {**dict(rule.options), **chosen.get(name, {})}
                # What a preset leaves open is the benchmark's.
                net: dict[str, Any] = {"encoder_options": rule.encoder_options} if rule.encoder_options else {}
                net |= {"augment": rule.augment} if rule.augment and own.get("augment") != "" else {}
                width = {} if rule.width is None else {"width": rule.width}
                # Made once here to learn what it asks of BatchNorm and of labelled target examples.
                needs = METHODS[name](**arguments).needs
                convention = needs.batch_norm if rule.batch_norm == "auto" else rule.batch_norm
                found.append(
                    Experiment(
                        benchmark=options.benchmark,
                        source=source,
                        target=target,
                        method=name,
                        seed=seed,
                        steps=rule.steps,
                        batch_size=rule.batch_size,
                        bottleneck=rule.bottleneck,
                        bottleneck_options=flat({**width, **dict(rule.bottleneck_options)}),
                        batch_norm=convention,
                        recipe=rule.recipe,
                        role=role,
                        head=rule.head,
                        head_options=rule.head_options,
                        protocol=protocol,
                        method_options=flat(arguments),
                        shots=shots if needs.setting == "semi-supervised" else 0,
                        **{**common, **net},
                    )
                )
    # All of the grid before any of it: a fault in the last run must not show after the first has trained.
    for experiment in found:
        experiment.check()
    return found


def starts_from_source(method: str, arguments: dict[str, Any]) -> bool:
    """Tell whether a method goes on from the net of a finished source-only run."""
    return METHODS[method](**arguments).needs.start == "source"


def file_name(method: str) -> str:
    """Turn a method's name into a folder's: ``package.module:factory`` without its colon."""
    return folder_name(method.replace(":", "."))


def task_folder(source: str, target: str) -> str:
    """Name the folder of a task in the folder of all runs."""
    return folder_name(f"{source}-{target}")


def folder_of(experiment: Experiment, out: Path) -> Path:
    """Return the run folder of an experiment."""
    task = task_folder(experiment.source, experiment.target)
    return out / task / file_name(experiment.name) / f"seed-{experiment.seed}"


def start_of(experiment: Experiment, out: Path) -> Path | None:
    """Return the folder of the source-only run that an experiment starts from; None for a start from scratch."""
    if not starts_from_source(experiment.method, dict(experiment.method_options)):
        return None
    return out / task_folder(experiment.source, experiment.target) / "source_only" / f"seed-{experiment.seed}"


def check_jobs(jobs: Sequence[Job]) -> None:
    """Check all jobs before the first one trains; those that differ in their seed alone are checked once."""
    found: dict[Any, Job] = {}
    for job in jobs:
        found.setdefault((replace(job.experiment, seed=0), id(job.source), id(job.target)), job)
    for job in found.values():
        check_run(*job[:4], shots=job.shots)


def run_methods(jobs: Sequence[Job], progress: Progress, *, members: int | None, command: str) -> list[NonFiniteError]:
    """Run all jobs, method by method; for the arguments see :func:`dalib.run.population.members.run_jobs`.

    A loss that is not finite does not keep other methods from running: it is returned, for :func:`tell`. Of source-only
    it is raised, since comparisons, and some methods' start, rest on it.
    """
    wrong = []
    for name in dict.fromkeys(job.experiment.method for job in jobs):
        try:
            run_jobs([j for j in jobs if j.experiment.method == name], progress, members=members, command=command)
        except NonFiniteError as error:
            if name == "source_only":
                raise
            wrong.append(error if name in str(error) else NonFiniteError(f"{name}, {error}"))
    return wrong


def tell(wrong: Sequence[NonFiniteError]) -> None:
    """Raise one error for all of them, if there are any."""
    if wrong:
        raise NonFiniteError("\n".join(map(str, wrong))) from wrong[0]


def run_grid(
    options: Grid,
    experiments: Sequence[Experiment],
    read: Reader,
    *,
    also: Callable[[Path, str], Sequence[Path]] = lambda out, command: (),
) -> Path:
    """Run what is not there yet, print the table, write the report, and return the folder of the runs.

    Args:
        options: the command line.
        experiments: the whole grid; only the part that ``options.array`` names is run.
        read: reads and checks the data of the experiments to be done.
        also: ``(folder, command line) -> run folders`` of closed-form runs, run last, by the first part of an array.

    Raises:
        InputError: for bad options or data, before any training.
        NonFiniteError: at the end, when a method's loss was not finite; the others are done and reported then.
    """
    # All faults of options and data show before anything is trained.
    at_once = check_population(options.population)
    index, count = share(options.array)
    todo = part(experiments, index, count)
    if options.report and leads():
        require("matplotlib", for_what="the report", otherwise="--no-report")
    command = typed(f"experiments.{options.module or options.benchmark}")
    out = options.out or default_folder(options)
    domains = read(todo)
    jobs = [Job(e, *domains(e), folder_of(e, out), start_of(e, out)) for e in todo]
    check_jobs(jobs)
    # One run's broken loss must not cost the others their night: faults are kept and told last.
    with show_progress(len(todo), max((e.steps for e in todo), default=1)) as progress:
        wrong = run_methods(jobs, progress, members=at_once, command=command)
    # Closed-form runs take seconds, so one machine of an array does all of them.
    others = list(also(out, command)) if index == 1 and leads() else []
    # A part of an array sees its own runs only; tables and report need all.
    if options.array:
        done = f"part {options.array}: {len(todo)} of {len(experiments)} runs are in {out}"
        print(f"{done}\nonce all parts are done: the same command without --array, or python -m dalib.report {out}")
    elif leads():
        folders = [job.folder for job in jobs if job.folder.is_dir()] + others
        show_tables(folders, [None], out / "report.html" if options.report else None)
    tell(wrong)
    return out
