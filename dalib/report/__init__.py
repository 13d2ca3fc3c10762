"""Reports from run records alone: tables, figures and one self-contained HTML page.

``load_runs`` reads run folders, ``accuracy_table`` and ``selection_table`` count, ``write_report`` puts everything on a
page. matplotlib and scikit-learn (extra ``report``) are imported when a figure is drawn, not before.
"""

from dalib.core.run_folders import Run, load_runs
from dalib.report.html import write_report
from dalib.report.statistics import (
    Interval,
    Pick,
    group_runs,
    last_step_pick,
    mean_interval,
    oracle_pick,
    source_validated_pick,
    validator_pick,
)
from dalib.report.tables import Table, accuracy_table, selection_table, to_html, to_markdown, to_text

__all__ = [
    "Interval",
    "Pick",
    "Run",
    "Table",
    "accuracy_table",
    "group_runs",
    "last_step_pick",
    "load_runs",
    "mean_interval",
    "oracle_pick",
    "selection_table",
    "source_validated_pick",
    "to_html",
    "to_markdown",
    "to_text",
    "validator_pick",
    "write_report",
]
