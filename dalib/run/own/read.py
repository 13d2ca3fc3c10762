"""Reading and checking of all data of :mod:`dalib.run.own.adapt`; faults in any place are one error."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.data import Domain, match_classes
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.places import Place, Raw
from dalib.run.cli.progress import say
from dalib.run.own.batch import check_batch
from dalib.run.own.classes import check_classes, check_distinct, check_numbers, row_bytes
from dalib.run.own.datasets import forget, read_place
from dalib.run.own.examples import pixels_decided
from dalib.run.own.inputs import (
    TEXT_ENCODERS,
    View,
    arrays,
    check_dense,
    fitted,
    make_shots,
    make_source,
    make_target,
    pretrained,
    same_shape,
    scaled,
    scaled_targets,
)
from dalib.run.own.options import Own, encoder_options
from dalib.run.own.plan import ROLES, Plan
from dalib.run.own.predictions import Example, examples_of
from dalib.run.registry import ENCODERS

T = TypeVar("T")
DEFAULT_ENCODERS = {"vectors": "mlp", "series": "series_cnn", "images": "dtn", "text": "mlp"}


class Data(NamedTuple):
    """The data that a command trains on.

    Attributes:
        source: joined where there are several; its split ``test`` is held out, given, or all of it (``--holdout 0``).
        target: with the classes that it has itself.
        view: how examples became arrays.
        encoder: name of the net on top of them.
        examples: names of the target's examples, in the order of the test.
        unit: ``(mean, deviation)`` that real-valued labels were brought to scale by; None for none.
        shots: labelled examples of the target, which are then no part of ``target``; None for none.
    """

    source: Domain
    target: Domain
    view: View
    encoder: str
    examples: list[Example]
    unit: tuple[np.ndarray, np.ndarray] | None = None
    shots: Domain | None = None


class Part(NamedTuple):
    """One place of the command: its role, its address, its examples, and these as an array."""

    role: str
    place: Place
    raw: Raw
    x: np.ndarray


def read_domains(options: Own, todo: Plan) -> Data:
    """Read and check all data.

    Raises:
        InputError: with everything that is wrong: places that can't be read, labels, classes that do not fit the
            relation, unreadable images, shapes.
    """
    # Each place by itself; faults are gathered, so that one try names all of them.
    faults: list[str] = []
    roles = [(role, place) for role, places in todo.places.items() for place in places]
    # Data sets of other packages are held only while their domains are picked out.
    raws = [_try(faults, lambda r=r, p=p: read_place(r, p, options)) for r, p in roles]  # type: ignore[misc]
    forget()
    # One decision on the range of pixels for all places: domains scaled apart would differ by that alone.
    raws = _try(faults, lambda: pixels_decided(options, [place.name for _, place in roles], raws)) or raws
    whole = [raw for raw in raws if raw is not None]
    kinds = {raw.kind for raw in whole}
    # Labels are compared only when all are there and of one kind: else the differences follow from another fault.
    if len(whole) == len(raws) and len(kinds) == 1:
        found: dict[str, list[tuple[Place, Raw]]] = {role: [] for role in todo.places}
        for (role, place), raw in zip(roles, whole, strict=True):
            found[role].append((place, raw))
        _try(faults, lambda: _check_labels(options, found))
    # Then what the places must share: the kind of their examples, from which the way to arrays follows.
    if len(kinds) > 1:
        faults.append(_several_kinds(roles, raws))
    view, encoder = None, options.encoder or ""
    if len(kinds) == 1:
        encoder = encoder or DEFAULT_ENCODERS[whole[0].kind]
        view = _try(faults, lambda: _view(options, todo, whole[0].kind, encoder))
    # Features cost a pass through a pretrained net, so the batch is checked before it.
    if len(whole) == len(raws) and options.frozen_features:
        by_role = [(role, raw) for (role, _), raw in zip(roles, whole, strict=True)]
        of_sources = [raw for role, raw in by_role if role == "source"]
        _try(faults, lambda: check_batch(options, todo.nets, of_sources, dict(by_role)["target"]))
    # Statistics come from the sources alone: the target's would be an adaptation that no method asked for.
    if view is not None and not faults:
        told, unfitted = [raw for (role, _), raw in zip(roles, whole, strict=True) if role == "source"], view
        more = {"word_columns": options.word_columns, "missing": options.missing}
        view = _try(faults, lambda: fitted(unfitted, told, **more))  # type: ignore[arg-type]
    # Faults so far stop the computing of features, not the decoding of images: truncated ones are to be named too.
    seen = view if view is not None and not faults else _plain(options, kinds)
    xs: list[np.ndarray | None] = [None] * len(raws)
    for i, ((_, place), one) in enumerate(zip(roles, raws, strict=True)):
        if one is not None and seen is not None and (not faults or isinstance(one.inputs, ImageFiles)):
            xs[i] = _try(faults, lambda p=place, r=one: arrays(str(p.path), r, seen))  # type: ignore[misc]
    # Last, the arrays: one shape, no data given twice, and room for methods that make them dense.
    known = {place.name: x.shape[1:] for (_, place), x in zip(roles, xs, strict=True) if x is not None}
    _try(faults, lambda: same_shape(known))
    _try(faults, lambda: check_distinct([(*pair, x) for pair, x in zip(roles, xs, strict=True) if x is not None]))
    if todo.classic:
        _try(faults, lambda: check_dense("method", [x for x in xs if x is not None]))
    if faults or view is None:
        raise InputError("\n".join(faults))
    parts = [Part(r, p, raw, x) for (r, p), raw, x in zip(roles, whole, xs, strict=True) if x is not None]
    return _domains(options, parts, view, encoder)


def _domains(options: Own, parts: Sequence[Part], view: View, encoder: str) -> Data:
    """Make the domains of all places, brought to scale."""
    at = {role: [i for i, part in enumerate(parts) if part.role == role] for role in ROLES}
    sources, others = at["source"], [i for role in ROLES[1:] for i in at[role]]
    xs: list[Any] = [part.x for part in parts]
    labels: list[Any] = [part.raw.labels for part in parts]
    unit = None
    # Scales are learnt on training rows; a test gets the map of its own domain.
    if view.kind in ("vectors", "series"):
        rows = {role: [xs[i] for i in at[role]] for role in ROLES}
        tests = _scaled_tests(rows["source"], rows["source-test"], options.scale)
        of_target = [i for role in ROLES[2:] for i in at[role]]
        ours, theirs = scaled(rows["source"], [xs[i] for i in of_target], options.scale)
        for i, x in zip([*sources, *at["source-test"], *of_target], [*ours, *tests, *theirs], strict=True):
            xs[i] = x
    if options.task == "regression":
        known, rest, unit = scaled_targets(
            [labels[i] for i in sources], [labels[i] for i in others], options.scale_targets
        )
        for i, y in zip([*sources, *others], [*known, *rest], strict=True):
            labels[i] = y
    # The source is joined from its places; its split for scores is held out, given, or all of it.
    source = make_source(
        [(parts[i].place.name, xs[i], labels[i]) for i in sources],
        holdout=options.holdout,
        tests=[(xs[i], labels[i]) for i in at["source-test"]],
    )
    # The labelled examples of the target leave its pool and its test, or they would be tested on.
    examples = [examples_of(part.raw) for part in parts]
    target, shots = parts[at["target"][0]].place.name, None
    for shot in at["target-labelled"]:
        shots = make_shots(f"{target}, labelled", xs[shot], labels[shot], source)
        for i in (*at["target"], *at["target-test"]):
            kept = _apart(view.kind, parts[i].role, xs[i], xs[shot])
            xs[i], examples[i] = xs[i][kept], [examples[i][row] for row in kept]
            labels[i] = None if labels[i] is None else [labels[i][row] for row in kept]
    # The target without the shots; the relation is checked on classes as they now are.
    (pool,), tested = at["target"], (at["target-test"] or at["target"])[0]
    test = (xs[tested], labels[tested]) if tested != pool else None
    made = make_target(target, xs[pool], labels[pool], test, source.class_names)
    match_classes(source, made, relation=options.relation)
    return Data(source, made, view, "mlp" if view.frozen else encoder, examples[tested], unit, shots)


def _scaled_tests(sources: Sequence[np.ndarray], tests: Sequence[np.ndarray], scale: str) -> list[np.ndarray]:
    """Scale the test examples of each source as that source is."""
    if scale == "source":
        return scaled(sources, tests, scale)[1]
    return [scaled([], [x, test], scale)[1][1] for x, test in zip(sources, tests, strict=False)]


def _apart(kind: str, argument: str, xs: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """Return the rows of ``xs`` that are no shots; say on stderr how many are left out.

    Raises:
        InputError: when none is left.
    """
    seen, rows = set(row_bytes(shots)), row_bytes(xs)
    kept = np.flatnonzero([row not in seen for row in rows])
    if len(kept) == 0:
        got = f"all {len(rows)} examples of {argument} among the labelled ones"
        raise input_error("target-labelled", got=got, expected="a few, and others without labels in the pool")
    if gone := len(rows) - len(kept):
        what = "vectors" if kind == "vectors" else "examples"
        say(f"{argument}: {gone} of {len(rows)} {what} are among --target-labelled and are left out")
    return kept


def _check_labels(options: Own, found: Mapping[str, list[tuple[Place, Raw]]]) -> None:
    if options.task == "regression":
        check_numbers([reading for readings in found.values() for reading in readings])
    else:
        check_classes(found, options.relation)


def _several_kinds(roles: Sequence[tuple[str, Place]], raws: Sequence[Raw | None]) -> str:
    """Make the error for places of several kinds, with each place's."""
    each = [f"--{role} {place.path}: {raw.kind}" for (role, place), raw in zip(roles, raws, strict=True) if raw]
    todo = "--kind vectors, images, series or text says how a file that could be several is read"
    got = "examples of several kinds\n    " + "\n    ".join(each)
    return str(input_error("source and target", got=got, expected="one kind of examples", todo=todo))


def _try(faults: list[str], attempt: Callable[[], T]) -> T | None:
    try:
        return attempt()
    except InputError as error:
        faults.append(str(error))
        return None


def _view(options: Own, todo: Plan, kind: str, encoder: str) -> View:
    classic = ", ".join(dict.fromkeys(closed.method for closed in todo.classic))
    if kind == "images" and todo.classic and not options.frozen_features:
        todo_text = "add --encoder NAME --weights default --frozen-features"
        raise input_error("method", got=f"{classic} on images", expected="features", todo=todo_text)
    if kind != "images" and options.augment:
        raise input_error("augment", got=f"{' '.join(options.augment)} for {kind}", expected="images")
    tokens = kind == "text" and encoder in TEXT_ENCODERS
    if kind == "text" and not tokens and encoder != "mlp" and ENCODERS.origin(encoder) is None:
        raise input_error("encoder", got=encoder, expected=f"mlp, or a text encoder: {', '.join(TEXT_ENCODERS)}")
    if todo.classic and (kind == "series" or (tokens and not options.frozen_features)):
        raise input_error("method", got=f"{classic} on {kind}", expected="vectors or frozen features")
    model = pretrained(encoder, options.weights, encoder_options(options)) if options.weights else None
    frozen = options.frozen_features
    return View(kind, options.size, options.max_length, options.scale, options.tokenizer, tokens, model, frozen)


def _plain(options: Own, kinds: set[str]) -> View | None:
    """Make a view that decodes images and computes nothing, to find further faults."""
    if kinds != {"images"}:
        return None
    return View("images", options.size, options.max_length, options.scale, "", False, None, False)
