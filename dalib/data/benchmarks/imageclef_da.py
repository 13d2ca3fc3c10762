"""ImageCLEF-DA: 12 classes shared by Caltech-256, ImageNet, Pascal VOC 2012 and Bing, 600 images each."""

from pathlib import Path

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import Tree, domain_folder, find_root, read_class_folders, read_list
from dalib.data.benchmarks.reading import Reading, pool

LAYOUT = """
c/*.jpg i/*.JPEG p/*.jpg b/*.jpg                          600 images each
list/cList.txt list/iList.txt list/pList.txt list/bList.txt   "path label", labels 0 … 11; also c_list.txt … beside them
or class folders c/aeroplane/*.jpg … and no lists
or the same inside image-clef/, image_CLEF/, imageCLEF/ or imageclef_da/. Bing (b) may be absent.
"""
NAMES = ("c", "i", "p", "b")
TREE = Tree(
    roots=("imageclef_da", "image-clef", "image_CLEF", "imageCLEF", "ImageCLEF"),
    folders={name: (name, name.upper()) for name in NAMES},
)


def read_imageclef(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Domains by list file, or by class folder where there is no list."""
    root = find_root(TREE, data_dir)
    reading = Reading({}, [])
    for name in domains:
        folder = domain_folder(TREE, root, name)
        if folder is None:
            if name != "b":
                reading.faults.append(f"{name}: no folder {name} below {root}")
            continue
        places = (f"list/{name}List.txt", f"{name}List.txt", f"{name}_list.txt", f"{name}.txt")
        file = next((root / place for place in places if (root / place).is_file()), None)
        if file is not None:
            images, faults = read_list(name, file, root, folder.name, len(facts.classes[name]))
        else:
            images, faults = read_class_folders(name, folder, facts.classes[name], aliases=TREE.aliases, root=root)
        reading.faults.extend(faults)
        if images is None:
            reading.faults.append(f"{name}: no images, by list or by class folder, in {folder}")
        else:
            reading.domains[name] = pool(name, facts.classes[name], images)
    return reading


IMAGECLEF_DA = Benchmark("imageclef_da", "imageclef_da", read_imageclef, LAYOUT, optional=frozenset({"b"}))
