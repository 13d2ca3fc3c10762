"""A benchmark of a few generated images, with the faults that a real one may have."""

import numpy as np
from PIL import Image

from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.images import Tree, pooled_folders
from dalib.data.benchmarks.loading import Benchmark

CLASSES = ("back_pack", "mug")
COUNTS = {"near": (3, 2), "far": (2, 4)}


def facts(counts=None, classes=CLASSES, kind="image"):
    counts = counts or {domain: {"all": n} for domain, n in COUNTS.items()}
    texts = {"homepage": "h", "licence": "free", "citation": "c", "notes": ""}
    named = dict.fromkeys(counts, tuple(classes))
    return Facts(name="tiny", title="Tiny", kind=kind, **texts, classes=named, counts=counts, sizes={}, fingerprints={})


TREE = Tree(
    roots=("tiny", "tiny/images"),
    folders={"near": ("near/images", "near"), "far": ("far",)},
    aliases={"rucksack": "back_pack"},
)
TINY = Benchmark("tiny", facts(), pooled_folders(TREE), "near/… far/…")


def picture(path, seed=0, size=(12, 10), mode="RGB"):
    """A picture of noise, whose file is cut short by losing its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(noise).save(path)
    return path


def tree(root, layout="tiny/images"):
    """The benchmark, whole: near in Office-31's form, far with other spellings of the class names."""
    for i in range(3):
        picture(root / layout / "near" / "images" / "back_pack" / f"{i}.jpg", i)
    for i in range(2):
        picture(root / layout / "near" / "images" / "mug" / f"{i}.png", 10 + i)
        picture(root / layout / "far" / "Rucksack" / f"{i}.jpg", 20 + i)
    for i in range(4):
        picture(root / layout / "far" / "Mug" / f"{i}.jpg", 30 + i, size=(9 + i, 8))
    return root
