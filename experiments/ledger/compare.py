"""Finished runs by configuration, task and seed, and their scores under a rule that picks the epoch."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dalib.core.checks import input_error
from dalib.core.run_folders import Run
from dalib.report.statistics import (
    Interval,
    Pick,
    last_step_pick,
    mean_interval,
    oracle_pick,
    source_validated_pick,
    validator_pick,
)
from experiments.ledger.published import MEAN, Number

RELATIONS = {"closed": "closed set", "partial": "partial", "open": "open set", "universal": "universal"}
Rule = Callable[..., Pick | None]
RULES: dict[str, Rule] = {
    "source accuracy": source_validated_pick,
    "V-measure": partial(validator_pick, validator="v_measure"),
    "IM": partial(validator_pick, validator="im"),
    "oracle": oracle_pick,
}
"""Rules other than the last step; the oracle uses target labels."""


class Key(NamedTuple):
    """Fields that runs of one configuration share."""

    benchmark: str
    method: str
    setting: str
    classifier: str
    variant: str
    configuration: str


Tasks = dict[str, dict[int, Run]]
"""Runs of a configuration by task and seed."""


def groups_of(runs: Iterable[Run]) -> dict[Key, Tasks]:
    """Finished runs by configuration, then task, then seed."""
    groups: dict[Key, Tasks] = {}
    for run in runs:
        if not run.finished:
            continue
        setup = run.experiment
        own = {k: v for k, v in setup.items() if k not in ("seed", "source", "target")}
        key = Key(
            benchmark=str(setup.get("benchmark", "")),
            method="oracle" if run.role == "oracle" else str(setup.get("method", run.name)),
            setting=_setting(setup),
            classifier=str(setup.get("classifier", "")),
            variant=stated_of(setup).get("variant", ""),
            configuration=json.dumps(own, sort_keys=True),
        )
        seeds = groups.setdefault(key, {}).setdefault(plain(run.task), {})
        if run.seed in seeds:
            raise input_error(
                "runs",
                got=f"the same run twice: {seeds[run.seed].path} and {run.path}",
                expected="every seed of a configuration once",
                todo="pass only one of the two folders",
            )
        seeds[run.seed] = run
    return groups


def plain(task: str) -> str:
    """Bring a task to the form that is compared: ``Real_World`` of a folder is ``Real World`` of a table."""
    return task.replace("_", " ")


def _setting(setup: dict[str, Any]) -> str:
    if " + " in str(setup.get("source", "")):
        return "several sources"
    return RELATIONS.get(str(setup.get("relation", "closed")), str(setup.get("relation")))


def stated_of(setup: dict[str, Any]) -> dict[str, str]:
    """Return the experiment's facts of its data: ``split``, ``variant`` …"""
    return {str(name): str(value) for name, value in setup.get("protocol", ())}


def interval_of(scores: Sequence[Sequence[float | None]], sure: bool) -> Interval:
    """In %, over seeds (rows) of means over tasks; ``sure`` results have no randomness."""
    means = [100 * sum(x for x in row if x is not None) / len(row) for row in scores]
    if sure and len(set(means)) == 1:
        return Interval(means[0], 0.0)
    return mean_interval(means)


def score_of(run: Run, metric: str, rule: Rule) -> float | None:
    """A fraction, or None where the run's records do not hold this metric under this rule."""
    if metric.startswith("class_accuracy:"):
        name = metric.partition(":")[2]
        if rule is not last_step_pick or run.final is None or name not in run.class_names:
            return None
        row = run.final.confusion[run.class_names.index(name)]
        return float(row[run.class_names.index(name)] / row.sum()) if row.sum() else None
    recorded = "accuracy" if metric == "error" else metric
    pick = last_step_pick(run, recorded) if rule is last_step_pick else rule(run) if recorded == "accuracy" else None
    if pick is None:
        return None
    return 1 - pick.accuracy if metric == "error" else pick.accuracy


NOT_RUN = "not run"


LAST_RULES = ("last", "fixed hyper-parameters")


class Entry(NamedTuple):
    """A published number and one configuration of ours to compare with it, or none.

    Attributes:
        number: the published one.
        ours: mean and half-width in %, None when not run.
        picks: ours with the epoch chosen by another rule, by the rule's name (:data:`RULES`); the oracle's used target
            labels.
        seeds: our seeds.
        verdict: inside, above, below (``, one seed`` where nothing is known of the spread) or not run.
        differences: in protocol, and facts that the records lack.
        runs: the folders that ours comes from.
    """

    number: Number
    ours: Interval | None
    picks: dict[str, Interval]
    seeds: tuple[int, ...]
    verdict: str
    differences: tuple[str, ...]
    runs: tuple[Path, ...] = ()


def entries(numbers: Iterable[Number], runs: Iterable[Run]) -> list[Entry]:
    """List for each number one entry for each configuration of ours that was run, or one that says "not run".

    Raises:
        InputError: for two finished runs of the same configuration, task and seed.
    """
    groups = groups_of(runs)
    found = []
    for number in numbers:
        configurations = [tasks for key, tasks in groups.items() if fits(number, key)]
        compared = [entry for tasks in configurations if (entry := _entry(number, tasks)) is not None]
        found += compared or [Entry(number, None, {}, (), _not_run(number, configurations), ())]
    return found


def fits(number: Number, key: Key) -> bool:
    """Tell whether runs of a configuration may be compared with a number."""
    same = (number.benchmark, number.method, number.setting) == (key.benchmark, key.method, key.setting)
    forms = not (number.variant and key.variant) or number.variant == key.variant
    return (
        same
        and bool(number.method)
        and forms
        and number.classifier in ("", key.classifier)
        and _on_features(number, key)
    )


def _on_features(number: Number, key: Key) -> bool:
    """A published number without a classifier came from a network; compare it with networks only, and vice versa."""
    return bool(key.classifier) == bool(number.classifier or number.backbone == "features")


def _entry(number: Number, tasks: Tasks) -> Entry | None:
    wanted = [plain(task) for task in number.tasks]
    if not wanted or any(task not in tasks for task in wanted):
        return None
    seeds = sorted(set.intersection(*(set(tasks[task]) for task in wanted)))
    if not seeds:
        return None
    runs = [[tasks[task][seed] for task in wanted] for seed in seeds]
    sure = bool(runs[0][0].experiment.get("classifier"))

    def under(rule: Rule) -> Interval | None:
        scores = [[score_of(run, number.metric, rule) for run in row] for row in runs]
        return None if any(score is None for row in scores for score in row) else interval_of(scores, sure)

    ours = under(last_step_pick)
    if ours is None:
        return None
    rules = {} if sure or number.metric not in ("accuracy", "error") else RULES
    picks = {name: under(rule) for name, rule in rules.items()}
    return Entry(
        number=number,
        ours=ours,
        picks={name: found for name, found in picks.items() if found is not None},
        seeds=tuple(seeds),
        verdict=verdict(number, ours, len(seeds)),
        differences=tuple(_differences(number, runs[0][0])),
        runs=tuple(run.path for row in runs for run in row),
    )


def verdict(number: Number, ours: Interval, seeds: int) -> str:
    """Say ``inside`` when the published band and our interval meet, else ``above`` or ``below``."""
    spread = 0.0 if math.isnan(number.spread) else number.spread
    half = 0.0 if math.isnan(ours.half_width) else ours.half_width
    distance = ours.mean - number.value
    meets = abs(distance) <= half + spread + 0.5 * 10.0**-number.decimals + 1e-9
    word = "inside" if meets else "above" if distance > 0 else "below"
    return word + (", one seed" if math.isnan(ours.half_width) and seeds == 1 else "")


def _differences(number: Number, run: Run) -> list[str]:
    setup, found = run.experiment, []
    stated = stated_of(setup)
    net = "features" if setup.get("classifier") else str(setup.get("encoder", "not recorded"))
    if net != number.backbone:
        found.append(f"net: theirs {number.backbone}, ours {net}")
    for name in ("split", "variant"):
        theirs, mine = getattr(number, name), stated.get(name, "not recorded")
        if theirs and mine != theirs:
            found.append(f"{name}: theirs {theirs}, ours {mine}")
    if setup.get("weights"):
        found.append(f"weights: ours {setup['weights']}")
    if not setup.get("classifier") and setup.get("steps"):
        found.append(f"ours: {setup['steps']} steps of {setup.get('batch_size')} examples a domain")
    if number.selection not in LAST_RULES:
        found.append(f"epoch: theirs {number.selection}, ours last")
    found += [f"ours: {name} {value}" for name, value in stated.items() if name not in ("split", "variant")]
    return found


def _not_run(number: Number, configurations: Sequence[Tasks]) -> str:
    done = max((sum(plain(task) in tasks for task in number.tasks) for tasks in configurations), default=0)
    return f"{NOT_RUN} ({done} of {len(number.tasks)} tasks)" if number.task == MEAN and done else NOT_RUN
