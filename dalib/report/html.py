"""One self-contained page for a set of runs: tables, figures, configuration, and reasons for doubt."""

import os
import shlex
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.checks import InputError, input_error
from dalib.core.files import check_file_path, write_atomically
from dalib.core.run_folders import Run
from dalib.report import figures, page
from dalib.report.notes import data_fingerprints, doubts, reading_notes, unfinished
from dalib.report.statistics import finished, group_runs, headline, last_step_pick, method_label, protocol
from dalib.report.tables import accuracy_table, headline_of, selection_table, to_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 150
"""Of each domain in a picture of the features: an embedding's time grows faster than their number."""
PERPLEXITY = 30.0


def write_report(
    runs: Iterable[Run],
    path: str | os.PathLike[str],
    *,
    title: str = "Domain adaptation: report of runs",
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write one HTML file that holds everything, pictures included, and needs neither network nor scripts.

    Args:
        runs: from ``load_runs``; unfinished ones are listed and left out of every number and figure.
        path: the file; an existing one is replaced at once when the new one is complete.
        title: heading of the page.
        say: told what is being drawn, which takes seconds for each task.

    Raises:
        InputError: without runs, if they cannot be grouped (``group_runs``), if ``path`` cannot be a file, or if the
            extra ``report`` is not installed.
    """
    runs = [run for members in group_runs(runs).values() for run in members]
    if not runs:
        raise input_error("runs", got="none", expected="at least one run")
    # Before the figures: a path that cannot be written must not cost minutes.
    check_file_path(path)
    tasks = list(dict.fromkeys(run.task for run in runs))
    say(f"report: tables of {_count(len(runs), 'run')}")
    parts = [_head(runs, tasks, title), _results(runs)]
    for i, task in enumerate(tasks):
        say(f"report: figures of task {i + 1} of {len(tasks)}, {task}")
        parts.append(_task(runs, task, f"task-{i}"))
    parts += [_setting(runs), _notes(runs), _all_runs(runs)]
    return write_atomically(path, page.page(title, "\n".join(parts)).encode("utf-8"))


def _head(runs: list[Run], tasks: list[str], title: str) -> str:
    done, open_runs = finished(runs), unfinished(runs)
    methods = list(dict.fromkeys(method_label(run) for run in runs))
    seeds = sorted({run.seed for run in done})
    lead = f"{_count(len(done), 'finished run')}: {_count(len(methods), 'row')} × {_count(len(tasks), 'task')}"
    lead += f", seed{'s'[: len(seeds) - 1]} {', '.join(map(str, seeds))}." if seeds else "."
    links = [("results", "Results"), *((f"task-{i}", task) for i, task in enumerate(tasks))]
    links += [("setting", "What was run"), ("notes", "How to read this"), ("runs", "All runs")]
    items = "".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in links)
    parts = [f"<header><h1>{escape(title)}</h1>", page.paragraph(lead, kind="lead"), f"<nav><ul>{items}</ul></nav>"]
    if open_runs:
        parts.append(page.warning(f"{_count(len(open_runs), 'unfinished run')}, not used in any number:", open_runs))
    if doubtful := doubts(runs):
        parts.append(page.warning("The records raise doubts:", doubtful))
    return "".join(parts) + "</header>"


SECOND_TABLES = {
    "h_score": "H-score (harmonic mean of the known classes' mean accuracy and the share of unknowns found)",
    "mean_class_accuracy": "Mean class accuracy (every class weighs the same)",
    "mean_absolute_error": "Mean absolute error (of regressions; lower is better)",
    "root_mean_squared_error": "Root mean squared error (of regressions; lower is better)",
    "r2": "R² (of regressions)",
}
"""Metrics that have a table of their own where a run has recorded them."""


def _results(runs: list[Run]) -> str:
    parts = ['<h2 id="results">Results</h2>', to_html(accuracy_table(runs))]
    what = headline_of(runs).replace("_", " ")
    caption = (
        f"Target test {what} at the last step. The marker is the mean over seeds, the bar its 95 % Student-t "
        "interval, small dots are single seeds; the shaded strip is source-only's interval. A bar that does not touch "
        "the strip is marked ▲ or ▼ in the table. Axes differ between tasks."
    )
    alt = f"Dot plot of target test {what} with intervals, one panel a task"
    parts.append(_figure(lambda: figures.accuracy_figure(runs), alt, caption))
    recorded = {name for run in finished(runs) for e in run.evaluations if e.oracle for name in e.metrics}
    for metric, title in SECOND_TABLES.items():
        if metric in recorded and metric != headline_of(runs):
            parts.append(page.folded(title, to_html(accuracy_table(runs, metric=metric))))
    return "\n".join(parts)


def _task(runs: list[Run], task: str, anchor: str) -> str:
    styles = figures.method_styles(runs)
    first = next((run for run in finished(runs) if run.task == task and run.final is not None), None)
    dimensions = f"{first.final.features_source.shape[1]}-dimensional " if first and first.final else ""
    pca = "reduced by PCA to 30 dimensions and " if first and first.final and _wide(first) else ""
    return "\n".join(
        [
            f'<h2 id="{anchor}">{escape(task)}</h2>',
            to_html(selection_table(runs, task)),
            "<h3>Learning curves</h3>",
            _figure(
                lambda: figures.curves_figure(runs, task, styles=styles),
                f"Learning curves of all methods, {task}",
                "Lines are means over seeds, bands reach from the lowest to the highest seed. The target's "
                "headline score is the last point, not the highest. Losses and domain accuracy come from training "
                "batches, so they are noisy. A domain accuracy near 1 means that the discriminator tells the domains "
                "apart; near 0.5 it does not, either because features are aligned or because it fails to learn. The "
                "loss terms of different methods have different scales and cannot be compared with each other.",
            ),
            "<h3>Confusion matrices</h3>",
            _figure(
                lambda: figures.confusion_figure(runs, task),
                f"Confusion matrices of all methods, {task}",
                "Target test split at the last step, counts added up over seeds. Rows are true classes, columns "
                "predictions, the shade is the share of the row; empty cells are zero. Dark cells off the diagonal are "
                "classes that a method exchanges; a dark column is a class that it falls back to.",
            ),
            "<h3>Feature space</h3>",
            _figure(
                lambda: figures.features_figure(runs, task, max_points=MAX_POINTS, perplexity=PERPLEXITY),
                f"Feature space by domain and by class, {task}",
                f"The {dimensions}features of the first finished seed, {pca}embedded by t-SNE, both domains together "
                f"(perplexity {PERPLEXITY:g}, at most {MAX_POINTS} examples a domain, fixed random state). Above, "
                "colour is the domain: mixed colours mean that the method brought the domains together. Below, colour "
                "is the true class, circles are source and crosses target examples; up to 20 classes have a name at "
                "the middle of their source examples. A cross among circles of another colour is likely to be "
                "misclassified. An oracle has not seen the source and may show the target alone. Each panel is an "
                "embedding of its own: distances between clusters, their sizes and their orientation mean little, and "
                "panels are not on one scale.",
            ),
        ]
    )


def _wide(run: Run) -> bool:
    assert run.final is not None
    points = sum(min(MAX_POINTS, len(x)) for x in (run.final.features_source, run.final.features_target))
    return min(points, run.final.features_source.shape[1]) > 30


def _figure(draw: Callable[[], "Figure"], alt: str, caption: str) -> str:
    try:
        return page.picture(figures.png(draw()), alt=alt, caption=caption)
    except InputError as error:
        # A figure without data is a sentence on the page; a missing library ends the report.
        if "install the extra" in str(error):
            raise
        return page.paragraph(f"Not shown: {error}", kind="lead")


def _setting(runs: list[Run]) -> str:
    commands = list(dict.fromkeys(_command(run) for run in runs if run.config.get("command")))
    parts = ['<h2 id="setting">What was run</h2>']
    if commands:
        parts.append("".join(f"<pre>{escape(command)}</pre>" for command in commands))
    # Numbers of different code or versions may differ without any method being better.
    commits = sorted({str(run.config.get("git") or "not recorded") for run in runs})
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in (run.config.get("versions") or {}).items():
            versions.setdefault(str(name), set()).add(str(version))
    rows = [("git commit", ", ".join(commits))]
    rows += [(name, ", ".join(sorted(values))) for name, values in sorted(versions.items())]
    parts += ["<h3>Versions</h3>", page.grid(("what", "version"), rows, code=True)]
    if any(commit.endswith("+") for commit in commits):
        parts.append(page.paragraph("A commit with + had files that differed from it.", kind="lead"))
    prints = sorted({(name, str(digest)) for run in runs for name, digest in data_fingerprints(run).items()})
    if prints:
        parts += ["<h3>Data</h3>", page.grid(("domain", "sha256"), prints, code=True)]
    return "\n".join([*parts, "<h3>Configuration</h3>", _configuration(runs)])


def _configuration(runs: list[Run]) -> str:
    """Show the settings that all runs share, and those in which methods differ, without task and seed."""
    flat = [{k: v for k, v in protocol(run).items() if k not in ("source", "target", "role")} for run in runs]
    keys = sorted({key for entries in flat for key in entries})
    # Only differences are worth a column; the rest is folded away.
    shared = [key for key in keys if all(key in entries and entries[key] == flat[0][key] for entries in flat)]
    differing = [key for key in keys if key not in shared]
    parts = []
    if differing:
        labels = list(dict.fromkeys(method_label(run) for run in runs))
        rows = []
        for label in labels:
            mine = [entries for run, entries in zip(runs, flat, strict=True) if method_label(run) == label]
            values = [list(dict.fromkeys(_value(entries, key) for entries in mine)) for key in differing]
            rows.append((label, *(" / ".join(v) for v in values)))
        parts.append(page.grid(("row", *differing), rows, code=True))
    rows = [(key, _value(flat[0], key)) for key in shared]
    parts.append(page.folded("The same in all runs", page.grid(("setting", "value"), rows, code=True)))
    return "\n".join(parts)


def _value(entries: dict[str, object], key: str) -> str:
    return str(entries[key]) if entries.get(key) is not None else "–"


def _command(run: Run) -> str:
    command = run.config["command"]
    return command if isinstance(command, str) else shlex.join(map(str, command))


def _notes(runs: list[Run]) -> str:
    return "\n".join(['<h2 id="notes">How to read this</h2>', page.bullets(reading_notes(runs))])


def _all_runs(runs: list[Run]) -> str:
    # Relative folders: a report is passed on, and absolute ones name a machine.
    root = Path(os.path.commonpath([run.path.resolve().parent for run in runs]))
    rows = []
    for run in runs:
        pick = last_step_pick(run)
        seconds = f"{run.end.seconds:.0f} s" if run.end else "unfinished"
        if run.end and run.end.together > 1:
            seconds += f" for {run.end.together} runs at once"
        plain = headline(run) != "accuracy"
        # An unfinished run has no headline score, whatever it logged.
        score = "–"
        if pick and run.finished:
            score = (
                f"{pick.accuracy:.4g}, {headline(run).replace('_', ' ')}" if plain else f"{100 * pick.accuracy:.1f} %"
            )
        folder = run.path.resolve().relative_to(root).as_posix()
        rows.append((method_label(run), run.task, str(run.seed), str(run.last_step), seconds, score, folder))
    head = ("method", "task", "seed", "last step", "wall time", "target test score", "folder")
    return f'<h2 id="runs">All runs</h2>\n{page.folded(_count(len(runs), "run"), page.grid(head, rows))}'


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
