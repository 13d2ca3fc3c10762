"""DenseNet against torchvision's."""

import re

import pytest

from dalib.encoders import DenseNet
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def models():
    declare_torchvision_operators()
    return pytest.importorskip("torchvision.models")


def test_densenet(models, tmp_path):
    """DenseNet-121's parts with two, one, two and one layers a block."""
    theirs = models.DenseNet(8, (2, 1, 2, 1), 16, num_classes=10)
    ours = DenseNet(depths=(2, 1, 2, 1), growth=8, width=16, num_classes=10)
    stages = {f"denseblock{i}": f"features.denseblock{i}" for i in (1, 2, 3, 4)} | {"stem": "features.pool0"}
    compare(theirs, ours, "torchvision/densenet", tmp_path, stages, odd=(71, 97))


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201"])
def test_names_and_shapes(models, name):
    arrays = meta_arrays(getattr(models, name))
    check_names(arrays, name, "torchvision/densenet")
    if name == "densenet121":  # as in the published file
        published = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): x for key, x in arrays.items()}
        assert published.keys() != arrays.keys()
        published = {key: x for key, x in published.items() if not key.endswith("num_batches_tracked")}
        check_names(published, name, "torchvision/densenet")
