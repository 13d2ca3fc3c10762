"""MobileNetV2 and V3 as torchvision stores them: layers by number, so the rules tell them apart by what they hold.

A number inside a block means another layer where the block has no expansion or no squeeze-excitation; in V2 and V3 only
the first block has no expansion.
"""

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear, pointwise
from dalib.weights.rules import Rule, RuleTable


def conv_norm(foreign: str, ours: str, *, conv: str = r"\.0", norm: str = r"\.1") -> tuple[Rule, ...]:
    """Rules for a convolution and its BatchNorm, children ``0`` and ``1`` of ``foreign``."""
    return (*convolution(foreign + conv, f"{ours}/conv"), *batch_norm(foreign + norm, f"{ours}/bn"))


def squeeze_excite(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for torchvision's squeeze-excitation, two 1×1 convolutions ``fc1`` and ``fc2``."""
    return (*pointwise(rf"{foreign}\.fc1", f"{ours}/fc1"), *pointwise(rf"{foreign}\.fc2", f"{ours}/fc2"))


_BLOCK = r"features\.([2-9]|1\d)"  # all but the first block
_V2_BLOCK = r"features\.([2-9]|1[0-7])\.conv"

V2 = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(r"features\.1\.conv\.0", "features_1/depthwise"),
    *conv_norm(r"features\.1\.conv", "features_1/project", conv=r"\.1", norm=r"\.2"),
    *conv_norm(rf"{_V2_BLOCK}\.0", r"features_\1/expand"),
    *conv_norm(rf"{_V2_BLOCK}\.1", r"features_\1/depthwise"),
    *conv_norm(_V2_BLOCK, r"features_\1/project", conv=r"\.2", norm=r"\.3"),
    *conv_norm(r"features\.18", "last"),
    *linear(r"classifier\.1", "head"),
)

V3 = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(r"features\.1\.block\.0", "features_1/depthwise"),
    *squeeze_excite(r"features\.1\.block\.1", "features_1/se"),
    *conv_norm(r"features\.1\.block\.[12]", "features_1/project"),
    *conv_norm(rf"{_BLOCK}\.block\.0", r"features_\1/expand"),
    *conv_norm(rf"{_BLOCK}\.block\.1", r"features_\1/depthwise"),
    *squeeze_excite(rf"{_BLOCK}\.block\.2", r"features_\1/se"),
    *conv_norm(rf"{_BLOCK}\.block\.[23]", r"features_\1/project"),
    # The last convolution: number 12 of the small net, 16 of the large one.
    *conv_norm(r"features\.1[26]", "last"),
    *linear(r"classifier\.0", "fc"),
    *linear(r"classifier\.3", "head"),
)

TABLES = {
    "torchvision/mobilenet_v2": RuleTable("mobilenet_v2", 1, V2, (STEP_COUNTER,)),
    "torchvision/mobilenet_v3": RuleTable("mobilenet_v3", 1, V3, (STEP_COUNTER,)),
}
