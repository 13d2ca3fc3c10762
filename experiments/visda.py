"""VisDA-2017: 12 classes, from renderings of 3-D models to photographs.

    python -m experiments.visda --data-dir DIR --preset tllib                   # ResNet-101 fine-tuned
    python -m experiments.visda --data-dir DIR --frozen-features                # heads on its features

Protocol: one task, synthetic → real: all 152,397 renderings with labels, all 55,388 photographs of the validation set
without; these are also the test. The field's number is the mean over classes (``mean_class_accuracy`` in the records, a
table of its own in the report); the mean over images differs by up to five points. ResNet-101 with published ImageNet
weights, bottleneck, SGD; views and features as in :mod:`experiments.inputs.images`. The preset tllib is that of its
Office-31 scripts; it sets the optimiser, not TLlib's VisDA settings.

Published, mean over classes in % (all rows: experiments/ledger/published.toml): TLlib (epoch chosen on target labels,
one seed): source-only 51.7; the papers as quoted there: source-only 52.4, DAN 61.1, DANN 57.4, MCD 71.9, AFN 76.1, MCC
78.8. SHOT's repository (last epoch, 3 seeds): source-only 46.6. Ours: not run.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("synthetic", "real")
TASKS = (("synthetic", "real"),)


@dataclass(frozen=True)
class Visda(Images):
    """Options of ``python -m experiments.visda``; the domains are synthetic and real."""

    benchmark: ClassVar[str] = "visda2017"
    module: ClassVar[str] = "visda"

    encoder: str = "resnet101"


def experiments(options: Visda) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS, TASKS)


def visda(options: Visda) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(visda, Visda, (__doc__ or "").split("\n\nProtocol")[0]))
