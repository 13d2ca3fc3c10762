"""Office-Caltech10 as images: ten classes in four domains, a pretrained MobileNetV2 fine-tuned or frozen.

    python -m experiments.office_caltech_images --data-dir DIR --frozen-features --seeds 5     # heads on its features
    python -m experiments.office_caltech_images --data-dir DIR --source amazon --target webcam    # fine-tuned

Protocol: twelve tasks; nine tenths of each source class with labels, the rest scores the source; all target images
without labels, and they are the test (transductive). MobileNetV2 with published ImageNet weights, bottleneck of 256
units with BatchNorm, SGD 0.01·(1 + 0.001 t)^−0.75 (a tenth of it in the encoder), momentum 0.9 (Nesterov), weight decay
1e-3, 32 + 32 images a step: TLlib's settings of DANN and CDAN for Office-31, here for every method; nothing was tuned.
Views and features as in :mod:`experiments.inputs.images`. SURF features of the same images:
:mod:`experiments.office_caltech`.

Published: experiments/ledger/published.toml has no number for this net and protocol.

Ours, first command: heads on frozen features, 1,000 steps, seeds 0–4, target accuracy in %, last step, mean ± 95 %
interval (Python 3.11, jax 0.10.2):

                 A→C   A→D   A→W   C→A   C→D   C→W   D→A   D→C   D→W   W→A   W→C   W→D    mean
    source-only  90.3  86.8  86.6  93.9  90.4  93.0  89.3  85.9  98.5  91.1  85.8 100.0   91.0 ± 0.6
    DAN          90.8  90.4  94.8  94.4  89.0  95.1  91.1  88.5  97.3  94.5  90.6  99.9   93.0 ± 0.3
    Deep CORAL   89.3  86.0  93.5  93.8  87.5  93.3  83.3  81.3  96.9  91.1  86.1  99.9   90.2 ± 0.4
    DANN         91.0  89.8  89.2  93.5  87.5  91.3  91.1  88.3  98.4  91.4  88.6  99.7   91.7 ± 0.5
    CDAN         92.6  94.9  93.9  95.0  96.1  97.0  94.2  89.9  98.1  95.1  92.0 100.0   94.9 ± 0.4
    MCC          93.8  97.3  94.4  95.9  96.3  97.4  95.8  93.7  97.7  95.7  93.1 100.0   95.9 ± 0.3

DAN, CDAN and MCC are above source-only with disjoint intervals of the mean; Deep CORAL's and DANN's overlap with it.

Fine-tuned on two CPU cores, and so two tasks, small images and a short run (``--source amazon --target webcam --size 96
--batch-size 16 --steps 100``, and ``--target dslr``), seeds 0–4:

                 A→W           A→D            mean
    source-only  62.9 ± 5.8    65.4 ± 7.9     64.1 ± 6.3
    DAN          68.4 ± 5.5    75.4 ± 6.2     71.9 ± 5.2
    Deep CORAL   64.4 ± 6.9    71.6 ± 5.1     68.0 ± 2.2
    DANN         63.7 ± 4.7    69.7 ± 10.4    66.7 ± 7.1
    CDAN         71.5 ± 8.1    77.5 ± 3.6     74.5 ± 3.6
    MCC          80.1 ± 5.4    84.7 ± 2.9     82.4 ± 3.5

MCC is clear of source-only on both, CDAN in the mean. Frozen features of 224² images are far better; only rows
of one table can be compared.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from dalib.run.cli.main import main
from dalib.run.config import Experiment
from dalib.run.grid import run_grid
from experiments.inputs.images import Images, image_experiments, image_reader, on_images

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
