"""The trunk of torchvision's ``fasterrcnn_resnet50_fpn``, out of the whole detector's file or the backbone's alone.

Files of the pyramid's first version have ``inner_blocks.0.weight`` where later ones have ``inner_blocks.0.0.weight``.
"""

from dalib.weights.families.resnet import body
from dalib.weights.families.torch_layers import STEP_COUNTER, convolution, unused
from dalib.weights.rules import RuleTable

_PREFIX = r"(?:backbone\.)?"

TABLES = {
    "torchvision/fasterrcnn": RuleTable(
        "fpn",
        1,
        (
            *body(rf"{_PREFIX}body\.", ours="body/", frozen=True),
            *convolution(rf"{_PREFIX}fpn\.(inner|layer)_blocks\.([0-3])(?:\.0)?", r"\1_blocks_\2", bias=True),
        ),
        (
            STEP_COUNTER,
            unused(r"rpn\.", "the detector's region proposals; only the trunk is an encoder"),
            unused(r"roi_heads\.", "the detector's box heads; only the trunk is an encoder"),
        ),
    ),
}
