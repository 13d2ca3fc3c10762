"""PACS: seven classes as photographs, art paintings, cartoons and sketches.

    python -m experiments.pacs --data-dir DIR                                   # ResNet-18 fine-tuned, one source
    python -m experiments.pacs --data-dir DIR --several --frozen-features --method source_only dann m3sda \
        --options m3sda.sources=3                                               # three sources to each target

Protocol: twelve tasks, or four with ``--several`` (the three other domains together as source, as PACS is used). With
its official lists the source trains on ``train`` and is scored on ``test``, all its images; the target's train list is
used without labels and all its images are the test. Without the lists all images are both. ResNet-18 with
published ImageNet weights, bottleneck, SGD; views and features as in :mod:`experiments.inputs.images`.

Published: experiments/ledger/published.toml has no number for PACS under this protocol (its tables are of domain
generalisation, with another selection). Ours: not run.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


@dataclass(frozen=True)
class Pacs(Images):
    """Options of ``python -m experiments.pacs``; the domains are art_painting, cartoon, photo and sketch."""

    benchmark: ClassVar[str] = "pacs"

    encoder: str = "resnet18"


def experiments(options: Pacs) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS)


def pacs(options: Pacs) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(pacs, Pacs, (__doc__ or "").split("\n\nProtocol")[0]))
