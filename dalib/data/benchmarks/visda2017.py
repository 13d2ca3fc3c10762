"""VisDA-2017, classification: renderings of 3-D models to photographs, 12 classes."""

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.pictures import Tree, pooled_folders

LAYOUT = """
train/aeroplane/*.png              train.tar, the domain "synthetic": 12 class folders
validation/aeroplane/*.jpg         validation.tar, the domain "real"
or the same inside visda2017/, visda-2017/, VisDA-2017/ or visda/; image_list.txt is not needed
"""

TREE = Tree(
    roots=("visda2017", "visda-2017", "VisDA-2017", "visda", "visda/classification"),
    folders={"synthetic": ("train", "synthetic"), "real": ("validation", "real")},
)

VISDA2017 = Benchmark("visda2017", "visda2017", pooled_folders(TREE), LAYOUT)
