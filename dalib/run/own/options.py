"""The command line of :mod:`dalib.run.own.adapt`, and what can be checked before any data is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro

from dalib.core.checks import InputError, choose, input_error
from dalib.data.readers.user_files import KINDS, Place, place_of
from dalib.methods import METHODS as OWN_METHODS
from dalib.methods import TEST_TIME
from dalib.methods.classic import CLASSIC
from dalib.methods.parts.augmentation import VIEWS
from dalib.run.config import OPEN, RELATIONS, TASKS, Recipe, method_options, needs_of, serves_regression
from dalib.run.own.closed_form import CLASSIFIERS, WEIGHTING
from dalib.run.population.members import check_population
from dalib.run.presets.protocols import settings
from dalib.run.registry import ALL_METHODS, ENCODERS, METHODS

T = TypeVar("T")
LAYOUTS = ("auto", "nct", "ntc")


@dataclass(frozen=True)
class Own:
    """Options of ``dalib adapt``."""

    source: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Labelled data, PATH or name=PATH, or DATASET:DOMAIN of a data set that dalib data list shows; several --source
    make it multi-source."""
    target: str
    """Data to adapt to, used without labels."""
    target_test: str | None = None
    """Labelled data of the target to test on. Default: the target itself."""
    target_labelled: str | None = None
    """A few labelled examples of the target, of every class, for semi-supervised methods (mme)."""
    target_labels: bool = True
    """--no-target-labels: read none; no target accuracy then, but predictions.csv."""
    data_dir: Path | None = None
    """Folder with the files of a DATASET. Default: the environment variable DALIB_DATA."""
    kind: str | None = None
    """vectors, images, series or text, where a file could be several. Default: as the file tells."""
    layout: str = "auto"
    """Of series: nct (channels first), ntc, or auto: the shorter of the two is the channels."""
    text_column: str = "text"
    """Name of the texts in .jsonl and .csv."""
    label_column: str = "label"
    """Name of the labels in .jsonl and .csv."""
    task: str = "classification"
    """What is predicted: classification, or regression of real-valued labels (.npz with floating y [n] or [n, k], or a
    .csv or .jsonl of numbers, whose --label-column a,b names the labels and all other columns are features)."""
    scale_targets: str = "none"
    """Of a regression: none, or source for labels of mean 0 and deviation 1 over the sources; scores are then in that
    unit, predictions.csv in the labels' own."""
    method: tuple[str, ...] = ("dann",)
    """Methods to run, of nets, in closed form (coral, tca, jda, sa, gfk …), or at test time (bn_norm, tent, sar: the
    source-only net goes once over the target in batches and adapts while it predicts);
    package.module:factory is one of your own."""
    classifier: str = "1nn"
    """On top of closed-form methods: 1nn, svm or logreg."""
    baseline: bool = True
    """Run source-only as well."""
    oracle: bool = False
    """Also train on the target's own labels, the upper bound; needs --target-test."""
    relation: str = "closed"
    """How the label sets lie: closed (equal), partial (the target lacks classes of the source), open (it has others,
    which count as one class, unknown), universal (both)."""
    rejection: float = 0.8
    """Open and universal: closed-set methods answer "unknown" below this probability (osbp and ovanet need none)."""
    seeds: int = 3
    """Seeds 0 … seeds − 1 of each net; closed-form methods have no randomness."""
    steps: int = 1000
    """Training steps of a run."""
    batch_size: int = 32
    """Examples of each domain in a step."""
    encoder: str | None = None
    """Net by name. Default: mlp for vectors and hashed texts, series_cnn, dtn. A text encoder reads tokens.
    package.module:factory is one of your own."""
    encoder_options: tuple[str, ...] = ()
    """Fields of the encoder, e.g. encoder.stride=4."""
    weights: str = ""
    """Start from these weights: default, a name that dalib weights list shows, a file, or hf://…"""
    frozen_features: bool = False
    """Replace every example by the pretrained encoder's features once, and go on with vectors."""
    tokenizer: str = ""
    """Folder of a text encoder's tokeniser. Default: the one that came with the weights."""
    max_length: int = 128
    """Tokens of a text."""
    size: int = 32
    """Height and width of images for encoders without weights."""
    augment: tuple[str, ...] = ()
    """Views of training images, of both domains: crop (random resized crop), shift, flip. Default: none."""
    scale: str = "source"
    """Of vectors and series: none, source, domain, l1-domain (rows over their sum, then each domain by itself)."""
    bottleneck: str = "none"
    """Layers between encoder and head, by name."""
    batch_norm: str = "auto"
    """joint, separate, source, domain, frozen; auto takes each method's own convention."""
    accumulate: int = 1
    """In how many parts a batch goes through the net, to save memory: exact where all losses are means over examples,
    refused for other methods and for BatchNorm by the batch."""
    gradient_cache: bool = False
    """With --accumulate: two passes, exact for methods that look at the distribution of a batch as well."""
    recipe: Recipe = field(default_factory=Recipe)
    preset: str = ""
    """Recipe, bottleneck, batch, steps and BatchNorm of a published protocol, per method: tllib, deepda, dann-paper,
    adda-paper, mcd-paper, shot. It stands in the place of --recipe, --bottleneck, --batch-size and --batch-norm."""
    preset_steps: bool = True
    """--no-preset-steps: keep --steps beside a preset."""
    options: tuple[str, ...] = ()
    """Hyper-parameters of methods, e.g. dann.weight=0.5 tca.dim=30."""
    holdout: float = 0.2
    """Share of every source class that is held out to score the source."""
    benchmark: str = "own"
    """Name of the benchmark that the data are, for the ledger."""
    protocol: tuple[str, ...] = ()
    """What else the ledger should know of the data, e.g. "variant=ten random splits"."""
    log_every: int = 20
    """Steps between two lines of the record."""
    evaluate_every: int = 100
    """Steps between two evaluations, a multiple of log_every."""
    save_every: int = 500
    """Steps between two checkpoints, a multiple of log_every."""
    population: str = "auto"
    """auto trains the runs of one method together (on a CPU not those of convolutional nets); a number limits how many;
    off trains one run after the other."""
    out: Path | None = None
    """Folder of the run records and the report. Default: a folder in runs/ named after the options."""
    report: bool = True
    """Write report.html at the end."""


class Plan(NamedTuple):
    """Names of the methods by how they run, their hyper-parameters, and what is read from where."""

    nets: tuple[str, ...]
    classic: tuple[str, ...]
    arguments: dict[str, dict[str, Any]]
    sources: tuple[Place, ...]
    target: Place
    test: Place | None
    protocol: tuple[tuple[str, str], ...]
    online: tuple[str, ...] = ()
    shots: Place | None = None


SEMI_SUPERVISED = [name for name in OWN_METHODS if needs_of(name).setting == "semi-supervised"]


def check_regression(name: str) -> None:
    """Raises an InputError for a method that predicts no real numbers, naming those that do."""
    others = {**dict.fromkeys(CLASSIC, "in closed form"), **dict.fromkeys(TEST_TIME, "for test time")}
    if name not in others and serves_regression(needs_of(name)):
        return
    why = f"{others[name]}, and classifies" if name in others else f"for classes ({needs_of(name).setting})"
    known = [other for other in OWN_METHODS if serves_regression(needs_of(other))]
    raise input_error("method", got=f"{name}, which is {why}", expected=f"for a regression: {', '.join(known)}")


def gather(attempts: list[Callable[[], T]]) -> list[T]:
    """Results of all attempts, or one InputError with the messages of those that failed."""
    found, faults = [], []
    for attempt in attempts:
        try:
            found.append(attempt())
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return found


def plan(options: Own) -> Plan:
    """Checks everything that can be checked without reading data; all faults are named at once."""
    check_population(options.population)
    several = len(options.source) > 1

    def check_method(name: str) -> None:
        choose("method", name, ALL_METHODS)
        if options.task == "regression":
            check_regression(name)
            return
        if name in TEST_TIME:
            if options.relation != "closed":
                raise input_error("relation", got=f"{options.relation}, for {name}", expected="closed")
            return
        if name in CLASSIC:
            if name in WEIGHTING and options.classifier == "1nn":
                got = f"1nn for {name}, which weights source rows"
                raise input_error("classifier", got=got, expected="svm or logreg")
            if options.relation in OPEN:
                raise input_error("relation", got=f"{options.relation}, for {name}", expected="closed or partial")
            return
        needs = needs_of(name)
        if needs.interleaves:
            if not several:
                raise input_error("source", got=f"one, for {name}", expected=f"several --source: {needs.setting}")
            if options.batch_size % len(options.source):
                expected = f"a multiple of {len(options.source)}, the sources that {name} interleaves"
                raise input_error("batch-size", got=options.batch_size, expected=expected)
        elif needs.setting == "semi-supervised":
            if options.target_labelled is None:
                got = f"none, for {name}, which is semi-supervised"
                raise input_error("target-labelled", got=got, expected="a few labelled examples of the target")
            if options.relation != "closed":
                raise input_error("relation", got=f"{options.relation}, for {name}", expected="closed")
        elif needs.setting == "regression":
            got = f"{name}, which is for real-valued labels"
            raise input_error("method", got=got, expected="a method that classifies", todo="add --task regression")
        elif needs.setting not in ("closed", "partial", "open", "universal"):
            expected = "a method for one target without labels: closed set, partial, open, universal or several sources"
            raise input_error("method", got=f"{name}, which is for: {needs.setting}", expected=expected)
        elif options.relation not in needs.relations:
            expected = " or ".join(f"--relation {relation}" for relation in needs.relations)
            raise input_error("relation", got=f"{options.relation}, for {name}", expected=expected)

    def check_numbers() -> None:
        if options.seeds < 1:
            raise input_error("seeds", got=options.seeds, expected="an integer ≥ 1")
        for view in options.augment:
            choose("augment", view, VIEWS)
        if options.augment and options.frozen_features:
            raise input_error("augment", got="views beside --frozen-features", expected="one or the other")
        if not 0 <= options.rejection <= 1:
            raise input_error("rejection", got=options.rejection, expected="a probability in [0, 1]")
        if options.oracle and options.relation in OPEN:
            got = f"--oracle beside --relation {options.relation}"
            raise input_error("oracle", got=got, expected="closed or partial: its classes would be others")
        if options.frozen_features and not options.weights:
            raise input_error("frozen-features", got="no --weights", expected="a pretrained encoder")
        if options.weights and not options.encoder:
            raise input_error("weights", got="no --encoder", expected="the encoder that they are for")
        if not options.target_labels and (options.oracle or options.target_test):
            got = "--no-target-labels beside --oracle or --target-test"
            raise input_error("target-labels", got=got, expected="one or the other")
        if options.oracle and not options.target_test:
            expected = "--target-test, or the oracle would be tested on what it learnt"
            raise input_error("oracle", got="no test split of the target", expected=expected)
        if options.task == "regression" and (options.relation != "closed" or options.recipe.label_smoothing):
            got = f"--relation {options.relation}, label smoothing {options.recipe.label_smoothing}"
            raise input_error("task", got=got, expected="closed and 0 for a regression, which has no classes")
        known = [name for name in options.method if name in METHODS]
        if options.target_labelled and not any(needs_of(name).setting == "semi-supervised" for name in known):
            expected = f"a semi-supervised method beside it: {', '.join(SEMI_SUPERVISED)}"
            raise input_error("target-labelled", got=", ".join(options.method), expected=expected)
        if options.task != "regression" and options.scale_targets != "none":
            raise input_error("scale-targets", got=options.scale_targets, expected="none without --task regression")
        for name in options.method if options.preset else ():
            if name not in TEST_TIME:
                settings(options.preset, name)
        if not options.source:
            raise input_error("source", got="none", expected="at least one --source")
        if not options.method:
            raise input_error("method", got="none", expected="at least one")

    def protocol() -> tuple[tuple[str, str], ...]:
        pairs = [tuple(text.partition("=")[::2]) for text in options.protocol]
        if any(not name or not value for name, value in pairs):
            raise input_error("protocol", got=options.protocol, expected="name=value")
        return tuple((name, value) for name, value in pairs)

    tables: dict[str, Any] = {
        "classifier": CLASSIFIERS,
        "relation": dict.fromkeys(RELATIONS),
        "scale": dict.fromkeys(SCALES),
        "layout": dict.fromkeys(LAYOUTS),
        "task": dict.fromkeys(TASKS),
        "scale_targets": dict.fromkeys(TARGETS),
    }
    checks: list[Callable[[], Any]] = [lambda n=name: check_method(n) for name in options.method]  # type: ignore[misc]
    checks += [lambda n=name: choose(n, getattr(options, n), tables[n]) for name in tables]  # type: ignore[misc]
    checks += [lambda: options.kind is None or choose("kind", options.kind, dict.fromkeys(KINDS))]
    checks += [lambda: options.encoder is None or choose("encoder", options.encoder, ENCODERS), check_numbers]
    gather([*checks, protocol])
    arguments = method_options(options.options, ALL_METHODS)
    if unused := [name for name in arguments if name not in options.method]:
        raise input_error("options", got=f"options of {', '.join(unused)}", expected="options of the methods being run")
    sources = gather([lambda t=text: place_of("source", t) for text in options.source])  # type: ignore[misc]
    for name in TEST_TIME:
        if fixed := [option for option in arguments.get(name, {}) if option in ("apply", "optimizer")]:
            todo = f"{name}.learning_rate=… sets the rate of the default optimiser"
            raise input_error("options", got=f"{name}.{fixed[0]}", expected="numbers and words", todo=todo)
    nets = [name for name in options.method if name not in CLASSIC and name not in TEST_TIME]
    online = [name for name in options.method if name in TEST_TIME]
    classic = [name for name in options.method if name in CLASSIC]
    starts = any(METHODS[name](**arguments.get(name, {})).needs.start == "source" for name in nets)
    if online or (nets and (options.baseline or starts)):
        nets = ["source_only", *(name for name in nets if name != "source_only")]
    if classic and options.baseline:
        classic = ["source_only", *classic]
    for name in nets:
        if needs_of(name).setting == "semi-supervised":
            # The shots are a stream of their own, so the labelled rows hold the source alone.
            if arguments.setdefault(name, {}).setdefault("sources", 1) != 1:
                got = f"{name}.sources={arguments[name]['sources']}"
                raise input_error("options", got=got, expected="1: --target-labelled is no source")
        if needs_of(name).interleaves:
            arguments.setdefault(name, {}).setdefault("sources", len(sources))
    test = place_of("target-test", options.target_test) if options.target_test else None
    return Plan(
        tuple(nets),
        tuple(classic),
        arguments,
        tuple(sources),
        place_of("target", options.target),
        test,
        protocol(),
        tuple(online),
        place_of("target-labelled", options.target_labelled) if options.target_labelled else None,
    )


SCALES = ("none", "source", "domain", "l1-domain")
TARGETS = ("none", "source")
