"""Office-31: 31 classes of office objects in merchants' pictures, by a webcam and by a reflex camera.

    python -m experiments.office31 --data-dir DIR --preset tllib                # ResNet-50 fine-tuned, TLlib's recipe
    python -m experiments.office31 --data-dir DIR --frozen-features             # heads on its features
    python -m experiments.office31 --data-dir DIR --source amazon --target webcam --method dann --seeds 5

Protocol: six tasks, all images of the source with labels, all of the target without; the same target images are the
test. ResNet-50 with published ImageNet weights, bottleneck, SGD (:mod:`dalib.run.presets.protocols`); views and
features as in :mod:`experiments.inputs.images`. ``python -m dalib.data how-to-get office31`` says where the images come
from.

Published, mean accuracy of the six tasks in % (all rows: experiments/ledger/published.toml): TLlib (epoch chosen on
target labels, one seed): source-only 79.5, DAN 83.7, JAN 87.0, DANN 86.1, CDAN 87.7, MCD 85.4, MDD 89.6, MCC 89.6, AFN
88.6. DeepDA (the same rule): 82.0, DAN 83.7, Deep CORAL 81.9, DANN 83.9, DSAN 88.6, BNM 85.0. SHOT's repository (last
epoch, 3 seeds): 79.3, SHOT 88.6. Ours: not run.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("amazon", "dslr", "webcam")


@dataclass(frozen=True)
class Office31(Images):
    """Options of ``python -m experiments.office31``; the domains are amazon, dslr and webcam."""

    benchmark: ClassVar[str] = "office31"


def experiments(options: Office31) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS)


def office31(options: Office31) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(office31, Office31, (__doc__ or "").split("\n\nProtocol")[0]))
