"""The ledger: every published number with ours, which come from run records alone.

    python -m experiments.ledger RUNS…                         # Markdown on the terminal
    python -m experiments.ledger RUNS… --out experiments/RESULTS.md
    python -m experiments.ledger RUNS… --html --out ledger.html
    python -m experiments.ledger                               # no runs: every number says "not run"

A run is compared with a number when benchmark, task, method, setting and (on features) classifier agree and both do
not state different forms of the data. What else differs is listed. Ours is the target's test score at the last step,
mean ± half-width of the 95 % Student-t interval over seeds; then ours with the epoch picked by source accuracy, by
a validator without labels (V-measure and IM, fixed beforehand) and, labelled, by an oracle on target labels. The
verdict compares the published number, give or take half a unit of its last digit and its own ± where it has one, with
our interval at the last step: *inside*, or ours is *above* or *below*. Closed-form methods have no randomness and so no
interval.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dalib.core.files import write_atomically
from dalib.report import load_runs
from dalib.run.cli.main import main
from experiments.ledger.alone import alone
from experiments.ledger.compare import (
    entries,
)
from experiments.ledger.pages import to_html, to_markdown
from experiments.ledger.published import load


@dataclass(frozen=True)
class Ledger:
    """Options of ``python -m experiments.ledger``."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs, or folders that hold some at any depth."""
    html: bool = False
    """One self-contained HTML page instead of Markdown."""
    out: Path | None = None
    """File to write; without it the ledger goes to the terminal."""


def ledger(options: Ledger) -> None:
    """Compares and writes."""

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
