"""Office-Home: 65 classes of everyday objects in art, clip art, product pictures and photographs."""

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.pictures import Tree, pooled_folders

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
