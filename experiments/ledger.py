"""The ledger: every published number beside ours, ours out of run records and nowhere else.

    python -m experiments.ledger RUNS…                         # Markdown on the terminal
    python -m experiments.ledger RUNS… --out experiments/RESULTS.md
    python -m experiments.ledger RUNS… --html --out ledger.html
    python -m experiments.ledger                               # no runs: every number says "not run"

A run stands beside a number when benchmark, task, method, setting and (on features) classifier are the same and both do
not state different forms of the data. What else differs is listed. Ours is the target's test score at the last step,
mean ± half-width of the 95 % Student-t interval over seeds; beside it ours with the epoch picked by source accuracy, by
a validator without labels (V-measure and IM, fixed beforehand) and, labelled, by an oracle on target labels. The
verdict compares the published number, give or take half a unit of its last digit and its own ± where it has one, with
our interval at the last step: *inside*, or ours is *above* or *below*. Closed-form methods have no randomness and so no
interval.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from dalib.files import write_atomically
from dalib.report import load_runs
from dalib.report.statistics import (
    Interval,
    last_step_pick,
)
from dalib.run_folders import Run
from experiments.command_line import main
from experiments.configurations import RULES, Key, Rule, Tasks, groups_of, interval_of, plain, score_of, stated_of
from experiments.published import MEAN, Number, load

NOT_RUN = "not run"
LAST_RULES = ("last", "fixed hyper-parameters")


class Entry(NamedTuple):
    """A published number and one configuration of ours beside it, or none.

    Attributes:
        number: what was published.
        ours: mean and half-width in %, None when not run.
        picks: ours with the epoch chosen by another rule, by the rule's name (:data:`RULES`); the oracle's used target
            labels.
        seeds: our seeds.
        verdict: inside, above, below (``, one seed`` where nothing is known of the spread) or not run.
        differences: in protocol, and what the records do not say.
        runs: the folders that ours comes from.
    """

    number: Number
    ours: Interval | None
    picks: dict[str, Interval]
    seeds: tuple[int, ...]
    verdict: str
    differences: tuple[str, ...]
    runs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """Options of ``python -m experiments.ledger``."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs, or folders that hold some at any depth."""
    html: bool = False
    """One self-contained HTML page instead of Markdown."""
    out: Path | None = None
    """File to write; without it the ledger goes to the terminal."""


def entries(numbers: Iterable[Number], runs: Iterable[Run]) -> list[Entry]:
    """For each number one entry a configuration of ours that was run, or one that says "not run".

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
    """Whether runs of a configuration may stand beside a number."""
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
    """A number that names no classifier is a net's; only what was made on features may stand beside one that does."""
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
    """Where ours lies: ``inside`` when the published band and our interval meet, else ``above`` or ``below``."""
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


def ledger(options: Ledger) -> None:
    """Compares and writes."""
    from experiments.ledger_alone import alone
    from experiments.ledger_pages import to_html, to_markdown

    runs = load_runs(options.runs) if options.runs else []
    found = entries(load(), runs)
    text = (to_html if options.html else to_markdown)(found, runs, alone(load(), runs))
    if options.out is None:
        print(text)
        return
    written = write_atomically(options.out, text.encode("utf-8"))
    run = sum(entry.ours is not None for entry in found)
    print(f"{len({entry.number for entry in found})} published numbers, {run} comparisons: {written}")


if __name__ == "__main__":
    sys.exit(main(ledger, Ledger, (__doc__ or "").split("\n\n")[0]))
