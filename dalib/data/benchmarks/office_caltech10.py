"""Office-Caltech10: the ten classes that Office-31 shares with Caltech-256, as images and as SURF histograms."""

import zipfile
from pathlib import Path

import numpy as np

from dalib.data.arrays import ArraySplit
from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.pictures import Tree, pooled_folders
from dalib.data.benchmarks.reading import Reading, pool

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

TREE = Tree(
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
    """SURF counts of every domain, uint16 ``[n, 800]``."""
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
            with np.load(archive) as arrays:
                return arrays[f"surf_{name}_x"], arrays[f"surf_{name}_y"].astype(np.int64)
        table = data_dir / place / f"{MAT_NAMES[name]}_SURF_L10.mat"
        if table.is_file():
            from scipy.io import loadmat

            found = loadmat(table)
            return np.asarray(found["fts"]), np.asarray(found["labels"]).reshape(-1).astype(np.int64) - 1
    return None


OFFICE_CALTECH10 = Benchmark("office_caltech10", "office_caltech10", pooled_folders(TREE), IMAGE_LAYOUT)
OFFICE_CALTECH10_SURF = Benchmark("office_caltech10_surf", "office_caltech10_surf", read_surf, SURF_LAYOUT)
