"""DomainNet, cleaned version: 345 classes in six styles, with official train and test lists.

    python -m experiments.domainnet --data-dir DIR --preset tllib               # ResNet-101 fine-tuned
    python -m experiments.domainnet --data-dir DIR --frozen-features            # heads on its features
    python -m experiments.domainnet --data-dir DIR --frozen-features --source real --target quickdraw --oracle

Protocol: the twelve tasks between clipart, painting, real and sketch; by name also infograph and quickdraw. The
source's train list with labels, the target's train list without; the target's test list is the test, the source's
scores the source. ResNet-101 with published ImageNet weights, bottleneck, SGD; views and features as in
:mod:`experiments.inputs.images`. The preset tllib is that of its Office-31 scripts.

Published, mean accuracy of the twelve tasks in % (all rows: experiments/ledger/published.toml): TLlib (epoch chosen on
target labels, one seed): source-only 43.3, DAN 48.4, DANN 47.2, JAN 50.0, CDAN 49.9, MCD 47.5, MDD 51.8, MCC 48.9.
Ours: not run.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
FOUR = ("clipart", "painting", "real", "sketch")
TASKS = tuple((s, t) for s in FOUR for t in FOUR if s != t)


@dataclass(frozen=True)
class DomainNet(Images):
    """Options of ``python -m experiments.domainnet``; the domains are those of :data:`DOMAINS`."""

    benchmark: ClassVar[str] = "domainnet"

    encoder: str = "resnet101"


def experiments(options: DomainNet) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS, TASKS)


def domainnet(options: DomainNet) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(domainnet, DomainNet, (__doc__ or "").split("\n\nProtocol")[0]))
