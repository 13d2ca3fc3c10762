"""Tables of accuracies over seeds, as plain text, Markdown or HTML."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from typing import NamedTuple

from dalib.core.checks import input_error
from dalib.core.run_folders import Run, is_source_only
from dalib.report.statistics import (
    LOWER,
    PLAIN,
    SOURCE_ONLY,
    Interval,
    Pick,
    compare,
    finished,
    group_runs,
    headline,
    last_step_pick,
    mean_interval,
    method_label,
    oracle_pick,
    source_validated_pick,
    validator_pick,
    validators,
)

SIGNS = {1: "▲", -1: "▼", 0: ""}
COLUMN_LAST = "last step"
COLUMN_SOURCE = "source-validated pick"
COLUMN_VALIDATORS = {
    "v_measure": "V-measure pick",
    "im": "IM pick",
    "bnm": "BNM pick",
    "corr_c": "Corr-C pick",
    "entropy": "entropy pick",
    "snd": "SND pick",
}
COLUMN_ORACLE = "oracle pick (uses target labels)"


class Cell(NamedTuple):
    """Mean over ``n`` seeds with its 95 % half-width, both fractions, or in the unit of a plain score.

    ``sign`` is 1 (−1) where the interval is wholly above (below) source-only's; of an error the other way round, so
    that 1 is better throughout.
    """

    mean: float
    half_width: float
    n: int
    sign: int = 0
    percent: bool = True


class Row(NamedTuple):
    """One method: its label, its cells (None where there is nothing to show) and whether it is an oracle."""

    label: str
    cells: tuple[Cell | None, ...]
    oracle: bool = False


class Table(NamedTuple):
    """A table apart from its rendering; ``notes`` explain the signs that it uses."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def headline_of(runs: Iterable[Run]) -> str:
    """Return the headline score of some runs: accuracy, but where all are regressions the mean absolute error."""
    found = {headline(run) for run in runs}
    return found.pop() if len(found) == 1 else "accuracy"


def accuracy_table(runs: Iterable[Run], *, metric: str | None = None) -> Table:
    """Make the headline table: methods against tasks, each cell the last step's target test score over seeds.

    Source-only comes first, then the methods by name, oracles last; unfinished runs are left out of every number.
    ``metric`` is a recorded score, such as ``mean_class_accuracy``; None takes :func:`headline_of`. Raises an
    InputError without runs, or if they cannot be grouped (``group_runs``).
    """
    groups = _grouped(runs)
    metric = metric or headline_of(run for members in groups.values() for run in members)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    rows = []
    for name, first in _methods(groups).items():
        rule: Rule = partial(last_step_pick, metric=metric)
        cells = [_cells(groups, task, name, [rule], metric)[0] for task in tasks]
        rows.append(Row(method_label(first), tuple(cells), first.role == "oracle"))
    what = metric.replace("_", " ")
    unit = "" if metric in PLAIN else " (%)"
    return Table(f"Target test {what}{unit} at the last step", tuple(tasks), tuple(rows), _notes(rows, metric))


def selection_table(runs: Iterable[Run], task: str) -> Table:
    """Make a table of one task by selection rule: last step, source-validated, validators', and oracle pick.

    The oracle pick uses target labels and says so. The rules are applied to each run and then averaged; signs compare
    with source-only under the same rule. Errors are those of :func:`accuracy_table`.
    """
    # Rules are applied to each run before averaging: a mean curve would pick a step that no run has picked.
    groups = {key: members for key, members in _grouped(runs).items() if key[0] == task}
    if not groups:
        raise input_error("task", got=repr(task), expected="a task that the runs have")
    metric = headline_of(run for members in groups.values() for run in members)
    names = validators(run for members in groups.values() for run in members)
    rules: list[Rule] = [last_step_pick, source_validated_pick]
    rules += [partial(validator_pick, validator=name) for name in names]
    rules.append(oracle_pick)
    rows = []
    for name, first in _methods(groups).items():
        cells = _cells(groups, task, name, rules, metric)
        rows.append(Row(method_label(first), tuple(cells), first.role == "oracle"))
    what, unit = metric.replace("_", " "), "" if metric in PLAIN else " (%)"
    title = f"{task}: target test {what}{unit} by selection rule"
    columns = (COLUMN_LAST, COLUMN_SOURCE, *(COLUMN_VALIDATORS[name] for name in names), COLUMN_ORACLE)
    return Table(title, columns, tuple(rows), _notes(rows, metric))


def _grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    groups = group_runs(runs)
    if not groups:
        raise input_error("runs", got="none", expected="at least one run")
    return groups


def _methods(groups: dict[tuple[str, str], list[Run]]) -> dict[str, Run]:
    """Return one run of every method by name, in row order over all tasks."""
    firsts = {name: members[0] for (_, name), members in reversed(groups.items())}
    rank = {name: (2 if run.role == "oracle" else 0 if is_source_only(run) else 1) for name, run in firsts.items()}
    return {name: firsts[name] for name in sorted(firsts, key=lambda name: (rank[name], name))}


Rule = Callable[[Run], Pick | None]


def _cells(
    groups: dict[tuple[str, str], list[Run]], task: str, name: str, rules: Sequence[Rule], metric: str
) -> list[Cell | None]:
    members = finished(groups.get((task, name), []))
    baseline = [run for (t, _), group in groups.items() if t == task for run in finished(group) if is_source_only(run)]
    # Only methods get a sign: source-only is the reference, and an oracle is no method.
    plain = members and not is_source_only(members[0]) and members[0].role == "method"
    cells: list[Cell | None] = []
    for rule in rules:
        # Each rule is compared with source-only under the same rule.
        mine, reference = _interval(members, rule), _interval(baseline, rule)
        sign = compare(mine[0], reference[0]) if plain and mine and reference else 0
        sign = -sign if metric in LOWER else sign
        cells.append(Cell(*mine[0], mine[1], sign, metric not in PLAIN) if mine else None)
    return cells


def _interval(runs: Sequence[Run], rule: Rule) -> tuple[Interval, int] | None:
    values = [pick.accuracy for run in runs if (pick := rule(run)) is not None]
    return (mean_interval(values), len(values)) if values else None


def _notes(rows: Sequence[Row], metric: str) -> tuple[str, ...]:
    cells = [cell for row in rows for cell in row.cells if cell is not None]
    notes = ["mean ± half-width of the 95 % Student-t interval over seeds (number of seeds)"]
    better, worse = ("below", "above") if metric in LOWER else ("above", "below")
    if metric in LOWER:
        notes.append("lower is better")
    if any(cell.sign for cell in cells):
        notes.append(f"▲ / ▼: the interval lies wholly {better} / {worse} that of source-only in the same column")
    elif sum(not row.oracle for row in rows) > 1 and rows[0].label == SOURCE_ONLY and any(c.n > 1 for c in cells):
        notes.append(f"no method's interval lies wholly {better} (▲) or {worse} (▼) that of source-only")
    if any(cell.n == 1 for cell in cells):
        notes.append("± –: one seed has no interval, so no difference can be claimed from it")
    if any(cell is None for row in rows for cell in row.cells):
        notes.append("–: no finished run, or the rule does not apply")
    return tuple(notes)


def format_cell(cell: Cell | None) -> str:
    """Format a cell at constant width: ``78.3 ±  2.1 (3) ▲`` in percent, a plain score in its unit, ``–`` for none."""
    if cell is None:
        return "–"
    if not cell.percent:
        half = "–" if math.isnan(cell.half_width) else f"{cell.half_width:.2g}"
        return f"{cell.mean:8.4g} ± {half.rjust(7)} ({cell.n}) {SIGNS[cell.sign]}".rstrip()
    half = "  –" if math.isnan(cell.half_width) else f"{100 * cell.half_width:4.1f}"
    return f"{100 * cell.mean:5.1f} ± {half.rjust(4)} ({cell.n}) {SIGNS[cell.sign]}".rstrip()


def to_text(table: Table) -> str:
    """Format the table as plain text with a rule under the head and above the oracles, and its notes below."""
    head = ["method", *table.columns]
    # Cells have a constant width, so columns align by themselves.
    body = [[row.label, *map(format_cell, row.cells)] for row in table.rows]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]

    def line(parts: Sequence[str]) -> str:
        return "   ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()

    rule = "─" * (sum(widths) + 3 * (len(widths) - 1))
    lines = [table.title, "", line(head), rule]
    for i, (row, parts) in enumerate(zip(table.rows, body, strict=True)):
        if row.oracle and i and not table.rows[i - 1].oracle:
            lines.append(rule)
        lines.append(line(parts))
    return "\n".join([*lines, "", *table.notes]) + "\n"


def to_markdown(table: Table) -> str:
    """Format the table as GitHub Markdown (pipes in names escaped), with its notes below; oracle rows in italics."""

    def line(parts: Iterable[str]) -> str:
        return "| " + " | ".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts) + " |"

    lines = [line(["method", *table.columns]), "|---|" + "---:|" * len(table.columns)]
    for row in table.rows:
        label = f"*{row.label}*" if row.oracle else row.label
        lines.append(line([label, *(" ".join(format_cell(cell).split()) for cell in row.cells)]))
    return "\n".join([f"**{table.title}**", "", *lines, "", "; ".join(table.notes) + "."]) + "\n"


def to_html(table: Table) -> str:
    """Format the table as an HTML ``<table>`` with caption and notes; every text is escaped."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = []
    for row in table.rows:
        kind = ' class="oracle"' if row.oracle else ""
        cells = "".join(_html_cell(cell) for cell in row.cells)
        rows.append(f'<tr{kind}><th scope="row">{escape(row.label)}</th>{cells}</tr>')
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll"><table class="scores"><caption>{escape(table.title)}</caption>'
        f'<thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f'<ul class="legend">{notes}</ul>'
    )


def _html_cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td>–</td>"
    mean, half = (f"{100 * x:.1f}" if cell.percent else f"{x:.4g}" for x in (cell.mean, cell.half_width))
    half = "–" if math.isnan(cell.half_width) else half
    kind = {1: ' class="up"', -1: ' class="down"', 0: ""}[cell.sign]
    sign = f' <span class="sign">{SIGNS[cell.sign]}</span>' if cell.sign else ""
    return f'<td{kind}><b>{mean}</b> ± {half} <span class="n">({cell.n})</span>{sign}</td>'
