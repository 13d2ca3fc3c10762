"""CIFAR ResNets as ``akamaster/pytorch_resnet_cifar10`` publishes them, with or without data parallel's ``module.``."""

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear
from dalib.weights.rules import RuleTable, without_prefix

_BLOCK = r"layer([1-3])\.(\d+)"

TABLES = {
    "akamaster/cifar_resnet": RuleTable(
        "cifar_resnet",
        1,
        (
            *convolution("conv1", "conv1"),
            *batch_norm("bn1", "bn1"),
            *convolution(rf"{_BLOCK}\.conv([12])", r"layer\1_\2/conv\3"),
            *batch_norm(rf"{_BLOCK}\.bn([12])", r"layer\1_\2/bn\3"),
            *linear("linear", "head"),
        ),
        (STEP_COUNTER,),
        lambda arrays: without_prefix(arrays, "module."),
    ),
}
