"""Evaluation of a run: inference over the splits, and their scores."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import input_error
from dalib.core.types import Outputs, Params, PyTree
from dalib.data import Domain, unlabelled_batches
from dalib.data.domain import unlabelled
from dalib.data.evaluation import EvaluationBatch
from dalib.evaluate import score
from dalib.evaluate.oracle import oracle_score
from dalib.evaluate.selection import unlabelled_events
from dalib.methods.base import evaluated
from dalib.methods.view import NET_GROUPS, Look, States
from dalib.run.config import Experiment
from dalib.run.program import Program, target_metrics
from dalib.tasks import regression
from dalib.train import TrainState, recompute_statistics
from dalib.train.devices.processes import local, process_count, process_index, replicate
from dalib.train.forward import statistics_for
from dalib.train.termination import unless_asked

# Inference between steps: predictions, recomputed batch statistics, the look at the whole target.


EVALUATION_ROWS = 250

Predict = Callable[[Any], Any]
"""``inputs [n, ...] -> Outputs`` with logits, in evaluation mode, the whole result on one device."""


def shares(mesh: Mesh | None) -> dict[str, Any]:
    """Options for a pass over a split; each of several processes reads its own rows, so devices must divide."""
    if mesh is None or process_count() == 1:
        return {"batch_size": EVALUATION_ROWS}
    rows = -(-EVALUATION_ROWS // mesh.size) * mesh.size
    return {"batch_size": rows, "process_index": process_index(), "process_count": process_count()}


def logits_of(outputs: Any) -> Any:
    """Return the logits, which most readers of predictions take."""
    return outputs.logits


def predictions(
    predict: Predict, domain: Domain, split: str, mesh: Mesh | None = None, *, of: Callable[[Any], Any] = logits_of
) -> Any:
    """Apply ``of`` to the outputs for every example of a split, in its order, as NumPy arrays; labels stay out.

    Every score and file of a run comes from here. No more than two batches are on the device: while one is computed,
    the one before is fetched.
    """
    parts, waiting = [], None

    def fetch(found: Any, mask: np.ndarray) -> Any:
        return jax.tree.map(lambda x: np.asarray(x)[mask], found)

    for batch in unlabelled_batches(domain, split, **shares(mesh)):
        found = of(predict(batch.inputs)), batch.mask
        if waiting is not None:
            parts.append(fetch(*waiting))
        waiting = found
    assert waiting is not None  # no split of a domain is empty
    parts.append(fetch(*waiting))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


class Inference(NamedTuple):
    """Functions of a run's state; all of several processes must call them.

    Attributes:
        predictors: ``state -> (on source, on target)``, with the parameters and statistics that are evaluated.
        refresh: ``state -> state``: the method's look at the whole target; None where it takes none.
        variables: ``state -> {"params", "batch_stats"}`` of the net as it is evaluated on the source.
        on_target: the same with all parameters, as they predict on the target; None where ``variables`` does that too.
    """

    predictors: Callable[[TrainState], tuple[Predict, Predict]]
    refresh: Callable[[TrainState], TrainState] | None
    variables: Callable[[TrainState], PyTree]
    on_target: Callable[[TrainState], PyTree | None]


def make_inference(program: Program, source: Domain, target: Domain) -> Inference:
    """Bind a program to the domains; it may look at their ``train`` splits, the target's without labels."""
    method, mesh = program.method, program.mesh
    domains = {"source": source, "target": target}

    # Averaged parameters, say: a method may evaluate others than it trains.
    def tested(state: TrainState) -> tuple[Params, States]:
        return evaluated(method, state.params, States(state.model, state.method))

    def calibrated(params: Params, states: States) -> PyTree:
        return _calibrated(program, target, params, states)

    def predictors(state: TrainState) -> tuple[Predict, Predict]:
        params, states = tested(state)
        params, model = replicate((params, calibrated(params, states)), mesh)
        return (
            lambda inputs: unless_asked(program.predict_source)(params, model, inputs),
            lambda inputs: unless_asked(program.predict_target)(params, model, inputs),
        )

    # The method's look at the whole target happens on every process, from copies on its own devices.
    def refresh(state: TrainState) -> TrainState:
        params, states = local((state.params, States(state.model, state.method)))
        spread = replicate((state.params, state.model), mesh)

        def outputs(domain: str) -> Outputs:
            see = unless_asked(program.predict_target if domain == "target" else program.predict_source)

            def predict(inputs: Any) -> Outputs:
                return see(*spread, inputs)

            found = predictions(predict, domains[domain], "train", mesh, of=lambda outputs: outputs)
            return jax.tree.map(jnp.asarray, found)

        def inputs(domain: str) -> np.ndarray:
            parts = [b.inputs[b.mask] for b in unlabelled_batches(domains[domain], "train", EVALUATION_ROWS)]
            return np.concatenate(parts)

        assert method.hooks.refresh is not None
        look = Look(outputs, inputs, lambda: source.labels("train"))
        states = method.hooks.refresh(params, states, look)
        # Back on all devices: the step is compiled for states that are laid out like the rest.
        if len(state.step.sharding.device_set) > 1:
            states = replicate(states, mesh)
        return dataclasses.replace(state, model=states.model, method=states.method)

    def variables(state: TrainState) -> PyTree:
        params, states = tested(state)
        params, model = local((params, states.model))
        net = {group: params[group] for group in NET_GROUPS if group in params}
        return {"params": net, "batch_stats": statistics_for(model, "source")}

    # Weights of the target are a file of their own only where the source's would predict otherwise.
    def on_target(state: TrainState) -> PyTree | None:
        apart = "target" in state.model or method.hooks.calibrate is not None
        if not apart and method.hooks.predict is None:
            return None
        params, states = tested(state)
        model = calibrated(params, states)
        return {"params": local(params), "batch_stats": statistics_for(local(model), "target")}

    return Inference(predictors, refresh if method.hooks.refresh else None, variables, on_target)


def _calibrated(program: Program, target: Domain, params: Params, states: States) -> PyTree:
    """Return batch statistics for the evaluation: the state's, or those that the method computes on the target."""
    calibrate = program.method.hooks.calibrate
    if calibrate is None:
        return states.model
    own, states = local((params, states))

    def recompute() -> PyTree:
        # Every process goes through all of the target: each batch is normalised by itself on the way, so that batches
        # of another size would give other statistics.
        batches = unlabelled_batches(target, "train", EVALUATION_ROWS)
        stats = statistics_for(states.model, "source")
        return recompute_statistics(program.net, own, stats, (b.inputs[b.mask] for b in batches))

    return calibrate(own, states, recompute).model


# Scores of one evaluation: accuracy on the source, the oracle's on the target, and scores without labels.


class Evaluation:
    """Scorer of one run; remembers the last scores for the display.

    Attributes:
        known: whether the target's test split has labels.
        seen: the headline scores last seen, by name.
    """

    def __init__(self, experiment: Experiment, source: Domain, target: Domain, mesh: Mesh | None = None) -> None:
        # Read once: a record source of the user's own may have to decode inputs for its labels.
        self._labels = source.labels("test"), target.labels("test")
        if experiment.role != "oracle" and unlabelled(self._labels[0]).any():
            raise input_error("domain", got=f"examples without labels in {source.name}/test", expected="labels for all")
        self.known = not unlabelled(self._labels[1]).any()
        self.seen: dict[str, float] = {}
        self._of = (experiment, source, target, mesh)

    def of(self, on_source: Predict, on_target: Predict) -> list[dict[str, Any]]:
        """Return the "evaluate" lines of a record, without their steps.

        Args:
            on_source: ``inputs -> Outputs`` of the net as it is evaluated on the source.
            on_target: the same on the target.
        """
        experiment, source, target, mesh = self._of
        of_source = None if experiment.role == "oracle" else predictions(on_source, source, "test", mesh)
        return self.events(of_source, predictions(on_target, target, "test", mesh))

    def events(self, of_source: np.ndarray | None, of_target: np.ndarray) -> list[dict[str, Any]]:
        """Return the same from logits ``[n, C]`` of the test splits; an oracle reads none of the source."""
        experiment, source, target, _ = self._of
        oracle = experiment.role == "oracle"
        found: list[dict[str, Any]] = []
        self.seen = {}
        # Accuracy on the examples that were trained on selects nothing.
        where = "train" if source.split("test") is source.split("train") else "test"
        # Real-valued labels have errors and no validators: those read class probabilities.
        if experiment.kind == "regression":
            if not oracle:
                assert of_source is not None
                metrics = regression_metrics(of_source, self._labels[0])
                found.append({"domain": source.name, "split": where, "oracle": False, "metrics": metrics})
                self.seen["source error"] = metrics["mean_absolute_error"]
            if self.known:
                metrics = regression_metrics(of_target, self._labels[1])
                found.append({"domain": target.name, "split": "test", "oracle": True, "metrics": metrics})
                self.seen["target error"] = metrics["mean_absolute_error"]
            return found
        if not oracle:
            mine = score(_same, [_labelled(of_source, self._labels[0])])
            found.append({"domain": source.name, "split": where, "oracle": False, "metrics": mine.metrics()})
            self.seen["source accuracy"] = mine.accuracy
        # Labels of the target count here alone, and the line says so.
        if self.known:
            theirs = oracle_score(_same, [_labelled(of_target, self._labels[1])])
            metrics = {**theirs.metrics(), **target_metrics(theirs.target_confusion, experiment)}
            found.append({"domain": target.name, "split": "test", "oracle": True, "metrics": metrics})
            self.seen["target accuracy"] = theirs.target_accuracy
        return found if oracle else [*found, *unlabelled_events(target, of_target)]


def regression_metrics(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute mean absolute error, root mean squared error and R² of predictions ``[n, k]``; labels may be ``[n]``."""
    predicted = np.asarray(predicted, np.float64)
    labels = np.asarray(labels, np.float64).reshape(predicted.shape)
    # Errors and deviations do not change with the origin; near it float32 sums lose nothing.
    centre = labels.mean(0)
    moved = jnp.asarray(predicted - centre, jnp.float32)
    task = regression(predicted.shape[1])
    counts = task.counts(Outputs(moved, moved), jnp.asarray(labels - centre, jnp.float32), jnp.ones(len(labels), bool))
    return task.metrics(jax.device_get(counts))


def _same(logits: Any) -> Any:
    return logits


def _labelled(logits: Any, labels: np.ndarray) -> EvaluationBatch:
    """The whole test split as one batch that has logits for inputs."""
    return EvaluationBatch(logits, labels, np.ones(len(logits), bool))
