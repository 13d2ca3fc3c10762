"""PACS: seven classes as photographs, art paintings, cartoons and sketches; made for domain generalisation."""

from pathlib import Path

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import Tree, find_root, pooled_folders, read_list
from dalib.data.benchmarks.reading import Reading
from dalib.data.domain import Domain, Split

LAYOUT = """
art_painting/dog/*.jpg cartoon/… photo/… sketch/…       7 class folders each; also inside kfold/ or images/
art_painting_{train,crossval,test}_kfold.txt …          the official lists (labels from 1), if you have them: there,
                                                        in the folder above, splits/ or image_list/
or the same inside PACS/ or pacs/
With the lists a domain has the splits train, val and test (all images); without them train and test are all images.
"""
LIST_PLACES = ("", "splits", "image_list", "pacs_label", "Train val splits and h5py files pre-read")
LISTS = {"train": "train_kfold", "val": "crossval_kfold", "test": "test_kfold"}
NAMES = ("art_painting", "cartoon", "photo", "sketch")
TREE = Tree(
    roots=tuple(f"{top}{sub}" for top in ("PACS", "pacs") for sub in ("", "/kfold", "/images")) + ("kfold", "images"),
    folders={name: (name,) for name in NAMES},
)
folders = pooled_folders(TREE)


def read_pacs(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Whole domains, or the official splits where their lists are there."""
    reading = folders(facts, data_dir, domains)
    root = find_root(TREE, data_dir)
    for name in list(reading.domains):
        splits: dict[str, Split] = {}
        for split, suffix in LISTS.items():
            bases = [root] if root == data_dir else [root, root.parent]
            places = [base / place / f"{name}_{suffix}.txt" for base in bases for place in LIST_PLACES]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                continue
            images, faults = read_list(name, file, root, name, len(facts.classes[name]), first_label=1)
            reading.faults.extend(faults)
            if images is not None:
                splits[split] = images
        if splits and len(splits) < len(LISTS):
            missing = [f"{name}_{LISTS[split]}.txt" for split in LISTS if split not in splits]
            reading.faults.append(f"{name}: lists without {' and '.join(missing)}")
        elif splits:
            reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


PACS = Benchmark("pacs", "pacs", read_pacs, LAYOUT)
