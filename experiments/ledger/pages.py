"""Text of the ledger: one section a published table, as Markdown or as one HTML page."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from dalib.core.run_folders import Run
from dalib.report import page
from dalib.report.statistics import Interval
from experiments.ledger.alone import Together
from experiments.ledger.compare import Entry
from experiments.ledger.published import Number

TITLE = "Ledger: published numbers and ours"
PICKS = {
    "source accuracy": "by source accuracy",
    "V-measure": "by V-measure",
    "IM": "by IM",
    "oracle": "by oracle (target labels)",
}
"""Columns of ours under other rules than the last step."""
ALONE = "Ours without a published number"
RUN_HEAD = ("method", "task", "published", "ours", *PICKS.values(), "seeds", "verdict", "differences")


class Section(NamedTuple):
    """One published table: numbers that were run, and rows that were not."""

    title: str
    facts: str
    run: tuple[tuple[str, ...], ...]
    open_head: tuple[str, ...]
    open: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def sections(entries: Iterable[Entry]) -> list[Section]:
    """The entries by published table, in the file's order."""
    found = []
    for _, members in groupby(entries, key=lambda entry: entry.number.table):
        listed = list(members)
        first = listed[0].number
        facts = [f"setting {first.setting}", f"net {first.backbone}", f"split {first.split}"]
        facts += [f"data: {first.variant}"] if first.variant else []
        columns = list(dict.fromkeys(_column(entry.number) for entry in listed))
        rows = {}
        for entry in listed:
            rows.setdefault(_row(entry.number), []).append(entry)
        run, open_rows, notes = [], [], []
        for (label, selection, seeds, note), own in rows.items():
            notes += [f"{label}: {note}"] if note else []
            if any(entry.ours is not None for entry in own):
                run += [_run_line(entry) for entry in own]
                continue
            values = {_column(entry.number): _published(entry.number) for entry in own}
            state = ", ".join(dict.fromkeys(entry.verdict for entry in own))
            open_rows.append((label, *(values.get(c, "–") for c in columns), f"{selection}; {seeds}", state))
        found.append(
            Section(
                title=f"{first.benchmark}: {first.where}",
                facts="; ".join(facts),
                run=tuple(run),
                open_head=("method", *columns, "their epoch; seeds", "ours"),
                open=tuple(open_rows),
                notes=tuple(dict.fromkeys(notes)),
            )
        )
    return found


def _row(number: Number) -> tuple[str, str, str, str]:
    seeds = "not stated" if number.seeds == 0 else f"n = {number.seeds}"
    return f"{number.label} ({number.title})", number.selection, seeds, number.note


def _column(number: Number) -> str:
    plain = number.metric in ("accuracy", "mean_class_accuracy", "h_score", "error")
    alone = number.metric if plain else number.metric.partition(":")[2]
    return f"{number.task}, {alone.replace('_', ' ')}" if number.metric != "accuracy" else number.task


def _published(number: Number) -> str:
    text = f"{number.value:.{number.decimals}f}"
    return text if math.isnan(number.spread) else f"{text} ± {number.spread:.{number.decimals}f}"


def _ours(interval: Interval | None, digits: int, *, sure: bool = False) -> str:
    if interval is None:
        return "–"
    if sure:
        return f"{interval.mean:.2f}"
    half = "–" if math.isnan(interval.half_width) else f"{interval.half_width:.{digits}f}"
    return f"{interval.mean:.{digits}f} ± {half}"


def _run_line(entry: Entry) -> tuple[str, ...]:
    number = entry.number
    digits = max(number.decimals, 1)
    exact = entry.ours is not None and entry.ours.half_width == 0
    ours = _ours(entry.ours, digits, sure=exact)
    return (
        _row(number)[0],
        _column(number),
        _published(number),
        ours,
        *(_ours(entry.picks.get(name), digits) for name in PICKS),
        "none needed" if exact else str(len(entry.seeds)) if entry.seeds else "–",
        entry.verdict,
        "; ".join(entry.differences) or "–",
    )


def _alone(part: Together) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of runs that no number is compared with."""
    several = len(part.tasks) > 1
    head = ("method", *part.tasks, *(["mean"] if several else []), *PICKS.values(), "seeds")
    rows = [
        (
            row.method,
            *(_ours(row.cells.get(task), 1, sure=not row.seeds) for task in part.tasks),
            *([_ours(row.mean, 1, sure=not row.seeds)] if several else []),
            *(_ours(row.picks.get(name), 1) for name in PICKS),
            str(row.seeds or "none needed"),
        )
        for row in part.rows
    ]
    return head, rows


def _words(entries: Sequence[Entry], runs: Sequence[Run]) -> list[str]:
    numbers = {entry.number for entry in entries}
    done = {entry.number for entry in entries if entry.ours is not None}
    finished = [run for run in runs if run.finished]
    commits = sorted({str(run.config.get("git"))[:12] for run in finished if run.config.get("git")})
    counts = {
        word: sum(e.ours is not None and e.verdict.startswith(word) for e in entries)
        for word in ("inside", "above", "below")
    }
    lines = [
        f"{len(numbers)} published numbers; {len(done)} of them have been run, the others say so.",
        "Ours comes from run records alone: the target's test score (%) at the last step, mean ± half-width of the "
        "95 % Student-t interval over seeds. Closed-form methods have no randomness, hence no interval.",
        "Columns “by …”: ours with the epoch of each run picked by that rule; the oracle's pick used target labels: it "
        "bounds what a rule can reach, and stands beside numbers that were chosen in this way.",
        "Verdict: inside when our interval and the published number (its rounding and its ± included) meet; else ours "
        "is above or below. A published row is a band with a protocol: read the differences first.",
    ]
    if finished:
        lines.append(
            f"{len(finished)} finished runs; comparisons: " + ", ".join(f"{n} {word}" for word, n in counts.items())
            + (f"; commits {', '.join(commits)}." if commits else ".")
        )  # fmt: skip
    return lines


def to_markdown(entries: Sequence[Entry], runs: Sequence[Run], alone: Sequence[Together] = ()) -> str:
    """The ledger as Markdown."""

    def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
        lines = [head, ["---"] * len(head), *rows]
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]

    lines = [f"# {TITLE}", "", "Generated by `python -m experiments.ledger`; do not edit.", ""]
    for words in _words(entries, runs):
        lines += [words, ""]
    lines += [f"## {ALONE}", ""] if alone else []
    for own in alone:
        lines += [f"### {own.title}", "", f"{own.facts[:1].upper()}{own.facts[1:]}.", "", *table(*_alone(own)), ""]
    for part in sorted(sections(entries), key=lambda part: not part.run):
        lines += [f"## {part.title}", "", f"{part.facts[:1].upper()}{part.facts[1:]}.", ""]
        lines += [*table(RUN_HEAD, part.run), ""] if part.run else []
        lines += [*table(part.open_head, part.open), ""] if part.open else []
        lines += [f"- {note}" for note in part.notes] + [""] * bool(part.notes)
    return "\n".join(lines).rstrip("\n") + "\n"


def to_html(entries: Sequence[Entry], runs: Sequence[Run], alone: Sequence[Together] = ()) -> str:
    """The ledger as one self-contained page."""
    parts = ["".join(page.paragraph(words) for words in _words(entries, runs))]
    parts += [f"<h2>{page.escape(ALONE)}</h2>"] if alone else []
    for own in alone:
        parts.append(f"<h3>{page.escape(own.title)}</h3>{page.paragraph(own.facts)}{page.grid(*_alone(own))}")
    for part in sorted(sections(entries), key=lambda part: not part.run):
        body = page.paragraph(part.facts)
        body += page.grid(RUN_HEAD, part.run) if part.run else ""
        body += page.grid(part.open_head, part.open) if part.open else ""
        body += page.bullets(part.notes) if part.notes else ""
        parts.append(f"<h2>{page.escape(part.title)}</h2>{body}" if part.run else page.folded(part.title, body))
    return page.page(TITLE, "\n".join([f"<h1>{page.escape(TITLE)}</h1>", *parts]))
