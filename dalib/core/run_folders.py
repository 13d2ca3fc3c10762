"""Run folders read back: configuration, log and end of each run.

A run folder holds ``config.json``, the full configuration and its surroundings; ``record.jsonl``, one JSON object per
logged step, evaluation and the end; and ``final.npz``, confusion matrix and features of the last step. Reading is
strict: a foreign or damaged file is an InputError that names it. Only one thing is forgiven, the half-written last line
of a killed run; such a run has no ``end`` and so counts as unfinished.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.records import CONFIG, FORMAT, LINES, read_lines

ROLES = ("method", "oracle")
ArrayLike: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Training(NamedTuple):
    """Metrics of one logged training step (batch averages, by name)."""

    step: int
    metrics: dict[str, float]


class Evaluation(NamedTuple):
    """Scores on one split of one domain; ``oracle`` is True where target labels were used for them."""

    step: int
    domain: str
    split: str
    oracle: bool
    metrics: dict[str, float]


class End(NamedTuple):
    """The last step of a finished run, its wall time in seconds, and how many runs took this time together."""

    step: int
    seconds: float
    together: int = 1


class Final(NamedTuple):
    """Arrays that a run wrote at its last step.

    Attributes:
        confusion: ``[C, C]`` counts on the target's test split, rows true, columns predicted; None for a regression:
            its labels and predictions are ``[k, q]`` and ``[m, q]`` real numbers.
        features_source: ``[k, d]``, with ``labels_source`` ``[k]``.
        features_target: ``[m, d]``, with ``labels_target`` ``[m]`` and ``predictions_target`` ``[m]``.
    """

    confusion: ArrayLike | None
    features_source: ArrayLike
    labels_source: ArrayLike
    features_target: ArrayLike
    labels_target: ArrayLike
    predictions_target: ArrayLike


class Run(NamedTuple):
    """One run folder. ``config`` is the whole of ``config.json``; ``end`` is None for an unfinished run."""

    path: Path
    name: str
    task: str
    seed: int
    role: str
    source: str
    target: str
    class_names: tuple[str, ...]
    config: dict[str, Any]
    training: tuple[Training, ...]
    evaluations: tuple[Evaluation, ...]
    end: End | None
    half_line: bool
    final: Final | None

    @property
    def finished(self) -> bool:
        """True with an end in the record; an unfinished run is listed, never averaged."""
        return self.end is not None

    @property
    def experiment(self) -> dict[str, Any]:
        """Full configuration that the run was started with."""
        return dict(self.config["experiment"])

    @property
    def last_step(self) -> int:
        """The largest step in the record (0 when it is empty)."""
        steps = [e.step for e in self.training] + [e.step for e in self.evaluations]
        return max([*steps, self.end.step if self.end else 0])


def load_runs(root_or_paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Read every run folder at or below the given ones, finished or not, ordered by task, method, seed and path.

    Raises an InputError if a folder is missing or holds no run.
    """
    if isinstance(root_or_paths, str | os.PathLike):
        root_or_paths = [root_or_paths]
    roots = [Path(p) for p in root_or_paths]
    if not roots:
        raise input_error("runs", got="no folder", expected="one folder of runs or several")
    folders: dict[Path, Path] = {}
    # By resolved path: a folder that is named twice, or below another, is read once.
    for root in roots:
        if not root.is_dir():
            raise input_error("runs", got=f"{root}, which is not a folder", expected="a folder of runs")
        found = {folder.resolve(): folder for folder in _run_folders(root)}
        if not found:
            raise input_error(
                "runs",
                got=f"{root}, with no config.json at any depth",
                expected="run folders, each with config.json and record.jsonl",
                todo="pass the folder that the experiment wrote to",
            )
        folders |= found
    runs = [read_run(folder) for folder in folders.values()]
    # A fixed order, so that the same folders give the same report.
    return sorted(runs, key=lambda run: (*group_order(run), run.seed, str(run.path)))


def _run_folders(root: Path) -> Iterator[Path]:
    for folder, children, files in os.walk(root):
        if CONFIG in files:
            # A run holds no further runs: its checkpoints are many files that need no walk.
            children.clear()
            yield Path(folder)
        elif LINES in files:
            raise input_error(
                "runs",
                got=f"{folder} with record.jsonl but no config.json",
                expected="both files in a run folder",
                todo="restore config.json, or move the folder away",
            )
        children[:] = sorted(c for c in children if not c.startswith("."))


def read_run(folder: Path) -> Run:
    """Read one run folder."""
    config = _read_config(folder / CONFIG)
    training, evaluations, end, half_line = _read_record(folder / LINES)
    names = tuple(config["class_names"])
    final_path = folder / "final.npz"
    experiment = config["experiment"]
    return Run(
        path=folder,
        name=config["name"],
        task=config["task"],
        seed=config["seed"],
        role=experiment["role"],
        source=experiment["source"],
        target=experiment["target"],
        class_names=names,
        config=config,
        training=training,
        evaluations=evaluations,
        end=end,
        half_line=half_line,
        final=_read_final(final_path, num_classes=len(names)) if final_path.exists() else None,
    )


def group_order(run: Run) -> tuple[str, int, str]:
    """Return a sort key: by task; within one the source-only baseline first, methods by name, the oracle last."""
    rank = 2 if run.role == "oracle" else 0 if is_source_only(run) else 1
    return run.task, rank, run.name


def is_source_only(run: Run) -> bool:
    """Tell the baseline that never sees the target."""
    return run.role == "method" and "source_only" in (run.name, run.experiment.get("method"))


def _damaged(path: Path, got: object, expected: object) -> InputError:
    return input_error(
        str(path), got=got, expected=expected, todo="move this run folder away, or run the experiment again"
    )


def _damaged_line(path: Path, number: int, error: Exception) -> InputError:
    return _damaged(path, f"line {number}: {error!r}", "one JSON object a line: train, evaluate or end")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(path, error, "a run's configuration as JSON") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format", "none") if isinstance(config, dict) else type(config).__name__
        raise _damaged(path, f"format {got}", f"a run's configuration of format {FORMAT}")
    names = config.get("class_names")
    # All faults at once, so that they can be mended together.
    wrong = [key for key in ("name", "task") if not isinstance(config.get(key), str)]
    wrong += [] if type(config.get("seed")) is int else ["seed"]
    experiment = config.get("experiment")
    real = isinstance(experiment, dict) and experiment.get("kind") == "regression"
    named = isinstance(names, list) and (names or real) and all(isinstance(n, str) for n in names)
    wrong += [] if named else ["class_names"]
    if not isinstance(experiment, dict):
        wrong.append("experiment")
    else:
        wrong += [f"experiment.{key}" for key in ("source", "target") if not isinstance(experiment.get(key), str)]
        wrong += [] if experiment.get("role") in ROLES else ["experiment.role"]
    if wrong:
        expected = f"texts name, task, experiment.source, experiment.target; an integer seed; a list class_names; \
experiment.role one of {', '.join(ROLES)}"
        raise _damaged(path, f"missing or ill-typed {', '.join(wrong)}", expected)
    return config


def _read_record(path: Path) -> tuple[tuple[Training, ...], tuple[Evaluation, ...], End | None, bool]:
    lines, half_line = read_lines(path, _damaged_line)
    training: dict[int, Training] = {}
    evaluations: dict[tuple[int, str, str], Evaluation] = {}
    end = None
    for number, entry in enumerate(lines, start=1):
        try:
            kind, step = entry["event"], int(entry["step"])
            # A resumed run may log a step again: the later line is the one that its state agrees with.
            if kind == "train":
                training[step] = Training(step, _metrics(entry["metrics"]))
            elif kind == "evaluate":
                key = (step, str(entry["domain"]), str(entry["split"]))
                evaluations[key] = Evaluation(*key, bool(entry["oracle"]), _metrics(entry["metrics"]))
            elif kind == "end":
                end = End(step, float(entry["seconds"]), int(entry.get("together", 1)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise _damaged_line(path, number, error) from error
    ordered = tuple(training[s] for s in sorted(training)), tuple(evaluations[k] for k in sorted(evaluations))
    steps = [e.step for events in ordered for e in events]
    if end is not None and (half_line or max([end.step, *steps]) > end.step):
        end = None  # continued after its end and not ended since
    return *ordered, end, half_line


def _metrics(values: Mapping[str, float | None]) -> dict[str, float]:
    return {str(name): float("nan") if value is None else float(value) for name, value in values.items()}


def _read_final(path: Path, *, num_classes: int) -> Final:
    try:
        # No pickles: a run folder may come from anybody.
        with np.load(path, allow_pickle=False) as arrays:
            names = Final._fields if num_classes else Final._fields[1:]
            final = Final(**{"confusion": None, **{name: arrays[name] for name in names}})
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error, f"an npz file with {', '.join(Final._fields)}") from error
    if final.confusion is None:
        return _checked_numbers(path, final)
    shapes = {name: array.shape for name, array in final._asdict().items()}
    k, d = final.features_source.shape if final.features_source.ndim == 2 else (-1, -1)
    m = final.features_target.shape[0] if final.features_target.ndim == 2 else -1
    good = (num_classes, num_classes), (k, d), (k,), (m, d), (m,), (m,)
    if k < 0 or m < 0 or tuple(shapes.values()) != good:
        expected = f"confusion [C, C] with C = {num_classes}, features [k, d] and [m, d], labels [k] and [m]"
        raise _damaged(path, f"shapes {shapes}", expected)
    # Figures index colours and names by these numbers.
    for name in ("labels_source", "labels_target", "predictions_target"):
        labels = getattr(final, name)
        if not np.issubdtype(labels.dtype, np.integer) or np.any((labels < 0) | (labels >= num_classes)):
            got = f"{name} of dtype {labels.dtype}, some outside 0 … {num_classes - 1}"
            raise _damaged(path, got, "integer class indices")
    if not np.issubdtype(final.confusion.dtype, np.integer) or final.confusion.min() < 0:
        raise _damaged(path, "confusion that is no matrix of counts", "integers ≥ 0")
    return final


def _checked_numbers(path: Path, final: Final) -> Final:
    """Return the arrays of a regression, if they belong together."""
    shapes = {name: array.shape for name, array in final._asdict().items() if array is not None}
    (k, *_), (m, *_) = final.features_source.shape, final.features_target.shape
    lengths = [len(final.labels_source) == k, len(final.labels_target) == m, len(final.predictions_target) == m]
    kinds = [array.dtype.kind for array in (final.labels_source, final.labels_target, final.predictions_target)]
    if not all(lengths) or set(kinds) != {"f"} or final.labels_target.shape != final.predictions_target.shape:
        raise _damaged(path, f"shapes {shapes}", "features [k, d] and [m, d], real labels [k, q] and [m, q]")
    return final
