"""Runs of ours without a published number to compare with: one table a protocol, methods by tasks."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from dalib.core.run_folders import Run
from dalib.report.statistics import Interval, last_step_pick
from experiments.ledger.compare import RULES, Key, Rule, Tasks, fits, groups_of, interval_of, plain, score_of, stated_of
from experiments.ledger.published import Number


class Alone(NamedTuple):
    """One configuration.

    Attributes:
        method: its name, with settings other than the defaults.
        cells: target accuracy in % at the last step, by task.
        mean: over the tasks; None where no seed has all of them.
        picks: the mean with the epoch chosen by another rule, by the rule's name.
        seeds: number that the mean is over; the least of any task where there is no mean; 0 where nothing is random.
    """

    method: str
    cells: dict[str, Interval]
    mean: Interval | None
    picks: dict[str, Interval]
    seeds: int


class Together(NamedTuple):
    """The configurations of one protocol."""

    title: str
    facts: str
    tasks: tuple[str, ...]
    rows: tuple[Alone, ...]


def alone(numbers: Iterable[Number], runs: Iterable[Run]) -> list[Together]:
    """The finished runs that no number is compared with, by protocol.

    Source-only comes first, whether it has a published number or not, the oracle last.
    """
    numbers, tables = list(numbers), dict[tuple[str, str], list[tuple[Key, Tasks, bool]]]()
    for key, tasks in groups_of(runs).items():
        beside = any(fits(n, key) and n.tasks and all(plain(task) in tasks for task in n.tasks) for n in numbers)
        first = next(iter(next(iter(tasks.values())).values())).experiment
        tables.setdefault((f"{key.benchmark}, {key.setting}", _facts(first)), []).append((key, tasks, beside))
    found = []
    for (title, facts), every in tables.items():
        if all(beside for *_, beside in every):
            continue
        members = [
            (key, {next(iter(runs.values())).task: runs for runs in tasks.values()})
            for key, tasks, beside in every
            if not beside or key.method == "source_only"
        ]
        known = tuple(sorted({task for _, tasks in members for task in tasks}))
        members.sort(key=lambda member: (_place(member[0].method), member[0].method))
        found.append(Together(title, facts, known, tuple(_row(key, tasks, known) for key, tasks in members)))
    return found


def _place(method: str) -> int:
    return {"source_only": 0, "oracle": 2}.get(method, 1)


def _facts(setup: dict[str, Any]) -> str:
    net = setup.get("classifier") or setup.get("encoder", "net not recorded")
    facts = [str(net), *([f"weights {setup['weights']}"] if setup.get("weights") else [])]
    if not setup.get("classifier") and setup.get("steps"):
        facts.append(f"{setup['steps']} steps of {setup.get('batch_size')} examples a domain")
    return "; ".join(facts + [f"{name} {value}" for name, value in stated_of(setup).items()])


def _row(key: Key, tasks: Tasks, known: tuple[str, ...]) -> Alone:
    first = next(iter(next(iter(tasks.values())).values())).experiment
    options = ", ".join(f"{name}={json.dumps(value)}" for name, value in first.get("method_options", ()))
    name = "trained on the target's labels (oracle)" if key.method == "oracle" else key.method
    sure = bool(key.classifier)

    def over(of: list[str], seeds: list[int], rule: Rule) -> Interval | None:
        scores = [[score_of(tasks[task][seed], "accuracy", rule) for task in of] for seed in seeds]
        whole = bool(scores) and all(score is not None for row in scores for score in row)
        return interval_of(scores, sure) if whole else None

    cells = {task: over([task], sorted(runs), last_step_pick) for task, runs in tasks.items()}
    common = sorted(set.intersection(*(set(runs) for runs in tasks.values()))) if len(tasks) == len(known) else []
    picks = {rule: over(list(known), common, chosen) for rule, chosen in RULES.items()} if not sure else {}
    return Alone(
        method=f"{name} ({options})" if options else name,
        cells={task: found for task, found in cells.items() if found is not None},
        mean=over(list(known), common, last_step_pick),
        picks={rule: found for rule, found in picks.items() if found is not None},
        seeds=0 if sure else len(common) or min(len(runs) for runs in tasks.values()),
    )
