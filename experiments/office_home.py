"""Office-Home: 65 classes of everyday objects as art, clip art, product pictures and photographs.

    python -m experiments.office_home --data-dir DIR --preset tllib             # ResNet-50 fine-tuned, TLlib's recipe
    python -m experiments.office_home --data-dir DIR --frozen-features          # heads on its features
    python -m experiments.office_home --data-dir DIR --frozen-features --several --method source_only mdd

Protocol: twelve tasks (four with ``--several``: the three other domains together as source), all images of the source
with labels, all of the target without; the same target images are the test. ResNet-50 with published ImageNet weights,
bottleneck, SGD; views and features as in :mod:`experiments.inputs.images`. The preset tllib is that of its Office-31
scripts.

Published, mean accuracy of the twelve tasks in % (all rows: experiments/ledger/published.toml): TLlib (epoch chosen on
target labels, one seed): source-only 58.4, DAN 61.4, DANN 65.2, JAN 65.9, CDAN 68.8, MCD 67.8, MDD 69.7, MCC 72.4, AFN
68.2. DeepDA (the same rule): 62.6, DAN 63.8, Deep CORAL 63.4, DANN 63.1, DSAN 68.0, BNM 66.9. SHOT's repository (last
epoch, 3 seeds): 60.2, SHOT 71.8. Ours: not run.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("Art", "Clipart", "Product", "Real_World")


@dataclass(frozen=True)
class OfficeHome(Images):
    """Options of ``python -m experiments.office_home``; the domains are Art, Clipart, Product and Real_World."""

    benchmark: ClassVar[str] = "office_home"


def experiments(options: OfficeHome) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS)


def office_home(options: OfficeHome) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(office_home, OfficeHome, (__doc__ or "").split("\n\nProtocol")[0]))
