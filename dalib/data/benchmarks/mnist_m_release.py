"""MNIST-M as its authors released it: folders of small images with list files."""

from pathlib import Path

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import read_list
from dalib.data.benchmarks.reading import Reading
from dalib.data.domain import Domain, Split

LAYOUT = """
mnist_m/mnist_m_train/*.png mnist_m/mnist_m_test/*.png
mnist_m/mnist_m_train_labels.txt mnist_m/mnist_m_test_labels.txt      "00000000.png 5" a line
or the same without the outer folder
"""
NAME = "mnist_m"


def read_release(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """The published train and test parts."""
    del domains
    reading = Reading({}, [])
    root = next((place for place in (data_dir / NAME, data_dir) if (place / f"{NAME}_train").is_dir()), None)
    if root is None:
        reading.faults.append(f"{NAME}: no folder {NAME}_train in {data_dir} or {data_dir / NAME}")
        return reading
    splits: dict[str, Split] = {}
    for split in ("train", "test"):
        folder = f"{NAME}_{split}"
        images, faults = read_list(NAME, root / f"{folder}_labels.txt", root, folder, len(facts.classes[NAME]))
        reading.faults.extend(faults)
        if images is None:
            reading.faults.append(f"{NAME}, {split}: no images")
        else:
            splits[split] = images
    if splits:
        reading.domains[NAME] = Domain(NAME, facts.classes[NAME], splits)
    return reading


MNIST_M_RELEASE = Benchmark("mnist_m_release", "mnist_m_release", read_release, LAYOUT)
