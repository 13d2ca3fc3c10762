"""VLCS: five classes of Pascal VOC 2007, LabelMe, Caltech-101 and SUN09; made for domain generalisation."""

from pathlib import Path

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import Tree, domain_folder, find_root, read_class_folders
from dalib.data.benchmarks.reading import Reading, pool
from dalib.data.domain import Domain
from dalib.data.image_files import ImageFiles

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
    """The official train and test parts, or pools where the folders are not divided."""
    root = find_root(TREE, data_dir)
    reading = Reading({}, [])
    for name in domains:
        folder = domain_folder(TREE, root, name)
        if folder is None:
            reading.faults.append(f"{name}: no folder {' or '.join(TREE.folders[name])} below {root}")
            continue

        def images(part: Path, name: str = name) -> ImageFiles | None:
            found, faults = read_class_folders(name, part, facts.classes[name], aliases=TREE.aliases, root=root)
            reading.faults.extend(faults)
            return found

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
