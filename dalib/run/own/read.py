"""Users' data read into domains, and predictions written for their files."""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.files import write_atomically
from dalib.data import Domain, match_classes
from dalib.data.matching import RELATIONS, UNKNOWN
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.user_files import Options, Place, Raw, read
from dalib.run.own.batch import check_batch
from dalib.run.own.datasets import read_dataset
from dalib.run.own.inputs import (
    TEXT_ENCODERS,
    View,
    arrays,
    make_shots,
    make_source,
    make_target,
    pretrained,
    same_shape,
    scaled,
    scaled_targets,
)
from dalib.run.own.options import Own
from dalib.run.own.plan import Plan
from dalib.run.registry import ENCODERS
from dalib.train.devices.processes import leads

# What the examples of a target without labels were taken for, as a table that a spreadsheet opens.


def names_of(raw: Raw) -> list[str]:
    """What the examples of a place are called: the paths of images, elsewhere the number of the row or text, from 0."""
    if isinstance(raw.inputs, ImageFiles):
        return list(raw.inputs.paths)
    return [str(i) for i in range(len(raw.inputs))]


def write_predictions(
    folders: Sequence[Path], examples: Sequence[str], class_names: Sequence[str], unit: Any = None
) -> list[Path]:
    """Writes ``predictions.csv`` (example, class, probability) beside every ``predictions.npz`` in these run folders.

    Without classes it holds the predicted numbers (example, value, value 2, …).

    Args:
        folders: of finished runs; closed-form methods have no probabilities, and an empty column.
        examples: names of the target's examples, in the order of the predictions.
        class_names: of the predicted classes, "unknown" last where there is one; none for a regression.
        unit: ``(mean, deviation)`` that takes predicted numbers back to the labels' own scale.
    """
    written = []
    for folder in folders:
        source = folder / "predictions.npz"
        if not source.is_file():
            continue
        with np.load(source, allow_pickle=False) as arrays:
            predicted = arrays["predictions"]
            sure = arrays["probabilities"].max(1) if "probabilities" in arrays.files else None
        text = io.StringIO(newline="")
        table = csv.writer(text)
        if not class_names:
            mean, spread = (0, 1) if unit is None else unit
            values = predicted * spread + mean
            table.writerow(["example", "value", *(f"value {i + 1}" for i in range(1, values.shape[1]))])
            table.writerows([example, *map(repr, row)] for example, row in zip(examples, values.tolist(), strict=True))
            written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
            continue
        table.writerow(["example", "class", "probability"])
        for i, (example, label) in enumerate(zip(examples, predicted, strict=True)):
            table.writerow([example, class_names[label], "" if sure is None else f"{sure[i]:.6f}"])
        written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
    return written


# All data of a command of :mod:`dalib.run.own.adapt`, read and checked: what is wrong anywhere is one error.


T = TypeVar("T")
DEFAULT_ENCODERS = {"vectors": "mlp", "series": "series_cnn", "images": "dtn", "text": "mlp"}
SHOWN = 20


class Data(NamedTuple):
    """What a command trains on.

    Attributes:
        source: joined where there are several; ``holdout`` of every class is its split ``test``.
        target: with the classes that it has itself.
        view: how examples became arrays.
        encoder: name of the net on top of them.
        examples: what the target's examples are called, in the order in which they are tested on.
        unit: ``(mean, deviation)`` that real-valued labels were brought to scale by; None for none.
        shots: labelled examples of the target, which are then no part of ``target``; None for none.
    """

    source: Domain
    target: Domain
    view: View
    encoder: str
    examples: list[str]
    unit: tuple[np.ndarray, np.ndarray] | None = None
    shots: Domain | None = None


def read_domains(options: Own, todo: Plan) -> Data:
    """Reads and checks all data.

    Raises:
        InputError: with everything that is wrong: places that can't be read, labels, classes that do not fit the
            relation, unreadable images, shapes.
    """
    faults: list[str] = []
    how = Options(options.kind, options.layout, options.text_column, options.label_column, options.task == "regression")
    roles = [("source", place, True) for place in todo.sources] + [("target", todo.target, options.target_labels)]
    roles += [("target-test", todo.test, True)] if todo.test else []
    roles += [("target-labelled", todo.shots, True)] if todo.shots else []
    places = [place for _, place, _ in roles]
    raws = [_try(faults, lambda r=r: _read(r[0], r[1], how, options, r[2])) for r in roles]  # type: ignore[misc]
    whole = [raw for raw in raws if raw is not None]
    if len(whole) == len(raws):
        if options.task == "regression":
            _try(faults, lambda: _check_numbers(places, whole))
        else:
            _try(faults, lambda: _check_classes(todo, whole, options.relation))
    kinds = {raw.kind for raw in whole}
    if len(kinds) > 1:
        faults.append(f"source and target: {' and '.join(sorted(kinds))}\n  expected: one kind of examples")
    view, encoder = None, options.encoder or ""
    if len(kinds) == 1:
        encoder = encoder or DEFAULT_ENCODERS[whole[0].kind]
        view = _try(faults, lambda: _view(options, todo, whole[0].kind, encoder))
    if len(whole) == len(raws) and options.frozen_features:
        _try(faults, lambda: check_batch(options, todo.nets, whole[: len(todo.sources)], whole[len(todo.sources)]))
    # Faults so far stop the computing of features, not the decoding of images: truncated ones are to be named too.
    seen = view if view is not None and not faults else _plain(options, kinds)
    xs: list[np.ndarray | None] = [None] * len(raws)
    for i, (place, raw) in enumerate(zip(places, raws, strict=True)):
        if raw is not None and seen is not None and (not faults or raw.kind == "images"):
            xs[i] = _try(faults, lambda p=place, r=raw: arrays(str(p.path), r, seen))  # type: ignore[misc]
    known = {place.name: x.shape[1:] for place, x in zip(places, xs, strict=True) if x is not None}
    _try(faults, lambda: same_shape(known))
    _try(faults, lambda: _check_distinct(todo, xs))
    if faults or view is None:
        raise InputError("\n".join(faults))
    return _domains(options, todo, whole, [x for x in xs if x is not None], view, encoder)


def _domains(options: Own, todo: Plan, raws: Sequence[Raw], xs: list[np.ndarray], view: View, encoder: str) -> Data:
    k = len(todo.sources)
    if view.kind in ("vectors", "series"):
        ours, theirs = scaled(xs[:k], xs[k:], options.scale)
        xs = [*ours, *theirs]
    labels, unit = [raw.labels for raw in raws], None
    if options.task == "regression":
        known = [y for y in labels[:k] if isinstance(y, np.ndarray)]
        known, others, unit = scaled_targets(known, labels[k:], options.scale_targets)
        labels = [*known, *others]
    parts = [(p.name, x, y) for p, x, y in zip(todo.sources, xs, labels, strict=False) if y is not None]
    source = make_source(parts, holdout=options.holdout)
    examples = [names_of(raw) for raw in raws]
    shots = None
    if todo.shots:
        shots = make_shots(f"{todo.target.name}, labelled", xs[-1], labels[-1], source)
        for i in range(k, len(xs) - 1):
            kept = _apart(raws[i].kind, "target-test" if i > k else "target", xs[i], xs[-1])
            xs[i], examples[i] = xs[i][kept], [examples[i][row] for row in kept]
            own = labels[i]
            labels[i] = None if own is None else [own[row] for row in kept]
    test = (xs[k + 1], labels[k + 1]) if todo.test else None
    target = make_target(todo.target.name, xs[k], labels[k], test, source.class_names)
    match_classes(source, target, relation=options.relation)
    shown = examples[k + 1] if todo.test else examples[k]
    return Data(source, target, view, "mlp" if view.frozen else encoder, shown, unit, shots)


def _apart(kind: str, argument: str, xs: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """The rows of ``xs`` that are none of the shots; says on stderr how many are left out.

    Raises:
        InputError: when none is left.
    """
    seen = {np.ascontiguousarray(x).tobytes() for x in shots}
    kept = np.flatnonzero([np.ascontiguousarray(x).tobytes() not in seen for x in xs])
    if len(kept) == 0:
        got = f"all {len(xs)} examples of {argument} among the labelled ones"
        raise input_error("target-labelled", got=got, expected="a few, beside others without labels")
    if (gone := len(xs) - len(kept)) and leads():
        what = "vectors" if kind == "vectors" else "examples"
        print(f"{argument}: {gone} of {len(xs)} {what} are among --target-labelled and are left out", file=sys.stderr)
    return kept


def _read(argument: str, place: Place, how: Options, options: Own, labelled: bool) -> Raw:
    if place.dataset is not None and how.real:
        got = f"{place.path}, whose labels are classes"
        raise input_error(argument, got=got, expected="a file with real-valued labels for --task regression")
    if place.dataset is None:
        return read(argument, place, how, labelled=labelled)
    split = "test" if argument == "target-test" else "train"
    return read_dataset(argument, place, options.data_dir, labelled=labelled, split=split)


def _try(faults: list[str], attempt: Callable[[], T]) -> T | None:
    try:
        return attempt()
    except InputError as error:
        faults.append(str(error))
        return None


def _view(options: Own, todo: Plan, kind: str, encoder: str) -> View:
    if kind == "images" and todo.classic and not options.frozen_features:
        todo_text = "add --encoder NAME --weights default --frozen-features"
        raise input_error("method", got=f"{', '.join(todo.classic)} on images", expected="features", todo=todo_text)
    if kind != "images" and options.augment:
        raise input_error("augment", got=f"{' '.join(options.augment)} for {kind}", expected="images")
    tokens = kind == "text" and encoder in TEXT_ENCODERS
    if kind == "text" and not tokens and encoder != "mlp" and ENCODERS.origin(encoder) is None:
        raise input_error("encoder", got=encoder, expected=f"mlp, or a text encoder: {', '.join(TEXT_ENCODERS)}")
    if todo.classic and (kind == "series" or (tokens and not options.frozen_features)):
        raise input_error("method", got=f"{', '.join(todo.classic)} on {kind}", expected="vectors or frozen features")
    model = pretrained(encoder, options.weights, encoder_options(options)) if options.weights else None
    frozen = options.frozen_features
    return View(kind, options.size, options.max_length, options.scale, options.tokenizer, tokens, model, frozen)


def _plain(options: Own, kinds: set[str]) -> View | None:
    """A view that decodes images and computes nothing, for the search of further faults."""
    if kinds != {"images"}:
        return None
    return View("images", options.size, options.max_length, options.scale, "", False, None, False)


def _check_numbers(places: Sequence[Place], raws: Sequence[Raw]) -> None:
    """Raises an InputError for places whose labels have not equally many numbers."""
    known = [(place, raw.labels) for place, raw in zip(places, raws, strict=True) if raw.labels is not None]
    sizes = {place.name: np.shape(labels)[1:] or (1,) for place, labels in known}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size[0]} in {name}" for name, size in sizes.items())
        raise input_error("labels", got=f"numbers a label: {listed}", expected="the same everywhere")


def _check_classes(todo: Plan, raws: Sequence[Raw], relation: str) -> None:
    """Compares the class names of all places: sources with the first, the target with the sources.

    Raises:
        InputError: naming every place whose classes do not fit.
    """
    k = len(todo.sources)
    first = set(_names(raws[0]))
    faults = []
    for place, raw in zip(todo.sources[1:], raws[1:k], strict=True):
        if other := first ^ set(_names(raw)):
            faults.append(f"{todo.sources[0].name} and {place.name}: only in one of them {_listed(other)}")
    if todo.shots:
        raws, shots = raws[:-1], raws[-1]
        if other := first ^ set(_names(shots)):
            got = f"only in one of {todo.sources[0].name} and {todo.shots.name}: {_listed(other)}"
            faults.append(f"--target-labelled must have the source's classes; {got}")
    theirs = {label for raw in raws[k:] for label in _names(raw)}
    if raws[k].labels is not None:
        may_lack, may_add = RELATIONS[relation]
        if (missing := first - theirs) and not may_lack:
            faults.append(f"only in {todo.sources[0].name}, not in {todo.target.name}: {_listed(missing)}")
        if (extra := theirs - first) and not may_add:
            faults.append(f"only in {todo.target.name}, not in {todo.sources[0].name}: {_listed(extra)}")
        if not first & theirs:
            faults.append(f"{todo.sources[0].name} and {todo.target.name} share no class")
        if may_add and UNKNOWN in first:
            faults.append(f"{todo.sources[0].name}: a class {UNKNOWN!r}, the name of what the target has more")
    if faults:
        raise input_error(
            "classes",
            got="".join(f"\n    {fault}" for fault in faults),
            expected=f"label sets as --relation {relation} says",
            todo="rename classes, or choose --relation partial (target lacks some), open (it has more), universal",
        )


def _names(raw: Raw) -> Sequence[str]:
    return raw.labels if isinstance(raw.labels, list) else ()


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:SHOWN]) + (f" … ({len(shown)} in all)" if len(shown) > SHOWN else "")


def _check_distinct(todo: Plan, xs: Sequence[np.ndarray | None]) -> None:
    k = len(todo.sources)
    for place, x in zip(todo.sources, xs, strict=False):
        if x is not None and any(other is not None and np.array_equal(x, other) for other in xs[k:]):
            got = f"the same data twice: {place.path} and the target"
            raise input_error("source and target", got=got, expected="two different domains")


def encoder_options(options: Own) -> dict[str, Any]:
    """``encoder.name=value`` texts as fields of the encoder.

    Raises:
        InputError: for another form.
    """
    found = {}
    for text in options.encoder_options:
        left, equal, value = text.partition("=")
        name = left.removeprefix("encoder.")
        if not equal or not name:
            raise input_error("encoder-options", got=repr(text), expected="encoder.name=value")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        found[name] = tuple(parsed) if isinstance(parsed, list) else parsed
    return found
