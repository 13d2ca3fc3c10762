"""The trunk of Faster R-CNN against torchvision's backbone and pyramid."""

import pytest

from dalib.encoders import ResNetFPN
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def torchvision():
    declare_torchvision_operators()
    return pytest.importorskip("torchvision")


class Trunk(torch.nn.Module):
    """The backbone under the name that it has in the detector; gives the means of p2 … p5."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        levels = self.backbone(x)
        self.pool = levels["pool"]
        return torch.cat([levels[str(i)].mean((2, 3)) for i in range(4)], 1)


def test_trunk(torchvision, tmp_path):
    """One block a stage. BatchNorm is frozen with epsilon 0, as torchvision sets it for the published weights."""
    frozen = torchvision.ops.FrozenBatchNorm2d
    body = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, (1, 1, 1, 1), norm_layer=frozen)
    levels = {f"layer{i + 1}": str(i) for i in range(4)}
    utils = torchvision.models.detection.backbone_utils
    reference = Trunk(utils.BackboneWithFPN(body, levels, [256, 512, 1024, 2048], 32))
    generator = torch.Generator().manual_seed(3)
    for module in reference.modules():
        if isinstance(module, frozen):
            module.eps = 0.0
            module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
            module.bias.copy_(0.2 * torch.randn(module.weight.shape, generator=generator))
            module.running_mean.copy_(0.2 * torch.randn(module.weight.shape, generator=generator))
    stages = {f"p{i + 2}": f"backbone.fpn.layer_blocks.{i}" for i in range(4)}
    stages |= {f"layer{i}": f"backbone.body.layer{i}" for i in (1, 2, 3, 4)}
    ours = ResNetFPN(depths=(1, 1, 1, 1), channels=32)
    # 1/4 … 1/32 of 199 and 269 are 50, 25, 13, 7 and 68, 34, 17, 9: levels that are not twice the one above.
    compare(reference, ours, "torchvision/fasterrcnn", tmp_path, stages, odd=(199, 269), small=(65, 69), train=False)


def test_names_and_shapes(torchvision):
    build = torchvision.models.detection.fasterrcnn_resnet50_fpn
    arrays = meta_arrays(lambda: build(weights=None, weights_backbone=None))
    check_names(arrays, "fasterrcnn_resnet50_fpn", "torchvision/fasterrcnn", classes=0)
    # The published file: frozen BatchNorm has no counters, and the pyramid the names of its first version.
    published = {key: x for key, x in arrays.items() if not key.endswith("num_batches_tracked")}
    published = {key.replace(".0.weight", ".weight") if "fpn" in key else key: x for key, x in published.items()}
    published = {key.replace(".0.bias", ".bias") if "fpn" in key else key: x for key, x in published.items()}
    assert "backbone.fpn.inner_blocks.0.weight" in published
    check_names(published, "fasterrcnn_resnet50_fpn", "torchvision/fasterrcnn", classes=0)
