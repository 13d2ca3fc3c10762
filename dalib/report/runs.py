"""A run as a report sees it: what was trained, what it logged, how it ended."""

from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

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
    """What a run left behind at its last step.

    Attributes:
        confusion: ``[C, C]`` counts on the target's test split, rows true, columns predicted.
        features_source: ``[k, d]``, with ``labels_source`` ``[k]``.
        features_target: ``[m, d]``, with ``labels_target`` ``[m]`` and ``predictions_target`` ``[m]``.
    """

    confusion: ArrayLike
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
        """True when the record says so; an unfinished run is listed, never averaged."""
        return self.end is not None

    @property
    def experiment(self) -> dict[str, Any]:
        """The full configuration that the run was started with."""
        return dict(self.config["experiment"])

    @property
    def last_step(self) -> int:
        """The largest step that the record speaks of (0 when it is empty)."""
        steps = [e.step for e in self.training] + [e.step for e in self.evaluations]
        return max([*steps, self.end.step if self.end else 0])


def group_order(run: Run) -> tuple[str, int, str]:
    """Sort key: by task; within one the source-only baseline first, methods by name, the oracle last."""
    rank = 2 if run.role == "oracle" else 0 if is_source_only(run) else 1
    return run.task, rank, run.name


def is_source_only(run: Run) -> bool:
    """True for the baseline that never sees the target."""
    return run.role == "method" and "source_only" in (run.name, run.experiment.get("method"))
