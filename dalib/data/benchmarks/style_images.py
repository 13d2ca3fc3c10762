"""Image benchmarks with domains that differ in style or origin: PACS, VLCS and DomainNet."""

from pathlib import Path

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.images import (
    Tree,
    domain_folder,
    domain_folders,
    find_root,
    pooled_folders,
    read_class_folders,
    read_list,
)
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import Domain, Split, pool
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.tfds import from_tfds, records_folder

# PACS: seven classes as photographs, art paintings, cartoons and sketches; made for domain generalisation.


PACS_LAYOUT = """
art_painting/dog/*.jpg cartoon/… photo/… sketch/…       7 class folders each; also inside kfold/ or images/
art_painting_{train,crossval,test}_kfold.txt …          the official lists (labels from 1), if you have them: there,
                                                        in the folder above, splits/ or image_list/
or the same inside PACS/ or pacs/
With the lists a domain has the splits train, val and test (all images); without them train and test are all images.
"""
PACS_LIST_PLACES = ("", "splits", "image_list", "pacs_label", "Train val splits and h5py files pre-read")
LISTS = {"train": "train_kfold", "val": "crossval_kfold", "test": "test_kfold"}
PACS_NAMES = ("art_painting", "cartoon", "photo", "sketch")
PACS_TREE = Tree(
    roots=tuple(f"{top}{sub}" for top in ("PACS", "pacs") for sub in ("", "/kfold", "/images")) + ("kfold", "images"),
    folders={name: (name,) for name in PACS_NAMES},
)
folders = pooled_folders(PACS_TREE)


def read_pacs(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read whole domains, or the official splits where their lists are there."""
    reading = folders(facts, data_dir, domains)
    root = find_root(PACS_TREE, data_dir)
    for name in list(reading.domains):
        splits: dict[str, Split] = {}
        # The lists come apart from the images, so they may be next to the root as well.
        for split, suffix in LISTS.items():
            bases = [root] if root == data_dir else [root, root.parent]
            places = [base / place / f"{name}_{suffix}.txt" for base in bases for place in PACS_LIST_PLACES]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                continue
            images, faults = read_list(name, file, root, name, len(facts.classes[name]), first_label=1)
            reading.faults.extend(faults)
            if images is not None:
                splits[split] = images
        # One list without the others would leave examples in no split.
        if splits and len(splits) < len(LISTS):
            missing = [f"{name}_{LISTS[split]}.txt" for split in LISTS if split not in splits]
            reading.faults.append(f"{name}: lists without {' and '.join(missing)}")
        elif splits:
            reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


PACS = Benchmark("pacs", "pacs", read_pacs, PACS_LAYOUT)


# VLCS: five classes of Pascal VOC 2007, LabelMe, Caltech-101 and SUN09; made for domain generalisation.


LAYOUT = """
CALTECH/full/0/*.jpg CALTECH/test/0/*.jpg      folders 0 … 4: bird, car, chair, dog, person; train/ and crossval/ are
LABELME/… PASCAL/… SUN/…                       parts of full/ and not read
or whole domains in class folders: Caltech101/bird/*.jpg LabelMe/… SUN09/… VOC2007/…
or either inside VLCS/ or vlcs/
"""
TREE = Tree(
    roots=("VLCS", "vlcs"),
    folders={
        "Caltech101": ("CALTECH", "Caltech101", "caltech"),
        "LabelMe": ("LABELME", "LabelMe", "labelme"),
        "SUN09": ("SUN", "SUN09", "sun"),
        "VOC2007": ("PASCAL", "VOC2007", "pascal"),
    },
    aliases={"0": "bird", "1": "car", "2": "chair", "3": "dog", "4": "person"},
)


def read_vlcs(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read the official train and test parts, or pools where the folders are not divided."""
    root = find_root(TREE, data_dir)
    reading = Reading({}, [])
    for name, folder in domain_folders(TREE, root, domains, reading):

        def images(part: Path, name: str = name) -> ImageFiles | None:
            found, faults = read_class_folders(name, part, facts.classes[name], aliases=TREE.aliases, root=root)
            reading.faults.extend(faults)
            return found

        # Copies are divided or not: undivided ones serve as pools rather than being refused.
        divided = (folder / "full").is_dir() or (folder / "test").is_dir()
        parts = {split: folder / sub for split, sub in (("train", "full"), ("test", "test"))} if divided else {}
        missing = [str(part) for part in parts.values() if not part.is_dir()]
        reading.faults.extend(f"{name}: no folder {part}" for part in missing)
        found = {split: images(part) for split, part in parts.items() if part.is_dir()} or {"all": images(folder)}
        some = {split: source for split, source in found.items() if source is not None}
        if not some:
            reading.faults.append(f"{name}: no images in class folders below {folder}")
        elif divided:
            reading.domains[name] = Domain(name, facts.classes[name], some)
        else:
            reading.domains[name] = pool(name, facts.classes[name], some["all"])
    return reading


VLCS = Benchmark("vlcs", "vlcs", read_vlcs, LAYOUT)


# DomainNet, cleaned version: 345 classes in six styles, divided by official list files.
#
# tensorflow-datasets has the same images and splits as ``domainnet/<domain>`` (its own preparation needs TensorFlow,
# ours does not); what was prepared as array_record is read in its place.


DOMAINNET_LAYOUT = """
clipart/aircraft_carrier/*.jpg     clipart.zip (the one under groundtruth/), 345 class folders
infograph/… painting/… quickdraw/… real/… sketch/…      painting too from groundtruth/
clipart_train.txt clipart_test.txt …                    the lists; also in splits/, image_list/ or txt/
or the same inside domainnet/ or DomainNet/
or, prepared by tensorflow-datasets as array_record: domainnet/clipart/1.0.0/dataset_info.json …
"""
LIST_PLACES = ("", "splits", "image_list", "txt")
NAMES = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
DOMAINNET_TREE = Tree(roots=("domainnet", "DomainNet"), folders={name: (name,) for name in NAMES})


def read_domainnet(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read the train and test splits of the official lists."""
    root = find_root(DOMAINNET_TREE, data_dir)
    reading = Reading({}, [])
    for name in domains:
        # Prepared records first: they hold the same images, and read faster.
        records = records_folder(root / name)
        if records is not None:
            reading.domains[name] = _from_records(name, records)
            continue
        if domain_folder(DOMAINNET_TREE, root, name) is None:
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


DOMAINNET = Benchmark("domainnet", "domainnet", read_domainnet, DOMAINNET_LAYOUT)
