"""Benchmarks of photographed objects: Office-31, Office-Home, Office-Caltech10, ImageCLEF-DA and VisDA-2017."""

import zipfile
from pathlib import Path

import numpy as np

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.images import Tree, domain_folder, find_root, pooled_folders, read_class_folders, read_list
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import pool
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.files import npz

# Office-31: objects of an office in merchants' pictures, by a webcam and by a reflex camera.


OFFICE31_LAYOUT = """
amazon/images/back_pack/*.jpg      31 class folders; also amazon/back_pack/*.jpg
dslr/images/…
webcam/images/…
or the same inside office31/, Original_images/, domain_adaptation_images/ or office/domain_adaptation_images/
"""

OFFICE31_TREE = Tree(
    roots=("office31", "office-31", "Original_images", "domain_adaptation_images", "office/domain_adaptation_images"),
    folders={name: (f"{name}/images", name) for name in ("amazon", "dslr", "webcam")},
    aliases={"backpack": "back_pack", "laptop": "laptop_computer"},
)

OFFICE31 = Benchmark("office31", "office31", pooled_folders(OFFICE31_TREE), OFFICE31_LAYOUT)


# Office-Home: 65 classes of everyday objects in art, clip art, product pictures and photographs.


LAYOUT = """
Art/Alarm_Clock/*.jpg              65 class folders
Clipart/…
Product/…
Real World/…                       or Real_World/…
or the same inside OfficeHomeDataset_10072016/, office_home/, office-home/images/ or OfficeHome/
"""

TREE = Tree(
    roots=("OfficeHomeDataset_10072016", "office_home", "office-home", "office-home/images", "OfficeHome"),
    folders={
        "Art": ("Art", "art"),
        "Clipart": ("Clipart", "clipart"),
        "Product": ("Product", "product"),
        "Real_World": ("Real World", "Real_World", "RealWorld", "real_world"),
    },
)

OFFICE_HOME = Benchmark("office_home", "office_home", pooled_folders(TREE), LAYOUT)


# Office-Caltech10: the ten classes that Office-31 shares with Caltech-256, as images and as SURF histograms.


WORDS = 800
IMAGE_LAYOUT = """
office_caltech10/images/amazon/backpack/*.jpg       10 class folders
office_caltech10/images/{caltech10,dslr,webcam}/…
or the domains inside images/, office_caltech10/, office_caltech_10/ or --data-dir itself; caltech for caltech10
"""
SURF_LAYOUT = """
surf.npz (or office_caltech10/surf.npz): surf_<domain>_x [n, 800] counts, surf_<domain>_y 0 … 9
or <domain>_SURF_L10.mat, with fts and labels 1 … 10, there or in features/surf/ or ToRelease_GFK/data/;
Caltech10_SURF_L10.mat, amazon_…, dslr_…, webcam_…
"""
MAT_NAMES = {"amazon": "amazon", "caltech10": "Caltech10", "dslr": "dslr", "webcam": "webcam"}
SURF_PLACES = ("", "office_caltech10", "features/surf", "office_caltech10/features/surf", "ToRelease_GFK/data")

OFFICE_CALTECH10_TREE = Tree(
    roots=("office_caltech10/images", "office_caltech10", "office_caltech_10", "images"),
    folders={
        name: tuple(f"{folder}{sub}" for folder in names for sub in ("/images", ""))
        for name, names in {
            "amazon": ("amazon",),
            "caltech10": ("caltech10", "caltech"),
            "dslr": ("dslr",),
            "webcam": ("webcam",),
        }.items()
    },
    aliases={
        "laptop_computer": "laptop",
        "laptop-101": "laptop",
        "touring-bike": "bike",
        "computer-monitor": "monitor",
    },
)


def read_surf(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read SURF counts of every domain, uint16 ``[n, 800]``."""
    reading = Reading({}, [])
    for name in domains:
        try:
            arrays = _arrays(data_dir, name)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            reading.faults.append(f"{name}: {error}")
            continue
        if arrays is None:
            reading.faults.append(f"{name}: no surf.npz and no {MAT_NAMES[name]}_SURF_L10.mat below {data_dir}")
            continue
        x, y = arrays
        # Checked here and not where they are used: a row without counts has no direction to normalise.
        if x.ndim != 2 or x.shape[1] != WORDS or y.shape != (len(x),):
            reading.faults.append(f"{name}: shapes {x.shape} and {y.shape}, expected [n, {WORDS}] and [n]")
        elif y.min() < 0 or y.max() >= len(facts.classes[name]):
            reading.faults.append(f"{name}: labels from {y.min()} to {y.max()}, expected 0 to 9")
        elif (x.sum(axis=1) <= 0).any():
            reading.faults.append(f"{name}: row {int(np.argmax(x.sum(axis=1) <= 0))} without any count")
        else:
            reading.domains[name] = pool(name, facts.classes[name], ArraySplit(x.astype(np.uint16), y.astype(np.int32)))
    return reading


def _arrays(data_dir: Path, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    for place in SURF_PLACES:
        archive = data_dir / place / "surf.npz"
        if archive.is_file():
            names = (f"surf_{name}_x", f"surf_{name}_y")
            arrays, _ = npz.read_npz(str(archive), archive, names)
            return arrays[names[0]], arrays[names[1]].astype(np.int64)
        # MATLAB's labels count from 1.
        table = data_dir / place / f"{MAT_NAMES[name]}_SURF_L10.mat"
        if table.is_file():
            found = npz.read_mat(str(table), table)
            return np.asarray(found["fts"]), np.asarray(found["labels"]).reshape(-1).astype(np.int64) - 1
    return None


OFFICE_CALTECH10 = Benchmark(
    "office_caltech10", "office_caltech10", pooled_folders(OFFICE_CALTECH10_TREE), IMAGE_LAYOUT
)
OFFICE_CALTECH10_SURF = Benchmark("office_caltech10_surf", "office_caltech10_surf", read_surf, SURF_LAYOUT)


# ImageCLEF-DA: 12 classes shared by Caltech-256, ImageNet, Pascal VOC 2012 and Bing, 600 images each.


IMAGECLEF_DA_LAYOUT = """
c/*.jpg i/*.JPEG p/*.jpg b/*.jpg                          600 images each
list/cList.txt list/iList.txt list/pList.txt list/bList.txt   "path label", labels 0 … 11; also c_list.txt … there
or class folders c/aeroplane/*.jpg … and no lists
or the same inside image-clef/, image_CLEF/, imageCLEF/ or imageclef_da/. Bing (b) may be absent.
"""
NAMES = ("c", "i", "p", "b")
IMAGECLEF_DA_TREE = Tree(
    roots=("imageclef_da", "image-clef", "image_CLEF", "imageCLEF", "ImageCLEF"),
    folders={name: (name, name.upper()) for name in NAMES},
)


def read_imageclef(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read domains by list file, or by class folder where there is no list."""
    root = find_root(IMAGECLEF_DA_TREE, data_dir)
    reading = Reading({}, [])
    for name in domains:
        folder = domain_folder(IMAGECLEF_DA_TREE, root, name)
        if folder is None:
            # Bing's pictures are in some copies of the archive only.
            if name != "b":
                reading.faults.append(f"{name}: no folder {name} below {root}")
            continue
        # Copies of the archive name their lists in several ways; the lists decide the order and the labels.
        places = (f"list/{name}List.txt", f"{name}List.txt", f"{name}_list.txt", f"{name}.txt")
        file = next((root / place for place in places if (root / place).is_file()), None)
        if file is not None:
            images, faults = read_list(name, file, root, folder.name, len(facts.classes[name]))
        else:
            images, faults = read_class_folders(
                name, folder, facts.classes[name], aliases=IMAGECLEF_DA_TREE.aliases, root=root
            )
        reading.faults.extend(faults)
        if images is None:
            reading.faults.append(f"{name}: no images, by list or by class folder, in {folder}")
        else:
            reading.domains[name] = pool(name, facts.classes[name], images)
    return reading


IMAGECLEF_DA = Benchmark("imageclef_da", "imageclef_da", read_imageclef, IMAGECLEF_DA_LAYOUT, optional=frozenset({"b"}))


# VisDA-2017, classification: renderings of 3-D models to photographs, 12 classes.


VISDA2017_LAYOUT = """
train/aeroplane/*.png              train.tar, the domain "synthetic": 12 class folders
validation/aeroplane/*.jpg         validation.tar, the domain "real"
or the same inside visda2017/, visda-2017/, VisDA-2017/ or visda/; image_list.txt is not needed
"""

VISDA2017_TREE = Tree(
    roots=("visda2017", "visda-2017", "VisDA-2017", "visda", "visda/classification"),
    folders={"synthetic": ("train", "synthetic"), "real": ("validation", "real")},
)

VISDA2017 = Benchmark("visda2017", "visda2017", pooled_folders(VISDA2017_TREE), VISDA2017_LAYOUT)
