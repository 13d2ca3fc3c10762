"""DomainNet, cleaned version: 345 classes in six styles, divided by official list files.

tensorflow-datasets has the same images and splits as ``domainnet/<domain>`` (its own preparation needs TensorFlow, ours
does not); what was prepared as array_record is read where it lies.
"""

from pathlib import Path

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import Tree, domain_folder, find_root, read_list
from dalib.data.benchmarks.reading import Reading
from dalib.data.domain import Domain, Split
from dalib.data.tfds_folders import records_folder
from dalib.data.tfds_source import from_tfds

LAYOUT = """
clipart/aircraft_carrier/*.jpg     clipart.zip (the one under groundtruth/), 345 class folders
infograph/… painting/… quickdraw/… real/… sketch/…      painting too from groundtruth/
clipart_train.txt clipart_test.txt …                    the lists; also in splits/, image_list/ or txt/
or the same inside domainnet/ or DomainNet/
or, prepared by tensorflow-datasets as array_record: domainnet/clipart/1.0.0/dataset_info.json …
"""
LIST_PLACES = ("", "splits", "image_list", "txt")
NAMES = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
TREE = Tree(roots=("domainnet", "DomainNet"), folders={name: (name,) for name in NAMES})


def read_domainnet(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """The train and test splits of the official lists."""
    root = find_root(TREE, data_dir)
    reading = Reading({}, [])
    for name in domains:
        records = records_folder(root / name)
        if records is not None:
            reading.domains[name] = _from_records(name, records)
            continue
        if domain_folder(TREE, root, name) is None:
            reading.faults.append(f"{name}: no folder {name} below {root}")
            continue
        splits: dict[str, Split] = {}
        for split in ("train", "test"):
            places = [root / place / f"{name}_{split}.txt" for place in LIST_PLACES]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                reading.faults.append(f"{name}: no list {name}_{split}.txt in {root} or {', '.join(LIST_PLACES[1:])}")
                continue
            images, faults = read_list(name, file, root, name, len(facts.classes[name]))
            reading.faults.extend(faults)
            if images is not None:
                splits[split] = images
        if splits:
            reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


def _from_records(name: str, folder: Path) -> Domain:
    import tensorflow_datasets as tfds

    return from_tfds(name, tfds.builder_from_directory(str(folder)))


DOMAINNET = Benchmark("domainnet", "domainnet", read_domainnet, LAYOUT)
