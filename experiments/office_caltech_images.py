"""Office-Caltech10 as images: ten classes in four domains, a pretrained MobileNetV2 fine-tuned or frozen.

    python -m experiments.office_caltech_images --data-dir DIR --frozen-features --seeds 5     # heads on its features
    python -m experiments.office_caltech_images --data-dir DIR --size 128 --source webcam --target dslr  # fine-tuned

Protocol: twelve tasks; nine tenths of each source class with labels, the rest scores the source; all target images
without labels, and they are the test (transductive). MobileNetV2 with published ImageNet weights, bottleneck of 256
units with BatchNorm, SGD 0.01·(1 + 0.001 t)^−0.75 (a tenth of it in the encoder), momentum 0.9 (Nesterov), weight decay
1e-3, 32 + 32 images a step: TLlib's settings of DANN and CDAN for Office-31, here for every method; nothing was tuned.
Views and features as in :mod:`experiments.images`. SURF features of the same images: :mod:`experiments.office_caltech`.

Published: experiments/published.toml has no number for this net and protocol.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from experiments.config import Experiment, main
from experiments.grid import run_grid
from experiments.images import Images, image_experiments, image_reader, on_images

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")


@dataclass(frozen=True)
class OfficeCaltechImages(Images):
    """Options of ``python -m experiments.office_caltech_images``; domains: amazon, caltech10, dslr and webcam."""

    benchmark: ClassVar[str] = "office_caltech10"
    module: ClassVar[str] = "office_caltech_images"

    method: tuple[str, ...] = ("source_only", "dan", "deep_coral", "dann", "cdan", "mcc")
    encoder: str = "mobilenet_v2"
    steps: int = 1000
    evaluate_every: int = 200
    holdout: float = 0.1


def experiments(options: OfficeCaltechImages) -> list[Experiment]:
    """Every run that the options ask for, checked."""
    return image_experiments(options, DOMAINS)


def office_caltech_images(options: OfficeCaltechImages) -> None:
    """Runs everything that is not there yet, then prints the table and writes the report."""
    run_grid(on_images(options), experiments(options), image_reader(options, DOMAINS))


if __name__ == "__main__":
    sys.exit(main(office_caltech_images, OfficeCaltechImages, (__doc__ or "").split("\n\nProtocol")[0]))
