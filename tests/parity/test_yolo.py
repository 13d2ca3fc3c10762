"""YOLOv5's backbone against a net in torch, written here from the architecture's description."""

import pytest

from dalib.encoders import YOLOv5
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
nn = torch.nn


class Conv(nn.Module):
    def __init__(self, old, new, size, stride=1, padding=None):
        super().__init__()
        self.conv = nn.Conv2d(old, new, size, stride, size // 2 if padding is None else padding, bias=False)
        self.bn = nn.BatchNorm2d(new, eps=1e-3, momentum=0.03)

    def forward(self, x):
        return nn.functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels, 1), Conv(channels, channels, 3)

    def forward(self, x):
        return x + self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, channels, depth):
        super().__init__()
        half = channels // 2
        self.cv1, self.cv2, self.cv3 = Conv(channels, half, 1), Conv(channels, half, 1), Conv(2 * half, channels, 1)
        self.m = nn.Sequential(*(Bottleneck(half) for _ in range(depth)))

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPPF(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels // 2, 1), Conv(channels * 2, channels, 1)

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(nn.functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.cv2(torch.cat(parts, 1))


class Reference(nn.Module):
    """Layers 0 to 9 of the published model, and one layer of its neck, which an encoder ignores."""

    def __init__(self, first, depths):
        super().__init__()
        layers, channels = [Conv(3, first, 6, 2, 2)], first
        for depth in depths:
            layers += [Conv(channels, 2 * channels, 3, 2), C3(2 * channels, depth)]
            channels *= 2
        self.model = nn.Sequential(*layers, SPPF(channels), Conv(channels, 8, 1))

    def forward(self, x):
        return self.model[:10](x).mean((2, 3))


def test_backbone(tmp_path):
    """A thin one with the depths of "s"; bottlenecks in a row and alone."""
    stages = {"p3": "model.4", "p4": "model.6", "p5": "model.9"}
    ours = YOLOv5(depth_multiple=0.33, width_multiple=0.125)
    compare(Reference(8, (1, 2, 3, 1)), ours, "ultralytics/yolov5", tmp_path, stages, odd=(65, 97))


@pytest.mark.parametrize(
    "name, first, depths", [("n", 16, (1, 2, 3, 1)), ("s", 32, (1, 2, 3, 1)), ("m", 48, (2, 4, 6, 2))]
)
def test_names_and_shapes(name, first, depths):
    arrays = meta_arrays(lambda: Reference(first, depths))
    check_names(arrays, f"yolov5{name}", "ultralytics/yolov5", classes=0)
