"""``dalib report RUNS… --out report.html``: the tables on the terminal and the page in a file."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from dalib.core.checks import InputError
from dalib.core.run_folders import load_runs
from dalib.report.html import write_report
from dalib.report.notes import doubts, unfinished
from dalib.report.tables import accuracy_table, selection_table, to_markdown, to_text


def main(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    out: Path = Path("report.html"),
    title: str = "Domain adaptation: report of runs",
    markdown: bool = False,
) -> None:
    """Tables and one self-contained HTML page from run folders.

    Args:
        runs: Folders of runs, or folders that hold some at any depth.
        out: The page to write.
        title: Its heading.
        markdown: Print the tables as Markdown.
    """
    loaded = load_runs(runs)
    written = write_report(loaded, out, title=title, say=lambda text: print(text, file=sys.stderr, flush=True))
    show = to_markdown if markdown else to_text
    print(show(accuracy_table(loaded)))
    for task in dict.fromkeys(run.task for run in loaded):
        print(show(selection_table(loaded, task)))
    for line in [f"unfinished, not counted: {line}" for line in unfinished(loaded)] + doubts(loaded):
        print(line)
    print(f"report: {written}")


def cli(arguments: list[str] | None = None) -> int:
    """Run ``main`` on command-line arguments; an input error is printed without a traceback and gives status 2."""
    try:
        tyro.cli(main, args=arguments, prog="dalib report")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(cli())
