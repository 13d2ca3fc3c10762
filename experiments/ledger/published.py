"""The published numbers of ``published.toml``, read and checked."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dalib.core.checks import InputError
from dalib.methods import METHODS, TEST_TIME
from dalib.methods.classic import CLASSIC

PATH = Path(__file__).with_name("published.toml")
MEAN = "mean"
FRACTIONS = ("accuracy", "mean_class_accuracy", "h_score")
METRICS = (*FRACTIONS, "error")
SETTINGS = ("closed set", "partial", "open set", "several sources", "domain generalisation", "test time")
SPLITS = ("transductive", "held out")


class Number(NamedTuple):
    """One published number with its protocol.

    Attributes:
        table: id of its table in the file.
        benchmark: the data's, as in the run records.
        task: ``source → target``, or ``mean`` over the tasks of ``tasks``.
        tasks: the tasks that a mean is over: all of the table's, or where it prints the mean alone, all that another
            table lists for the benchmark in this setting (empty if none does).
        label: the method as the source calls it.
        method: dalib's name for it, ``""`` where dalib has none.
        classifier: on top of features, ``""`` for nets.
        metric: ``accuracy``, ``mean_class_accuracy``, ``class_accuracy:<class>``, ``h_score`` or ``error``.
        value: in %, as printed.
        spread: the printed ±, nan where there is none.
        decimals: printed digits after the point.
        title: of the paper or repository.
        place: where the source is to be found.
        where: table of the source.
        setting: closed set, partial, …
        backbone: net, or ``features``.
        split: transductive or held out.
        variant: form of the data, ``""`` where the benchmark has one only.
        selection: the source's rule for choosing the epoch.
        seeds: runs of the number; 0 where the source does not say.
        note: further facts.
    """

    table: str
    benchmark: str
    task: str
    tasks: tuple[str, ...]
    label: str
    method: str
    classifier: str
    metric: str
    value: float
    spread: float
    decimals: int
    title: str
    place: str
    where: str
    setting: str
    backbone: str
    split: str
    variant: str
    selection: str
    seeds: int
    note: str


def load(path: Path = PATH) -> list[Number]:
    """All published numbers, in the order of the file.

    Raises:
        InputError: for a file that is not TOML, or with every fault that it has: unknown keys, methods, sources,
            settings or metrics, repeated tables, rows of another length than their tasks, values out of range.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"published numbers: {path.name} can't be read ({error})") from None
    numbers: list[Number] = []
    faults: list[str] = []
    sources, seen = content.get("source", {}), set()
    tables = content.get("table", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in [*tables, sources]):
        raise InputError(f"published numbers: {path.name} has no list of tables [[table]]")
    for table in tables:
        name = str(table.get("id"))
        faults += [f"{name}: the id stands twice"] * (name in seen)
        seen.add(name)
        try:
            faults += _table_faults(name, table)
            for row in table["rows"]:
                found = _row_faults(f"{name}, {row.get('label')}", table, row, sources)
                faults += found
                if not found:
                    numbers += _numbers(table, row, sources[row["source"]])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            faults.append(f"{name}: {error!r}")
    if faults or not numbers:
        listed = "\n".join(f"  {fault}" for fault in faults[:20]) or "  no table"
        listed += f"\n  … and {len(faults) - 20} more" * (len(faults) > 20)
        raise InputError(f"published numbers: {path.name} is wrong in {max(len(faults), 1)} places:\n{listed}")
    whole: dict[tuple[str, str], tuple[str, ...]] = {}
    for number in numbers:
        key = number.benchmark, number.setting
        if len(number.tasks) > len(whole.get(key, ())):
            whole[key] = number.tasks
    return [n if n.tasks else n._replace(tasks=whole.get((n.benchmark, n.setting), ())) for n in numbers]


KEYS = {"id", "benchmark", "where", "setting", "backbone", "split", "variant", "metric", "note", "tasks", "metrics"}
ROW_KEYS = {"label", "method", "classifier", "source", "selection", "seeds", "note", "decimals", "values", "spread"}


def _table_faults(name: str, table: Mapping[str, Any]) -> list[str]:
    faults = [f"{name}: unknown key {key}" for key in sorted(set(table) - KEYS - {"rows"})]
    faults += [f"{name}: no {key}" for key in sorted(KEYS - {"variant", "note", "metrics"} - set(table))]
    if faults:
        return faults
    faults += [f"{name}: unknown setting {table['setting']!r}"] * (table["setting"] not in SETTINGS)
    faults += [f"{name}: unknown split {table['split']!r}"] * (table["split"] not in SPLITS)
    metrics = table.get("metrics", [table["metric"]] * len(table["tasks"]))
    for metric in {*metrics, table["metric"]} - set(METRICS):
        faults += [f"{name}: unknown metric {metric!r}"] * (not metric.startswith("class_accuracy:"))
    faults += [f"{name}: {len(metrics)} metrics for {len(table['tasks'])} tasks"] * (
        len(metrics) != len(table["tasks"])
    )
    faults += [f"{name}: task {t!r} is not 'source → target'" for t in table["tasks"] if t != MEAN and " → " not in t]
    twice = len(set(zip(table["tasks"], metrics, strict=False))) != min(len(table["tasks"]), len(metrics))
    return faults + [f"{name}: a task stands twice"] * twice


def _row_faults(name: str, table: Mapping[str, Any], row: Mapping[str, Any], sources: Mapping[str, Any]) -> list[str]:
    faults = [f"{name}: unknown key {key}" for key in sorted(set(row) - ROW_KEYS)]
    faults += [f"{name}: no {key}" for key in sorted(ROW_KEYS - {"classifier", "note", "spread"} - set(row))]
    if faults:
        return faults
    method, count = row["method"], len(table["tasks"])
    known = {"", "oracle", *METHODS, *CLASSIC, *TEST_TIME}
    faults += [f"{name}: unknown method {method!r}"] * (method not in known)
    faults += [f"{name}: unknown source {row['source']!r}"] * (row["source"] not in sources)
    faults += [f"{name}: seeds {row['seeds']!r}"] * (type(row["seeds"]) is not int or row["seeds"] < 0)
    faults += [f"{name}: decimals {row['decimals']!r}"] * (row["decimals"] not in (0, 1, 2))
    for key in ("values", "spread"):
        numbers = row.get(key, [math.nan] * count)
        faults += [f"{name}: {len(numbers)} {key} for {count} tasks"] * (len(numbers) != count)
        wrong = [x for x in numbers if not (math.isnan(x) or 0 <= x <= 100)]
        faults += [f"{name}: {key} outside 0 … 100: {wrong}"] * bool(wrong)
    faults += [f"{name}: no value"] * all(map(math.isnan, row["values"]))
    return faults


def _numbers(table: Mapping[str, Any], row: Mapping[str, Any], source: Mapping[str, str]) -> list[Number]:
    tasks = table["tasks"]
    metrics = table.get("metrics", [table["metric"]] * len(tasks))
    spread = row.get("spread", [math.nan] * len(tasks))
    notes = [note for note in (row.get("note"), table.get("note")) if note]
    return [
        Number(
            table=table["id"],
            benchmark=table["benchmark"],
            task=task,
            tasks=tuple(t for t in tasks if t != MEAN) if task == MEAN else (task,),
            label=row["label"],
            method=row["method"],
            classifier=row.get("classifier", ""),
            metric=metric,
            value=float(value),
            spread=float(half),
            decimals=row["decimals"],
            title=source["title"],
            place=source["place"],
            where=table["where"],
            setting=table["setting"],
            backbone=table["backbone"],
            split=table["split"],
            variant=table.get("variant", ""),
            selection=row["selection"],
            seeds=row["seeds"],
            note="; ".join(notes),
        )
        for task, metric, value, half in zip(tasks, metrics, row["values"], spread, strict=True)
        if not math.isnan(value)
    ]
