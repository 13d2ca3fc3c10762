"""EfficientNet against torchvision's; Lite against a net of its architecture written here in torch."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
declare_torchvision_operators()
models = pytest.importorskip("torchvision").models

STAGES = {"stem": "features.0", "last": "features.8"} | {f"stage{i}": f"features.{i}" for i in range(1, 8)}


def test_efficientnet_b0(tmp_path):
    reference = models.efficientnet_b0(num_classes=7, dropout=0.0, stochastic_depth_prob=0.0)
    encoder = make_encoder("efficientnet_b0", num_classes=7, dropout=0.0, drop_path=0.0)
    compare(reference, encoder, "torchvision/efficientnet", tmp_path, STAGES)


@pytest.mark.parametrize("name", [f"efficientnet_b{i}" for i in range(5)])
def test_names_and_shapes(name):
    """Every published net, without computing: all names are used, all variables filled, all shapes equal."""
    check_names(meta_arrays(getattr(models, name)), name, "torchvision/efficientnet")


class SamePad(torch.nn.Module):
    """Zeros that make the side of the next convolution's output ceil(side / stride); an odd one right and below."""

    def __init__(self, size, stride):
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x):
        pads = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // self.stride) - 1) * self.stride + self.size - side, 0)
            pads += [total // 2, total - total // 2]
        return torch.nn.functional.pad(x, pads)


def convolution(inputs, outputs, size, stride=1, groups=1):
    layer = torch.nn.Conv2d(inputs, outputs, size, stride, groups=groups, bias=False)
    layer.register_forward_pre_hook(lambda _module, given: (SamePad(size, stride)(given[0]),))
    return layer


def norm(channels):
    return torch.nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class LiteBlock(torch.nn.Module):
    def __init__(self, inputs, outputs, expansion, size, stride):
        super().__init__()
        inner = inputs * expansion
        if expansion != 1:
            self._expand_conv, self._bn0 = convolution(inputs, inner, 1), norm(inner)
        self._depthwise_conv, self._bn1 = convolution(inner, inner, size, stride, groups=inner), norm(inner)
        self._project_conv, self._bn2 = convolution(inner, outputs, 1), norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        y = x
        if hasattr(self, "_expand_conv"):
            y = torch.nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = torch.nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class Lite0(torch.nn.Module):
    ROWS = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3))
    ROWS += ((6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))

    def __init__(self, num_classes):
        super().__init__()
        self._conv_stem, self._bn0 = convolution(3, 32, 3, 2), norm(32)
        blocks, channels = [], 32
        for expansion, size, stride, outputs, count in self.ROWS:
            for i in range(count):
                blocks.append(LiteBlock(channels, outputs, expansion, size, stride if i == 0 else 1))
                channels = outputs
        self._blocks = torch.nn.ModuleList(blocks)
        self._conv_head, self._bn1 = convolution(320, 1280, 1), norm(1280)
        self._fc = torch.nn.Linear(1280, num_classes)

    def forward(self, x):
        x = torch.nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = torch.nn.functional.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def test_efficientnet_lite0(tmp_path):
    encoder = make_encoder("efficientnet_lite0", num_classes=7, dropout=0.0, drop_path=0.0)
    ends = (0, 2, 4, 7, 10, 14, 15)
    stages = {f"stage{i}": f"_blocks.{end}" for i, end in enumerate(ends, start=1)}
    compare(Lite0(7), encoder, "efficientnet_pytorch/efficientnet_lite", tmp_path, stages)


@pytest.mark.parametrize("blocks", [15, 17])
def test_other_numbers_of_blocks_are_refused(blocks):
    arrays = {f"_blocks.{i}._bn1.weight": np.zeros(1, np.float32) for i in range(blocks)}
    with pytest.raises(InputError, match=f"{blocks} blocks"):
        TABLES["efficientnet_pytorch/efficientnet_lite"].prepare(arrays)
