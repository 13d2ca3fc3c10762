"""Plan of ``dalib adapt``, with all checks that need no data."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from dalib.core.checks import InputError, choose, input_error
from dalib.core.options import check_fields
from dalib.data.readers.places import KINDS, Place, place_of, told_apart
from dalib.data.readers.tabular.columns import FILLS
from dalib.data.readers.tabular.words import check_columns
from dalib.encoders import HEADS
from dalib.methods import METHODS as OWN_METHODS
from dalib.methods import TEST_TIME
from dalib.methods.classic import CLASSIC
from dalib.methods.parts.augmentation import VIEWS
from dalib.run.config import OPEN, RELATIONS, TASKS, method_options, needs_of, serves_regression
from dalib.run.own.closed_form import CLASSIFIERS, WEIGHTING
from dalib.run.own.options import LAYOUTS, SCALES, TARGETS, Own
from dalib.run.population.members import check_population
from dalib.run.presets.protocols import settings
from dalib.run.registry import ALL_METHODS, ENCODERS, METHODS

T = TypeVar("T")


ROLES = ("source", "source-test", "target", "target-test", "target-labelled")
"""Roles of a place, by the names of the options."""


class Classic(NamedTuple):
    """A method in closed form, or source_only, with the classifier on top of it."""

    method: str
    classifier: str


def closed_form(options: Own, name: str) -> Classic | None:
    """Read a name of ``--method`` as a run in closed form, METHOD or METHOD+CLASSIFIER; None for other methods.

    Raises:
        InputError: for an unknown classifier.
    """
    method, plus, classifier = name.rpartition("+")
    if plus and (method in CLASSIC or method == "source_only"):
        choose("classifier", classifier, CLASSIFIERS)
        return Classic(method, classifier)
    return Classic(name, options.classifier) if name in CLASSIC else None


class Plan(NamedTuple):
    """Methods by the way they run, their hyper-parameters, and the places to read."""

    nets: tuple[str, ...]
    classic: tuple[Classic, ...]
    arguments: dict[str, dict[str, Any]]
    sources: tuple[Place, ...]
    target: Place
    test: Place | None
    protocol: tuple[tuple[str, str], ...]
    online: tuple[str, ...] = ()
    shots: Place | None = None
    source_tests: tuple[Place, ...] = ()

    @property
    def places(self) -> dict[str, tuple[Place, ...]]:
        """List all places by role, in the order of :data:`ROLES`."""
        test, shots = ((place,) if place else () for place in (self.test, self.shots))
        return dict(zip(ROLES, (self.sources, self.source_tests, (self.target,), test, shots), strict=True))


SEMI_SUPERVISED = [name for name in OWN_METHODS if needs_of(name).setting == "semi-supervised"]


def check_regression(name: str) -> None:
    """Raise an InputError for a method that predicts no real numbers, naming those that do."""
    closed = (*CLASSIC, "source_only+classifier")
    others = {**dict.fromkeys(closed, "in closed form"), **dict.fromkeys(TEST_TIME, "for test time")}
    if name not in others and serves_regression(needs_of(name)):
        return
    why = f"{others[name]}, and classifies" if name in others else f"for classes ({needs_of(name).setting})"
    known = [other for other in OWN_METHODS if serves_regression(needs_of(other))]
    raise input_error("method", got=f"{name}, which is {why}", expected=f"for a regression: {', '.join(known)}")


def gather(attempts: list[Callable[[], T]]) -> list[T]:
    """Return the results of all attempts, or raise one InputError with the messages of those that failed."""
    found, faults = [], []
    for attempt in attempts:
        try:
            found.append(attempt())
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return found


def check_method(options: Own, name: str) -> None:
    """Check that a method is known and that the options suit it."""
    closed = closed_form(options, name)
    name = closed.method if closed else name
    # A classifier alone is a likely slip: say how it is asked for.
    if name in CLASSIFIERS:
        got, todo = (
            f"{name}, which is a classifier",
            f"source_only+{name} fits it on the source, coral+{name} adapts first",
        )
        raise input_error("method", got=got, expected="a method", todo=todo)
    choose("method", name, ALL_METHODS)
    # Each way to run has a rule of its own on label sets; nets have the longest.
    if options.task == "regression":
        check_regression("source_only+classifier" if closed else name)
        return
    if name in TEST_TIME:
        if options.relation != "closed":
            raise input_error("relation", got=f"{options.relation}, for {name}", expected="closed")
        return
    if closed:
        if name in WEIGHTING and closed.classifier == "1nn":
            got = f"1nn for {name}, which weights source rows"
            raise input_error("classifier", got=got, expected="svm or logreg")
        if options.relation in OPEN:
            raise input_error("relation", got=f"{options.relation}, for {name}", expected="closed or partial")
        return
    _check_net(options, name)


def _check_net(options: Own, name: str) -> None:
    """Check a method that trains a net against the number of sources and the relation of the label sets."""
    needs = needs_of(name)
    # One setting after the other, by the data that it asks for.
    if needs.interleaves:
        if len(options.source) < 2:
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


def check_numbers(options: Own) -> None:
    """Check ranges, and options that need or exclude one another."""
    for view in options.augment:
        choose("augment", view, VIEWS)
    if options.augment and options.frozen_features:
        raise input_error("augment", got="views and --frozen-features", expected="one or the other")
    if options.oracle and options.relation in OPEN:
        got = f"--oracle and --relation {options.relation}"
        raise input_error("oracle", got=got, expected="closed or partial: its classes would be others")
    if options.frozen_features and not options.weights:
        raise input_error("frozen-features", got="no --weights", expected="a pretrained encoder")
    if options.weights and not options.encoder:
        raise input_error("weights", got="no --encoder", expected="the encoder that they are for")
    if not options.target_labels and options.oracle:
        raise input_error("target-labels", got="--no-target-labels and --oracle", expected="one or the other")
    if options.source_test and len(options.source_test) != len(options.source):
        got = f"{len(options.source_test)}, for {len(options.source)} --source"
        raise input_error("source-test", got=got, expected="one for each --source, in its order")
    check_c(options.classifier_c)
    if options.oracle and not options.target_test:
        expected = "--target-test, or the oracle would be tested on what it learnt"
        raise input_error("oracle", got="no test split of the target", expected=expected)
    if options.task == "regression" and (options.relation != "closed" or options.recipe.label_smoothing):
        got = f"--relation {options.relation}, label smoothing {options.recipe.label_smoothing}"
        raise input_error("task", got=got, expected="closed and 0 for a regression, which has no classes")
    # Options without a user: a few labelled examples that no method would read must not be given in vain.
    known = [name for name in options.method if name in METHODS]
    if options.target_labelled and not any(needs_of(name).setting == "semi-supervised" for name in known):
        expected = f"a semi-supervised method with it: {', '.join(SEMI_SUPERVISED)}"
        raise input_error("target-labelled", got=", ".join(options.method), expected=expected)
    if options.task != "regression" and options.scale_targets != "none":
        raise input_error("scale-targets", got=options.scale_targets, expected="none without --task regression")
    for name in known if options.preset else ():
        settings(options.preset, name)
    if not options.source:
        raise input_error("source", got="none", expected="at least one --source")
    if not options.method:
        raise input_error("method", got="none", expected="at least one")


def check_c(text: str) -> float | str:
    """Parse C of a classifier: ``source``, or a number > 0.

    Raises:
        InputError: for anything else.
    """
    if text == "source":
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise input_error("classifier-c", got=repr(text), expected="source, or a number > 0")
    return value


def protocol(options: Own) -> tuple[tuple[str, str], ...]:
    """Return the ledger's facts of the data, as pairs."""
    pairs = [tuple(text.partition("=")[::2]) for text in options.protocol]
    if any(not name or not value for name, value in pairs):
        raise input_error("protocol", got=options.protocol, expected="name=value")
    return tuple((name, value) for name, value in pairs)


def check_options(options: Own) -> None:
    """Check names, numbers and combinations; all faults are named at once."""
    tables: dict[str, Any] = {
        "classifier": CLASSIFIERS,
        "relation": dict.fromkeys(RELATIONS),
        "scale": dict.fromkeys(SCALES),
        "layout": dict.fromkeys(LAYOUTS),
        "task": dict.fromkeys(TASKS),
        "head": {"auto": None, **HEADS},
        "scale_targets": dict.fromkeys(TARGETS),
        "missing": dict.fromkeys(FILLS),
    }
    # All attempts run, and their messages are joined: one try shows every slip of a command line.
    checks: list[Callable[[], Any]] = [lambda n=name: check_method(options, n) for name in options.method]  # type: ignore[misc]
    checks += [lambda n=name: choose(n, getattr(options, n), tables[n]) for name in tables]  # type: ignore[misc]
    checks += [lambda: options.kind is None or choose("kind", options.kind, dict.fromkeys(KINDS))]
    checks += [lambda: options.encoder is None or choose("encoder", options.encoder, ENCODERS)]
    checks += [
        lambda: check_fields(options),
        lambda: check_numbers(options),
        lambda: protocol(options),
        lambda: check_columns(options.word_columns),
    ]
    gather(checks)


def _complete(arguments: dict[str, dict[str, Any]], nets: list[str], sources: int) -> None:
    """Fill in the number of sources that a batch interleaves, which the data decide.

    Raises:
        InputError: for a semi-supervised method that is told of several.
    """
    for name in nets:
        if needs_of(name).setting == "semi-supervised":
            # The shots are a stream of their own, so the labelled rows hold the source alone.
            if arguments.setdefault(name, {}).setdefault("sources", 1) != 1:
                got = f"{name}.sources={arguments[name]['sources']}"
                raise input_error("options", got=got, expected="1: --target-labelled is no source")
        if needs_of(name).interleaves:
            arguments.setdefault(name, {}).setdefault("sources", sources)


def _check_objects(texts: Sequence[str]) -> None:
    """Raise an InputError for options of test-time methods that are objects, which no text can name."""
    for text in texts:
        name, _, option = text.partition("=")[0].rpartition(".")
        if name in TEST_TIME and option in ("apply", "optimizer"):
            todo = f"{name}.learning_rate=… sets the rate of the default optimiser"
            raise input_error("options", got=f"{name}.{option}", expected="numbers and words", todo=todo)


def plan(options: Own) -> Plan:
    """Check everything that can be checked without reading data; all faults are named at once."""
    check_population(options.population)
    check_options(options)
    _check_objects(options.options)
    arguments = method_options(options.options, ALL_METHODS)
    # Names sorted by the way they run: nets, one pass at test time, closed form.
    found = {name: closed_form(options, name) for name in options.method}
    running = {closed.method if closed else name for name, closed in found.items()}
    if unused := [name for name in arguments if name not in running]:
        raise input_error("options", got=f"options of {', '.join(unused)}", expected="options of the methods being run")
    sources = gather([lambda t=text: place_of("source", t) for text in options.source])  # type: ignore[misc]
    *sources, target = told_apart([*sources, place_of("target", options.target)])
    nets = [name for name, closed in found.items() if closed is None and name not in TEST_TIME]
    online = [name for name in options.method if name in TEST_TIME]
    classic = [closed for closed in found.values() if closed]
    # Hyper-parameters in closed form are checked by making the method once; nets' at their own checks.
    gather([partial(CLASSIC[c.method], **arguments.get(c.method, {})) for c in classic if c.method in CLASSIC])
    # Some methods go on from the source-only net, and a comparison needs its row: it comes first.
    starts = any(METHODS[name](**arguments.get(name, {})).needs.start == "source" for name in nets)
    if online or (nets and (options.baseline or starts)):
        nets = ["source_only", *(name for name in nets if name != "source_only")]
    if options.baseline:
        classic = [*(Classic("source_only", closed.classifier) for closed in classic), *classic]
    classic = list(dict.fromkeys(classic))
    _complete(arguments, nets, len(sources))
    test = place_of("target-test", options.target_test) if options.target_test else None
    return Plan(
        tuple(nets),
        tuple(classic),
        arguments,
        tuple(sources),
        target,
        test,
        protocol(options),
        tuple(online),
        place_of("target-labelled", options.target_labelled) if options.target_labelled else None,
        tuple(gather([lambda t=text: place_of("source-test", t) for text in options.source_test])),  # type: ignore[misc]
    )
