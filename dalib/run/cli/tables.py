"""Closing output of a command that trained: tables, and the path of the report."""

from collections.abc import Sequence
from pathlib import Path

from dalib.run.cli.progress import say


def show_tables(folders: Sequence[Path], metrics: Sequence[str | None], page: Path | None) -> None:
    """Print a table of each score over finished and unfinished runs, and write the report.

    Args:
        folders: of the runs; without any nothing is printed.
        metrics: recorded scores; None for the headline score.
        page: of the report; None for none, which needs no package for figures.
    """
    from dalib import report

    if not folders:
        return
    runs = report.load_runs(folders)
    for metric in metrics:
        print(report.to_text(report.accuracy_table(runs, metric=metric)))
    if page is not None:
        print(f"\nreport: {report.write_report(runs, page, say=say).resolve()}")
