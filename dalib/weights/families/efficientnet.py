"""EfficientNet as torchvision stores it, and the Lite variants under the names of the EfficientNet-PyTorch project."""

import re

from dalib.checks import input_error
from dalib.weights.families.mobilenet import conv_norm, squeeze_excite
from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear
from dalib.weights.rules import Arrays, RuleTable

_FIRST = r"features\.1\.(\d+)\.block"  # the stage without expansion: the numbers are one lower
_OTHER = r"features\.([2-7])\.(\d+)\.block"

TORCHVISION = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(rf"{_FIRST}\.0", r"features_1_\1/depthwise"),
    *squeeze_excite(rf"{_FIRST}\.1", r"features_1_\1/se"),
    *conv_norm(rf"{_FIRST}\.2", r"features_1_\1/project"),
    *conv_norm(rf"{_OTHER}\.0", r"features_\1_\2/expand"),
    *conv_norm(rf"{_OTHER}\.1", r"features_\1_\2/depthwise"),
    *squeeze_excite(rf"{_OTHER}\.2", r"features_\1_\2/se"),
    *conv_norm(rf"{_OTHER}\.3", r"features_\1_\2/project"),
    *conv_norm(r"features\.8", "last"),
    *linear(r"classifier\.1", "head"),
)

_BLOCK = r"_blocks\.(\d+_\d+)\."

LITE = (
    *convolution("_conv_stem", "stem/conv"),
    *batch_norm("_bn0", "stem/bn"),
    *convolution(rf"{_BLOCK}_expand_conv", r"features_\1/expand/conv"),
    *batch_norm(rf"{_BLOCK}_bn0", r"features_\1/expand/bn"),
    *convolution(rf"{_BLOCK}_depthwise_conv", r"features_\1/depthwise/conv"),
    *batch_norm(rf"{_BLOCK}_bn1", r"features_\1/depthwise/bn"),
    *convolution(rf"{_BLOCK}_project_conv", r"features_\1/project/conv"),
    *batch_norm(rf"{_BLOCK}_bn2", r"features_\1/project/bn"),
    *convolution("_conv_head", "last/conv"),
    *batch_norm("_bn1", "last/bn"),
    *linear("_fc", "head"),
)


def by_stage(arrays: Arrays) -> Arrays:
    """Renames the blocks, numbered through the net there, by stage and place in it: ``_blocks.2.`` → ``_blocks.2_1.``.

    The stages are told apart by their numbers of blocks, which the number of all blocks decides.

    Raises:
        InputError: where that number is of no Lite variant.
    """
    numbered = re.compile(r"_blocks\.(\d+)\.(.*)")
    matches = {name: numbered.fullmatch(name) for name in arrays}
    total = 1 + max((int(m[1]) for m in matches.values() if m), default=-1)
    if total not in LITE_BLOCKS:
        raise input_error(
            "checkpoint",
            got=f"{total} blocks named _blocks.N",
            expected=f"{' or '.join(map(str, LITE_BLOCKS))}, those of EfficientNet-Lite0, and Lite1 and Lite2",
        )
    counts = LITE_BLOCKS[total]
    places = [f"{stage}_{i}" for stage, count in enumerate(counts, start=1) for i in range(count)]
    return {f"_blocks.{places[int(m[1])]}.{m[2]}" if (m := matches[name]) else name: x for name, x in arrays.items()}


LITE_BLOCKS = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage by the number of all blocks."""

TABLES = {
    "torchvision/efficientnet": RuleTable("efficientnet", 1, TORCHVISION, (STEP_COUNTER,)),
    "efficientnet_pytorch/efficientnet_lite": RuleTable("efficientnet_lite", 1, LITE, (STEP_COUNTER,), by_stage),
}
