"""Choice among run folders: candidates, their ranking, expected accuracies, and afterwards the oracle's scores."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.run_folders import Run, is_source_only
from dalib.evaluate import TARGET_SCORES, VALIDATORS, Evidence
from dalib.evaluate.accuracy import Expected, Shipping, expected_accuracy, shipping
from dalib.evaluate.ranking import Candidate, Place, candidates, picks, rank
from dalib.evaluate.validators import Scored
from dalib.evaluate.validators.predictions import LARGEST
from dalib.run.select.kept import kept_steps, read_kept

UNLABELLED = "unlabelled"
SOURCE_ACCURACY = "source_accuracy"


class Model(NamedTuple):
    """A run at a step.

    Attributes:
        run: the folder as it was read.
        step: of the evaluation.
        name: for tables, unique within a task.
    """

    run: Run
    step: int
    name: str


class Choice(NamedTuple):
    """The choice on one task, and its candidates.

    Attributes:
        task: ``source → target``.
        by: the validators that chose.
        ranking: every candidate, from best to worst.
        picks: the first place by each validator that has a score.
        expected: accuracy by name, of the candidates that are shown; empty where runs kept no predictions.
        left_out: runs that are no candidates, and why.
        models: by name.
        shipping: facts on the first place; None where they were not kept.
    """

    task: str
    by: tuple[str, ...]
    ranking: list[Place]
    picks: dict[str, Place]
    expected: dict[str, Expected]
    left_out: dict[str, str]
    models: dict[str, Model]
    shipping: Shipping | None = None


def choose_among(runs: Sequence[Run], by: Sequence[str] = (), *, top: int = 10) -> list[Choice]:
    """Choose on every task of some runs.

    Where runs have kept predictions, all validators apply; elsewhere those of the record, and no accuracy is expected.

    Args:
        runs: of one task or several; the oracle's are left out.
        by: validators; without any, ClassAMI, or V-measure from the record.
        top: number of places with an expected accuracy; all picks and the best source-only get one too.

    Raises:
        InputError: for a task without source-only, or a validator that is not there.
    """
    tasks = dict.fromkeys(run.task for run in runs)
    return [_choose([run for run in runs if run.task == task], task, tuple(by), top) for task in tasks]


def _choose(runs: Sequence[Run], task: str, by: tuple[str, ...], top: int) -> Choice:
    left_out: dict[str, str] = {}
    able = []
    # An oracle has seen target labels, and validators read class probabilities: neither may be chosen.
    for run in runs:
        if run.role == "oracle":
            left_out[str(run.path)] = "an oracle, which learns from target labels"
        elif run.experiment.get("kind") == "regression":
            left_out[str(run.path)] = "a regression; validators are of classes"
        else:
            able.append(run)
    kept = {str(run.path): steps for run in able if (steps := kept_steps(run.path))}
    evidence: dict[str, Evidence] = {}
    # Kept predictions serve all validators; one kind of evidence for all runs of a task keeps scores comparable.
    if kept:
        left_out |= {str(run.path): "kept no predictions" for run in able if str(run.path) not in kept}
        models = _models([(run, step) for run in able for step in _trained(run, kept.get(str(run.path), {}))])
        for name, model in models.items():
            if (own := read_kept(kept[str(model.run.path)][model.step])) is not None:
                evidence[name] = own
        found = candidates(evidence, [name for name, model in models.items() if is_source_only(model.run)])
        found += [_not_finite(model) for name, model in models.items() if name not in evidence]
        by = by or ("ami",)
    else:
        models = _models([(run, step) for run in able for step in _trained(run, _recorded(run))])
        found = [_from_record(model) for model in models.values()]
        by = by or ("v_measure",)
        left_out |= {str(run.path): "no scores without labels in its record" for run in able if not _recorded(run)}
    # A method must beat source-only to be worth a choice at all.
    if not any(candidate.source_only for candidate in found):
        got = f"no run of source_only with {'kept predictions' if kept else 'scores'} for {task}"
        raise input_error("runs", got=got, expected="one at least: it is what the others must beat")
    # Expected accuracies cost time, so only the places that are shown get one.
    ranking, chosen = rank(found, by), picks(found)
    shown = [*ranking[:top], *chosen.values(), next(place for place in ranking if place.candidate.source_only)]
    names = dict.fromkeys(place.candidate.name for place in shown)
    expected = {
        name: expected_accuracy(evidence[name], peers=_peers(name, models, evidence))
        for name in names
        if name in evidence
    }
    first = evidence.get(ranking[0].candidate.name)
    facts = None if first is None else shipping(first)
    return Choice(task, by, ranking, chosen, expected, left_out, models, facts)


def _trained(run: Run, steps: Mapping[int, Any]) -> list[int]:
    """List steps that may be candidates: step 0 only of a run that starts from a trained net, or has no other."""
    later = [step for step in steps if step > 0]
    return list(steps) if run.config.get("start") or not later else later


def _models(pairs: Sequence[tuple[Run, int]]) -> dict[str, Model]:
    """Name models uniquely: method, options, seed, step, and the folder where the rest is equal."""
    texts = [f"{_label(run)} seed {run.seed} step {step}" for run, step in pairs]
    found = {}
    for text, (run, step) in zip(texts, pairs, strict=True):
        name = text if texts.count(text) == 1 else f"{text} in {run.path}"
        found[name] = Model(run, step, name)
    return found


def _label(run: Run) -> str:
    options = run.experiment.get("method_options") or []
    return " ".join([run.name, *(f"{name}={value}" for name, value in options)])


def _peers(name: str, models: Mapping[str, Model], evidence: Mapping[str, Evidence]) -> list[Evidence]:
    """List evidence on the other seeds of a method with the same options, at the same step."""
    own = models[name]
    same = (_label(own.run), own.step)
    others = [m for m in models.values() if m.name != name and m.name in evidence]
    return [evidence[m.name] for m in others if (_label(m.run), m.step) == same]


def _not_finite(model: Model) -> Candidate:
    lost = Scored(float("nan"), "undefined", "predictions that are not finite")
    return Candidate(model.name, dict.fromkeys(VALIDATORS, lost), is_source_only(model.run))


# From the record alone: scores that every evaluation wrote.


def _recorded(run: Run) -> dict[int, dict[str, float]]:
    return {e.step: e.metrics for e in run.evaluations if e.split == UNLABELLED and e.domain == run.target}


def _from_record(model: Model) -> Candidate:
    run = model.run
    metrics = _recorded(run)[model.step]
    found = {name: metrics[name] for name in TARGET_SCORES if name in metrics}
    for e in run.evaluations:
        if e.step == model.step and e.domain == run.source and e.split == "test" and not e.oracle:
            found[SOURCE_ACCURACY] = e.metrics["accuracy"]
    share = metrics.get("largest_class", 0.0)
    why = f"one class holds {share:.0%} of the target" if share > LARGEST else ""
    names = (*TARGET_SCORES, SOURCE_ACCURACY)
    return Candidate(model.name, {name: _scored(found.get(name), why) for name in names}, is_source_only(run))


def _scored(value: float | None, collapsed: str) -> Scored:
    if value is None:
        return Scored(float("nan"), "missing", "not in the record")
    if not np.isfinite(value):
        return Scored(float("nan"), "undefined", collapsed or "not defined for these predictions")
    return Scored(value, "collapsed", collapsed) if collapsed else Scored(value)


# The oracle's scores, read after the choice.


def accuracies(choice: Choice) -> dict[str, float]:
    """Return each candidate's target accuracy at its step, where recorded. It uses target labels: for reading only."""
    found = {}
    for name, model in choice.models.items():
        for e in model.run.evaluations:
            if e.oracle and e.step == model.step and e.domain == model.run.target and "accuracy" in e.metrics:
                found[name] = e.metrics["accuracy"]
    return found


def checked_runs(runs: Sequence[Run]) -> Sequence[Run]:
    """Return the runs, if there is at least one to choose from.

    Raises:
        InputError: when all are oracles.
    """
    if all(run.role == "oracle" for run in runs):
        raise InputError("runs: got oracles only\n  expected: runs of methods and of source_only")
    return runs
