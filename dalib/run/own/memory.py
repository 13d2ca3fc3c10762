"""Training on arrays in memory as ``dalib adapt`` trains on files: same domains, same experiments, same bits."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.core.files import folder_name
from dalib.data import Domain
from dalib.run.own.adapt import experiments
from dalib.run.own.closed_form import fit_rows
from dalib.run.own.inputs import (
    Standard,
    View,
    class_names,
    make_source,
    make_target,
    numbered,
    scaled,
    scaled_targets,
    standard,
)
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.run import run_experiment
from dalib.run.trained import Trained, load_run


class Rows(NamedTuple):
    """Vectors of both domains.

    Attributes:
        source: ``[n, d]`` finite numbers, float32 as the command reads them.
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
        found = np.asarray(self.trained.outputs(in_scale(self.scale, rows)).logits)
        return found if self.unit is None else found * self.unit[1] + self.unit[0]


def domains(options: Own, rows: Rows) -> tuple[Domain, Domain, Any]:
    """Make source, target and the unit of real-valued labels, as the command does from files."""
    labels, unit = rows.labels, None
    if options.task == "regression":
        (labels,), _, unit = scaled_targets([np.asarray(labels)], [], options.scale_targets)
    (ours,), (theirs,) = scaled([rows.source], [rows.target], options.scale)
    source = make_source([(options.source[0], ours, labels)], holdout=options.holdout)
    return source, make_target(options.target, theirs, None, None, source.class_names), unit


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
    source, target, unit = domains(options, rows)
    view = View("vectors", options.size, options.max_length, options.scale, "", False, None, False)
    listed = [e for e in experiments(options, todo, source, target, view, options.encoder or "mlp") if e.seed == seed]
    # A method that starts from source-only is listed after it, and finds its folder here.
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if folder is None else folder
        for experiment in listed:
            start = out / "source_only" if experiment.needs.start == "source" else None
            run_experiment(experiment, source, target, out / folder_name(experiment.name), start=start)
        last = out / folder_name(listed[-1].name)
        trained = load_run(last, np.shape(source.split("train").__getitems__([0])[0])[1:])
        # Arrays that map a file which goes with the folder would be lost.
        trained = trained._replace(variables=jax.tree.map(np.array, trained.variables))
    scale = standard([rows.source], rows.target, options.scale)
    return Fit(trained, scale, unit)


def fit_closed_form(
    method: str, arguments: Mapping[str, Any], classifier: str, scale: str, rows: Rows
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a closed-form method and the classifier on top; return ``target rows [m, d] -> class numbers [m]``."""
    y = numbered(rows.labels, class_names(rows.labels))
    (ours,), (theirs,) = scaled([rows.source], [rows.target], scale)
    change = standard([rows.source], rows.target, scale)
    choices = {} if classifier == "1nn" else {"C": "source"}
    fitted, predict, _ = fit_rows(method, arguments, classifier, choices, ours, y, theirs)
    return lambda x: predict(fitted.transform_target(in_scale(change, x)))


def in_scale(change: Standard | None, rows: np.ndarray) -> np.ndarray:
    """Bring target rows to the scale of the fit, float32 as the command reads them."""
    seen = np.asarray(rows, np.float32)
    return seen if change is None else change(seen)
