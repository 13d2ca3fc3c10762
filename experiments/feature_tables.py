"""Tables of precomputed features, one a domain: all tasks between them, closed-form methods and heads of nets.

    python -m experiments.feature_tables --table a=amazon.npz --table w=webcam.npz --table d=dslr.npz
    python -m experiments.feature_tables --table A.mat --table W.mat --method dann mcc --closed-form coral jda --seeds 5
    python -m experiments.feature_tables --table all.npz --domains amazon webcam --x-name {domain}_x --y-name {domain}_y

A table is an ``.npz`` archive or a MATLAB file (up to version 7.2) with rows ``[n, d]`` and labels ``[n]``; several
domains may be in one file, with arrays then named with ``{domain}``. Labels are whole numbers or texts.

Protocol: as in :mod:`dalib.run.own.adapt`: all target rows are used without labels and tested on (transductive), a
fifth of every source class is held out to score the source, closed-form methods train on all of it and have no
randomness. The nets are two hidden layers of 256 and a linear head; all tasks and seeds of a method train together.
Last step.

Published numbers on features appear in the ledger where ``--name``, the domains' names and ``--stated
variant=…`` identify the data; the closed-form rows of Office-Caltech10 are in :mod:`experiments.office_caltech`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from dalib.core.checks import choose, input_error
from dalib.data import Domain
from dalib.data.readers.tabular.tables import Source, Table, read_tables
from dalib.data.readers.user_files import Place, place_of
from dalib.methods.classic import CLASSIC
from dalib.run.cli.main import main
from dalib.run.config import ClosedForm, Experiment, Recipe, flat, method_options
from dalib.run.grid import Grid, expand, pairs, run_grid
from dalib.run.own.closed_form import CLASSIFIERS, WEIGHTING, run_classic
from dalib.run.own.inputs import make_source, make_target, scaled
from dalib.run.own.options import SCALES
from dalib.run.registry import ALL_METHODS

NONE = ("none",)
PAPERS: dict[str, dict[str, Any]] = {"coral": {"form": "paper"}, "ot": {"entropy": 1.0}}
"""Hyper-parameters of the published tables where dalib's defaults differ; taken where ``--name`` identifies them."""


@dataclass(frozen=True)
class FeatureTables(Grid):
    """Options of ``python -m experiments.feature_tables``."""

    benchmark: ClassVar[str] = "feature_tables"

    table: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """PATH or name=PATH of a domain; several of them, or one file with several domains."""
    domains: tuple[str, ...] = ()
    """Names of the domains in one file of several."""
    x_name: str = ""
    """Array of the rows; {domain} becomes the domain's name. Default: x, fts, feas or features, the first there."""
    y_name: str = ""
    """Array of the labels. Default: y, labels or label."""
    scale: str = "source"
    """none, source, domain, l1-domain (rows over their sum, then each domain by itself)."""
    method: tuple[str, ...] = ("source_only", "dan", "deep_coral", "dann", "mcc", "im")
    closed_form: tuple[str, ...] = ("coral", "sa", "tca", "jda")
    """Methods in closed form; source_only with the same classifier comes along. "none", here and for --method, leaves
    one kind out."""
    classifier: str = "1nn"
    """On top of closed-form methods: 1nn, svm or logreg."""
    holdout: float = 0.2
    """Share of every source class that is held out to score the source."""
    oracle: bool = False
    recipe: Recipe = Recipe(learning_rate=0.01)
    save_every: int = 500
    name: str = ""
    """Name of the benchmark that the tables are of, for the ledger."""
    stated: tuple[str, ...] = ()
    """What else the ledger should know of the data, e.g. "variant=SURF, ten random splits"."""


def check(options: FeatureTables) -> tuple[str, ...]:
    """The closed-form methods, after everything that can be checked without the data."""
    closed = () if options.closed_form == NONE else options.closed_form
    if options.closed_form == options.method == NONE:
        raise input_error("method", got="none, and no closed-form ones", expected="methods of one kind or the other")
    for name in closed:
        choose("closed-form", name, CLASSIC)
        if name in WEIGHTING and options.classifier == "1nn":
            got = f"1nn for {name}, which weights source rows"
            raise input_error("classifier", got=got, expected="svm or logreg")
    choose("classifier", options.classifier, CLASSIFIERS)
    choose("scale", options.scale, dict.fromkeys(SCALES))
    if len(options.domains or options.table) < 2:
        raise input_error("table", got=options.table, expected="two domains: --table PATH or name=PATH, one for each")
    if options.oracle:
        raise input_error("oracle", got="an oracle", expected="none: it would be tested on the rows that it learnt")
    if any("=" not in text for text in options.stated):
        raise input_error("stated", got=options.stated, expected="name=value")
    return closed


def sources(options: FeatureTables) -> list[Source]:
    """List the address of every domain's table."""
    found = [place_of("table", text) for text in options.table]
    forms = (options.x_name, options.y_name)
    if not options.domains:
        return [Source(place, *forms) for place in found]
    if len(found) > 1 or not all("{domain}" in form for form in forms):
        expected = "one --table, and --x-name and --y-name with {domain}"
        raise input_error("domains", got=f"{len(found)} tables beside --domains", expected=expected)
    return [
        Source(Place(name, found[0].path), *(form.replace("{domain}", name) for form in forms))
        for name in options.domains
    ]


def experiments(options: FeatureTables, names: Sequence[str], closed: Sequence[str]) -> list[Experiment]:
    """Every run of a net, checked; none for ``--method none``."""
    if options.method == NONE:
        return []
    nets = tuple(text for text in options.options if text.partition(".")[0] not in closed)
    found = expand(replace(options, options=nets), pairs(options, names), protocol=facts(options))
    return [replace(experiment, benchmark=options.name or options.benchmark) for experiment in found]


def facts(options: FeatureTables) -> tuple[tuple[str, str], ...]:
    """Return the record's facts of the data."""
    said = {text.partition("=")[0]: text.partition("=")[2] for text in options.stated}
    return tuple({"split": "transductive", "kind": "vectors", "scale": options.scale, **said}.items())


def pairing(tables: dict[str, Table], scale: str, holdout: float) -> Callable[[str, str], tuple[Domain, Domain]]:
    """``(source, target) -> domains`` of a task, made once."""
    made: dict[tuple[str, str], tuple[Domain, Domain]] = {}

    def domains(source: str, target: str) -> tuple[Domain, Domain]:
        if (source, target) not in made:
            (x,), (t,) = scaled([tables[source].x], [tables[target].x], scale)
            labelled = make_source([(source, x, tables[source].labels)], holdout=holdout)
            made[source, target] = (
                labelled,
                make_target(target, t, tables[target].labels, None, labelled.class_names),
            )
        return made[source, target]

    return domains


def feature_tables(options: FeatureTables) -> None:
    """Checks and reads everything, runs what is not there yet, then prints the table and writes the report."""
    closed = check(options)
    where = sources(options)
    chosen = method_options(options.options, ALL_METHODS)
    tables = read_tables(where)
    todo = experiments(options, tuple(tables), closed)
    domains = pairing(tables, options.scale, options.holdout)

    def also(out: Path, command: str) -> list[Path]:
        folders = []
        for source, target in pairs(options, tuple(tables)):
            for name in ("source_only", *closed) if closed else ():
                experiment = ClosedForm(
                    benchmark=options.name or options.benchmark,
                    source=source,
                    target=target,
                    method=name,
                    classifier=options.classifier,
                    protocol=facts(options),
                    method_options=flat({**(PAPERS.get(name, {}) if options.name else {}), **chosen.get(name, {})}),
                )
                folder = out / f"{source}-{target}" / experiment.name / "seed-0"
                folders.append(run_classic(experiment, *domains(source, target), folder, command=command))
        return folders

    run_grid(options, todo, lambda part: lambda e: domains(e.source, e.target), also=also)


if __name__ == "__main__":
    sys.exit(main(feature_tables, FeatureTables, (__doc__ or "").split("\n\nProtocol")[0]))
