"""One evaluation of a run: accuracy on the source, the oracle's on the target, and scores without labels."""

from typing import Any

import numpy as np
from jax.sharding import Mesh

from dalib.checks import input_error
from dalib.data import UNLABELLED, Domain
from dalib.data.evaluation import EvaluationBatch
from dalib.validate import score
from dalib.validate.oracle import oracle_score
from experiments.config import Experiment
from experiments.inference import Predict, predictions
from experiments.open_set import target_metrics
from experiments.selection import unlabelled_events


class Evaluation:
    """What an evaluation of one run scores; remembers the last accuracies for the display.

    Attributes:
        known: whether the target's test split has labels.
        text: the accuracies last seen.
    """

    def __init__(self, experiment: Experiment, source: Domain, target: Domain, mesh: Mesh | None = None) -> None:
        # Read once: a record source of the user's own may have to decode inputs for its labels.
        self._labels = source.labels("test"), target.labels("test")
        if experiment.role != "oracle" and (self._labels[0] == UNLABELLED).any():
            raise input_error("domain", got=f"examples without labels in {source.name}/test", expected="labels for all")
        self.known = not (self._labels[1] == UNLABELLED).any()
        self.text = ""
        self._of = (experiment, source, target, mesh)

    def of(self, on_source: Predict, on_target: Predict) -> list[dict[str, Any]]:
        """The "evaluate" lines of a record, without their steps.

        Args:
            on_source: ``inputs -> Outputs`` of the net as it is evaluated on the source.
            on_target: the same on the target.
        """
        experiment, source, target, mesh = self._of
        of_source = None if experiment.role == "oracle" else predictions(on_source, source, "test", mesh)
        return self.events(of_source, predictions(on_target, target, "test", mesh))

    def events(self, of_source: np.ndarray | None, of_target: np.ndarray) -> list[dict[str, Any]]:
        """The same from logits ``[n, C]`` of the test splits; an oracle reads none of the source."""
        experiment, source, target, _ = self._of
        oracle = experiment.role == "oracle"
        found, accuracies = [], []
        if not oracle:
            mine = score(_same, [_labelled(of_source, self._labels[0])])
            # Accuracy on the examples that were trained on selects nothing.
            where = "train" if source.split("test") is source.split("train") else "test"
            found.append({"domain": source.name, "split": where, "oracle": False, "metrics": mine.metrics()})
            accuracies.append(f"source {mine.accuracy:.3f}")
        if self.known:
            theirs = oracle_score(_same, [_labelled(of_target, self._labels[1])])
            metrics = {**theirs.metrics(), **target_metrics(theirs.target_confusion, experiment)}
            found.append({"domain": target.name, "split": "test", "oracle": True, "metrics": metrics})
            accuracies.append(f"target {theirs.target_accuracy:.3f}")
        self.text = f"accuracy {' '.join(accuracies)}"
        return found if oracle else [*found, *unlabelled_events(target, of_target)]


def _same(logits: Any) -> Any:
    return logits


def _labelled(logits: Any, labels: np.ndarray) -> EvaluationBatch:
    """The whole test split as one batch that has logits for inputs."""
    return EvaluationBatch(logits, labels, np.ones(len(logits), bool))
