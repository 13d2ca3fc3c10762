"""Finished runs by configuration, task and seed, and their scores under a rule that picks the epoch."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from dalib.checks import input_error
from dalib.report.statistics import (
    Interval,
    Pick,
    last_step_pick,
    mean_interval,
    oracle_pick,
    source_validated_pick,
    validator_pick,
)
from dalib.run_folders import Run

RELATIONS = {"closed": "closed set", "partial": "partial", "open": "open set", "universal": "universal"}
Rule = Callable[..., Pick | None]
RULES: dict[str, Rule] = {
    "source accuracy": source_validated_pick,
    "V-measure": partial(validator_pick, validator="v_measure"),
    "IM": partial(validator_pick, validator="im"),
    "oracle": oracle_pick,
}
"""Rules beside the last step; the oracle uses target labels."""


class Key(NamedTuple):
    """What runs must share to be one configuration."""

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
    """A task as it is compared: ``Real_World`` of a folder is ``Real World`` of a table."""
    return task.replace("_", " ")


def _setting(setup: dict[str, Any]) -> str:
    if " + " in str(setup.get("source", "")):
        return "several sources"
    return RELATIONS.get(str(setup.get("relation", "closed")), str(setup.get("relation")))


def stated_of(setup: dict[str, Any]) -> dict[str, str]:
    """What the experiment says of its data: ``split``, ``variant`` …"""
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
