"""One evaluation of a run: accuracy on the source, the oracle's on the target, and scores without labels."""

from typing import Any

from jax.sharding import Mesh

from dalib.data import UNLABELLED, Domain, evaluation_batches, unlabelled_batches
from dalib.validate import score
from dalib.validate.oracle import oracle_score
from experiments.config import Experiment
from experiments.inference import Predict, shares
from experiments.open_set import target_metrics
from experiments.selection import keeping, unlabelled_events


class Evaluation:
    """What an evaluation of one run scores; remembers the last accuracies for the display.

    Attributes:
        known: whether the target's test split has labels.
        text: the accuracies last seen.
    """

    def __init__(self, experiment: Experiment, source: Domain, target: Domain, mesh: Mesh | None = None) -> None:
        self.known = not (target.labels("test") == UNLABELLED).any()
        self.text = ""
        self._of = (experiment, source, target, mesh)

    def events(self, on_source: Predict, on_target: Predict) -> list[dict[str, Any]]:
        """The "evaluate" lines of a record, without their steps.

        Args:
            on_source: ``inputs -> Outputs`` of the net as it is evaluated on the source.
            on_target: the same on the target.
        """
        experiment, source, target, mesh = self._of
        oracle = experiment.role == "oracle"
        target_logits, kept = keeping(on_target)
        found, accuracies = [], []
        if not oracle:
            mine = score(lambda x: on_source(x).logits, evaluation_batches(source, "test", **shares(mesh)))
            # Accuracy on the examples that were trained on selects nothing.
            where = "train" if source.split("test") is source.split("train") else "test"
            found.append({"domain": source.name, "split": where, "oracle": False, "metrics": mine.metrics()})
            accuracies.append(f"source {mine.accuracy:.3f}")
        if self.known:
            theirs = oracle_score(target_logits, evaluation_batches(target, "test", **shares(mesh)))
            metrics = {**theirs.metrics(), **target_metrics(theirs.target_confusion, experiment)}
            found.append({"domain": target.name, "split": "test", "oracle": True, "metrics": metrics})
            accuracies.append(f"target {theirs.target_accuracy:.3f}")
        else:
            for batch in unlabelled_batches(target, "test", **shares(mesh)):
                target_logits(batch.inputs)
        self.text = f"accuracy {' '.join(accuracies)}"
        return found if oracle else [*found, *unlabelled_events(target, kept)]
