"""VGG against torchvision's."""

import pytest

from dalib.encoders import VGG
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
nn = torch.nn
NAMES = [f"vgg{layers}{norm}" for layers in (11, 13, 16, 19) for norm in ("", "_bn")]


@pytest.fixture(scope="module")
def vgg():
    declare_torchvision_operators()
    return pytest.importorskip("torchvision.models.vgg")


def small(vgg, norm):
    """VGG-11 with an eighth of the channels and 32 units, built from torchvision's parts."""
    channels = [c if c == "M" else c // 8 for c in vgg.cfgs["A"]]
    net = vgg.VGG(vgg.make_layers(channels, norm), num_classes=1, init_weights=False)
    layers = [nn.Linear(64 * 49, 32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.0)]
    net.classifier = nn.Sequential(*layers, nn.Linear(32, 10))
    return net


# Maps of 2×3, and of 8×9: regions that repeat pixels, and regions that overlap.
@pytest.mark.parametrize("norm, odd", [(False, (263, 291)), (True, (71, 97))])
def test_vgg(vgg, tmp_path, norm, odd):
    pools = [3, 7, 14, 21, 28] if norm else [2, 5, 10, 15, 20]
    stages = {f"stage{i}": f"features.{member}" for i, member in enumerate(pools, start=1)}
    ours = VGG(depths=(1, 1, 2, 2, 2), norm=norm, width=8, units=32, dropout=0.0, num_classes=10)
    layout = f"torchvision/vgg11{'_bn' if norm else ''}"
    compare(small(vgg, norm), ours, layout, tmp_path, stages, odd=odd, features="classifier.4", train=norm)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(vgg, name):
    check_names(meta_arrays(getattr(vgg, name)), name, f"torchvision/{name}")
