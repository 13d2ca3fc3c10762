"""ConvNeXt against torchvision's."""

import pytest

from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
declare_torchvision_operators()
models = pytest.importorskip("torchvision").models


def test_short_convnext(tmp_path):
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths, depths = (16, 24, 32, 48), (1, 2, 3, 1)
    rows = [CNBlockConfig(*row) for row in zip(widths, (*widths[1:], None), depths, strict=True)]
    reference = ConvNeXt(rows, num_classes=7)
    encoder = make_encoder("convnext_tiny", widths=widths, depths=depths, num_classes=7, drop_path=0.0)
    stages = {"stem": "features.0"} | {f"layer{i}": f"features.{2 * i - 1}" for i in range(1, 5)}
    compare(
        reference, encoder, "torchvision/convnext", tmp_path, stages, features="classifier.1", train=False
    )  # no BatchNorm


@pytest.mark.parametrize("name", ["convnext_tiny", "convnext_small", "convnext_base"])
def test_names_and_shapes(name):
    """Every published net, without computing: all names are used, all variables filled, all shapes equal."""
    check_names(meta_arrays(getattr(models, name)), name, "torchvision/convnext")
