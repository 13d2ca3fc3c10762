"""Choose among finished runs without target labels, and say what accuracy to expect.

    dalib select runs/own-web-1a2b3c4d
    dalib select runs/digits-500 --by ami im --top 20

Every evaluated step of every run is a candidate. Candidates that have collapsed, or of which the score is not defined,
come below source-only, and one run of source_only at least must be among them. Runs made with ``--keep 500`` are judged
by all validators, and their accuracy on the target is estimated; others by the scores in their record. Where target
labels were recorded they appear in columns of their own, and choose nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dalib.core.checks import choose, input_error
from dalib.core.run_folders import load_runs
from dalib.evaluate import VALIDATORS
from dalib.evaluate.accuracy import ESTIMATORS
from dalib.run.cli.extras import require
from dalib.run.cli.main import main
from dalib.run.select.candidates import checked_runs, choose_among
from dalib.run.select.table import aligned, to_text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``dalib select``."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs, or folders that hold some at any depth."""
    by: tuple[str, ...] = ()
    """Validators; several choose by their mean rank. Default: ami, or v_measure where runs kept nothing."""
    top: int = 10
    """How many places to show."""
    list: bool = False
    """Show all validators and estimators with range and needs, and do nothing else."""


def select(options: Options) -> None:
    """Print the choice on every task of the runs."""
    if options.list:
        print("\n".join(_listed()))
        return
    for name in options.by:
        choose("by", name, VALIDATORS)
    if options.top < 1:
        raise input_error("top", got=options.top, expected="a number ≥ 1")
    runs = checked_runs(load_runs(options.runs))
    require("sklearn", for_what="validators by clusters and domain classifiers")
    print("\n\n\n".join(to_text(choice, top=options.top) for choice in choose_among(runs, options.by, top=options.top)))


def _listed() -> list[str]:
    validators = [["validator", "range", "collapse", "also needs", "what"]]
    validators += [[n, v.range, v.collapse, ", ".join(v.needs) or "–", v.summary] for n, v in VALIDATORS.items()]
    estimators = [["estimator", "collapse", "also needs", "what; its premise"]]
    estimators += [[n, e.collapse, ", ".join(e.needs) or "–", e.summary] for n, e in ESTIMATORS.items()]
    return [*aligned(validators), "", *aligned(estimators)]


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return main(select, Options, __doc__ or "", arguments)
