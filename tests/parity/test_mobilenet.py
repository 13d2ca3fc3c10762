"""MobileNetV2 and V3 against torchvision's."""

import pytest

from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
declare_torchvision_operators()
models = pytest.importorskip("torchvision").models

STAGES = {"stem": "features.0", "last": "features.18"}
STAGES |= {f"stage{i}": f"features.{last}" for i, last in enumerate((1, 3, 6, 10, 13, 16, 17), start=1)}


def test_mobilenet_v2(tmp_path):
    reference = models.mobilenet_v2(num_classes=7, dropout=0.0)
    encoder = make_encoder("mobilenet_v2", num_classes=7, dropout=0.0)
    compare(reference, encoder, "torchvision/mobilenet_v2", tmp_path, STAGES)


def test_mobilenet_v3_small(tmp_path):
    reference = models.mobilenet_v3_small(num_classes=7, dropout=0.0)
    encoder = make_encoder("mobilenet_v3_small", num_classes=7, dropout=0.0)
    stages = {"stem": "features.0", "last": "features.12"}
    stages |= {f"stage{i}": f"features.{end}" for i, end in enumerate((1, 3, 8, 11), start=1)}
    compare(reference, encoder, "torchvision/mobilenet_v3", tmp_path, stages, features="classifier.1")


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_names_and_shapes(name):
    """Every published net, without computing: all names are used, all variables filled, all shapes equal."""
    layout = "torchvision/mobilenet_v2" if name == "mobilenet_v2" else "torchvision/mobilenet_v3"
    check_names(meta_arrays(getattr(models, name)), name, layout)
