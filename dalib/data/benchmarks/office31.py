"""Office-31: objects of an office in merchants' pictures, by a webcam and by a reflex camera."""

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.pictures import Tree, pooled_folders

LAYOUT = """
amazon/images/back_pack/*.jpg      31 class folders; also amazon/back_pack/*.jpg
dslr/images/…
webcam/images/…
or the same inside office31/, Original_images/, domain_adaptation_images/ or office/domain_adaptation_images/
"""

TREE = Tree(
    roots=("office31", "office-31", "Original_images", "domain_adaptation_images", "office/domain_adaptation_images"),
    folders={name: (f"{name}/images", name) for name in ("amazon", "dslr", "webcam")},
    aliases={"backpack": "back_pack", "laptop": "laptop_computer"},
)

OFFICE31 = Benchmark("office31", "office31", pooled_folders(TREE), LAYOUT)
