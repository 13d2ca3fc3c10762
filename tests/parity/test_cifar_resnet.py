"""CIFAR ResNets against a net in torch, written here from the paper and the checkpoints' description."""

from collections import OrderedDict

import pytest

from dalib.encoders import CIFARResNet
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    def __init__(self, old, new, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(old, new, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(new)
        self.conv2 = nn.Conv2d(new, new, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(new)
        self.stride, self.before = stride, (new - old) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride > 1:
            x = nn.functional.pad(x[..., ::2, ::2], (0, 0, 0, 0, self.before, self.before))
        return (x + y).relu()


class Reference(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        for stage, (old, new) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            blocks = [Block(old, new, 1 if old == new else 2)] + [Block(new, new, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.linear(self.pool(self.layer3(self.layer2(self.layer1(x)))).flatten(1))


def test_all_but_the_number_of_blocks(tmp_path):
    stages = {"stem": "relu", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3"}
    ours = CIFARResNet(depth=2, num_classes=10)
    layout = "akamaster/cifar_resnet"
    compare(Reference(2), ours, layout, tmp_path, stages, odd=(31, 33), side=(32, 32), features="pool")


@pytest.mark.parametrize("name, depth", [("20", 3), ("32", 5), ("44", 7), ("56", 9)])
def test_names_and_shapes(name, depth):
    """As published: behind data parallel's prefix, and without counters of steps."""
    arrays = meta_arrays(lambda: nn.Sequential(OrderedDict(module=Reference(depth))))
    arrays = {key: x for key, x in arrays.items() if not key.endswith("num_batches_tracked")}
    assert all(key.startswith("module.") for key in arrays)
    check_names(arrays, f"cifar_resnet{name}", "akamaster/cifar_resnet", classes=10)
