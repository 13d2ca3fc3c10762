"""Training on arrays in memory as ``dalib adapt`` trains on files: same domains, same experiments, same bits."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.data import Domain, from_arrays
from dalib.methods.classic import CLASSIC, Fitted
from dalib.run.own.adapt import experiments
from dalib.run.own.closed_form import CLASSIFIERS
from dalib.run.own.inputs import Standard, View, class_names, make_source, make_target, scaled, scaled_targets, standard
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.run import run_experiment
from dalib.run.trained import Trained, load_run


class Rows(NamedTuple):
    """Vectors of both domains.

    Attributes:
        source: ``[n, d]`` finite numbers.
        labels: of the source: ``n`` names, or real numbers ``[n]`` or ``[n, k]`` of a regression.
        target: ``[m, d]``.
    """

    source: np.ndarray
    labels: Any
    target: np.ndarray


class Fit(NamedTuple):
    """A trained net with the scaling of rows before it and of numbers after it.

    Attributes:
        trained: the net.
        scale: map of target rows before the net; None for none.
        unit: ``(mean, deviation)`` of real-valued labels; None for classes, or labels in their own unit.
    """

    trained: Trained
    scale: Standard | None
    unit: tuple[np.ndarray, np.ndarray] | None

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Return logits ``[n, C]``, or predicted numbers ``[n, k]`` in the labels' unit, of target rows ``[n, d]``."""
        seen = np.asarray(rows, np.float32) if self.scale is None else self.scale(rows)
        found = np.asarray(self.trained.outputs(seen).logits)
        return found if self.unit is None else found * self.unit[1] + self.unit[0]


def domains(options: Own, rows: Rows, name: str = "source", target_name: str = "target") -> tuple[Domain, Domain, Any]:
    """Make source, target and the unit of real-valued labels, as the command does from files."""
    (ours,), (theirs,) = (
        scaled([rows.source], [rows.target], options.scale)
        if options.scale != "none"
        else ([np.asarray(rows.source, np.float32)], [np.asarray(rows.target, np.float32)])
    )
    labels, unit = rows.labels, None
    if options.task == "regression":
        (labels,), _, unit = scaled_targets([np.asarray(labels)], [], options.scale_targets)
    if options.holdout:
        source = make_source([(name, ours, labels)], holdout=options.holdout)
    else:
        # Both splits hold the same rows: an estimator trains on all that it is given.
        names = () if options.task == "regression" else class_names(labels)
        index = {label: i for i, label in enumerate(names)}
        y = np.array([index[label] for label in labels], np.int32) if names else labels
        source = from_arrays(name, dict.fromkeys(("train", "test"), (ours, y)), class_names=names)
    return source, make_target(target_name, theirs, None, None, source.class_names), unit


def fit_net(options: Own, rows: Rows, *, seed: int, folder: Path | None = None) -> Fit:
    """Train the one method of ``options`` on rows in memory.

    Args:
        options: of ``dalib adapt``; ``source`` and ``target`` are names here.
        rows: both domains.
        seed: of the run; ``options.seeds`` counts it in.
        folder: keeps the run there, to be resumed and looked at; without it nothing stays on disk.

    Raises:
        InputError: for unknown names, numbers out of range, or data that do not fit the method.
    """
    todo = plan(options)
    source, target, unit = domains(options, rows, options.source[0], options.target)
    view = View("vectors", options.size, options.max_length, options.scale, "", False, None, False)
    listed = [e for e in experiments(options, todo, source, target, view, options.encoder or "mlp") if e.seed == seed]
    # A method that starts from source-only is listed after it, and finds its folder here.
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if folder is None else folder
        for experiment in listed:
            start = out / "source_only" if experiment.needs.start == "source" else None
            run_experiment(experiment, source, target, out / experiment.name.replace(":", "."), start=start)
        last = out / listed[-1].name.replace(":", ".")
        trained = load_run(last, np.shape(source.split("train").__getitems__([0])[0])[1:])
        # Arrays that map a file which goes with the folder would be lost.
        trained = trained._replace(variables=_copied(trained.variables))
    scale = standard([rows.source], rows.target, options.scale)
    return Fit(trained, scale, unit)


def fit_closed_form(method: str, arguments: Mapping[str, Any], classifier: str, rows: Rows) -> tuple[Fitted, Any]:
    """Fit a closed-form method and the classifier on top, ``mapped rows -> class numbers``; return both."""
    names = class_names(rows.labels)
    index = {label: i for i, label in enumerate(names)}
    y = np.array([index[label] for label in rows.labels])
    found = CLASSIC[method](**arguments).fit(rows.source, y, rows.target)
    return found, CLASSIFIERS[classifier](found.source, y, found.weights)


def _copied(tree: Any) -> Any:
    return {k: _copied(v) for k, v in tree.items()} if isinstance(tree, dict) else np.array(tree)
