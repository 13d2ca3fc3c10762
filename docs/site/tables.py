"""Tables in the pages of methods: facts from the code, numbers from the ledger; nothing is typed by hand."""

import re
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "RESULTS.md"
TESTED = "[how they are tested](index.md#how-they-are-tested)"
NONE = f"No run of these methods on real data is in the ledger yet; see {TESTED}."


def of_methods(names: list[str]) -> str:
    """Name, level, updates, own parameters, BatchNorm convention, hyper-parameters and paper of some methods."""
    from dalib.run.cli.catalogue import rows

    found = {row.name: row for row in rows()}
    lines = [
        "| name | level | updates in a step | own parameters | BatchNorm | hyper-parameters | paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        row = found[name]
        paper = re.sub(r"arXiv (\d+\.\d+)", r"[arXiv \1](https://arxiv.org/abs/\1)", row.paper)
        cells = (f"`{name}`", row.level, row.updates, row.own, row.batch_norm, row.hyperparameters, paper)
        lines.append("| " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines)


class Table(NamedTuple):
    """A table of the ledger with what is said above it."""

    section: str
    said: str
    head: list[str]
    rows: list[list[str]]


def ledger() -> list[Table]:
    """The tables of the ledger in their order."""
    found, section, said, head, rows = [], "", "", [], []
    for line in [*RESULTS.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not head:
                head = cells
            elif set(line) - set("|- :"):
                rows.append(cells)
            continue
        if head:
            found.append(Table(section, said, head, rows))
            head, rows = [], []
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.strip():
            said = line
    return found


def of_numbers(names: list[str]) -> str:
    """What the ledger holds of some methods: our runs, then published numbers that ours are compared with.

    Each name may bring labels of the publications, ``dann=DANN|GRL (DANN)``.
    """
    labels = {name.partition("=")[0]: name.partition("=")[2].split("|") for name in names}
    tables = ledger()
    parts = [
        _alone(tables, list(labels)),
        _beside(tables, [label for some in labels.values() for label in some if label]),
    ]
    return "\n\n".join(part for part in parts if part) or NONE


def _alone(tables: list[Table], names: list[str]) -> str:
    lines = []
    for table in tables:
        if "published" in table.head or "ours" in table.head:
            continue
        column = table.head.index("mean") if "mean" in table.head else 1
        what = "mean of all tasks" if column > 1 else table.head[1]
        rows = {row[0].partition(" (")[0]: row for row in table.rows}
        for row in table.rows:
            if row[0].partition(" (")[0] in names and row[column] != "–":
                base = rows["source_only"][column] if "source_only" in rows else "–"
                where = f"{table.section.partition(',')[0]}: {table.said.rstrip('.')}"
                lines.append(f"| {row[0]} | {where} | {what} | {base} | **{row[column]}** | {row[-1]} |")
    if not lines:
        return ""
    head = ["| method | data and protocol | task | source-only | method | seeds |", "|---|---|---|---|---|---|"]
    return "\n".join(["Target accuracy in %, last step, from run records:", "", *head, *lines])


def _beside(tables: list[Table], labels: list[str]) -> str:
    lines = []
    for table in tables:
        if "verdict" not in table.head:
            continue
        task, published, ours, seeds, verdict = (
            table.head.index(name) for name in ("task", "published", "ours", "seeds", "verdict")
        )
        for row in table.rows:
            if any(row[0].startswith(f"{label} (") for label in labels) and row[ours] not in ("–", "not run"):
                cells = (row[0], row[task], row[published], f"**{row[ours]}**", row[seeds], row[verdict])
                lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return ""
    head = ["| published as | task | published | ours | seeds | verdict |", "|---|---|---|---|---|---|"]
    note = "Published numbers and ours; the protocols differ as [the ledger](../ledger/numbers.md) says row by row:"
    return "\n".join(
        [
            f'??? note "{len(lines)} comparisons with published numbers"',
            "",
            *(f"    {line}" for line in (note, "", *head, *lines)),
        ]
    )
