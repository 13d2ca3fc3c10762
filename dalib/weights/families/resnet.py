"""ResNet, ResNeXt and Wide ResNet as torchvision (and timm, under the same names) store them."""

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear
from dalib.weights.rules import Rule, RuleTable


def body(prefix: str = "", *, ours: str = "", frozen: bool = False) -> tuple[Rule, ...]:
    """Rules for all but the classifier: foreign names begin with ``prefix`` (a pattern), our paths with ``ours``."""
    block = r"layer([1-4])\.(\d+)"
    return (
        *convolution(rf"{prefix}conv1", f"{ours}conv1"),
        *batch_norm(rf"{prefix}bn1", f"{ours}bn1", frozen=frozen),
        *convolution(rf"{prefix}{block}\.conv([1-3])", rf"{ours}layer\1_\2/conv\3"),
        *batch_norm(rf"{prefix}{block}\.bn([1-3])", rf"{ours}layer\1_\2/bn\3", frozen=frozen),
        *convolution(rf"{prefix}{block}\.downsample\.0", rf"{ours}layer\1_\2/downsample_conv"),
        *batch_norm(rf"{prefix}{block}\.downsample\.1", rf"{ours}layer\1_\2/downsample_bn", frozen=frozen),
    )


TABLES = {
    "torchvision/resnet": RuleTable("resnet", 1, (*body(), *linear("fc", "head")), (STEP_COUNTER,)),
}
