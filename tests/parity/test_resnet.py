"""ResNet, ResNeXt and Wide ResNet against torchvision's."""

import pytest

from dalib.encoders import ResNet
from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
STAGES = {f"layer{i}": f"layer{i}" for i in (1, 2, 3, 4)} | {"stem": "maxpool"}
NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
NAMES += ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]


@pytest.fixture(scope="module")
def models():
    declare_torchvision_operators()
    return pytest.importorskip("torchvision.models")


def test_resnet18(models, tmp_path):
    encoder = make_encoder("resnet18", num_classes=10)
    compare(models.resnet18(num_classes=10), encoder, "torchvision/resnet", tmp_path, STAGES, features="avgpool")


@pytest.mark.parametrize("groups, group_width", [(1, 64), (8, 4), (1, 128)])
def test_three_layer_blocks(models, tmp_path, groups, group_width):
    """Short nets of ResNet-50's, ResNeXt's and Wide ResNet's blocks."""
    depths = (1, 2, 1, 1)
    block = models.resnet.Bottleneck
    theirs = models.ResNet(block, depths, num_classes=10, groups=groups, width_per_group=group_width)
    ours = ResNet(depths=depths, groups=groups, group_width=group_width, num_classes=10)
    compare(theirs, ours, "torchvision/resnet", tmp_path, STAGES, features="avgpool")


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(models, name):
    """Every published net, without computing: all names are used, all variables filled, all shapes equal."""
    arrays = meta_arrays(lambda: getattr(models, name)())
    check_names(arrays, name, "torchvision/resnet")
    if name != "resnet18":
        return
    old = {key: x for key, x in arrays.items() if not key.endswith("num_batches_tracked")}
    check_names(old, name, "torchvision/resnet")
