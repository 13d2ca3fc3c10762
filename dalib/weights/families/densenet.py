"""DenseNet as torchvision stores it; published files say ``norm.1``, ``conv.2`` for a layer's ``norm1``, ``conv2``."""

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear
from dalib.weights.rules import RuleTable

_LAYER = r"features\.denseblock(\d+)\.denselayer(\d+)"
_OURS = r"denseblock\1_denselayer\2"

TABLES = {
    "torchvision/densenet": RuleTable(
        "densenet",
        1,
        (
            *convolution(r"features\.conv0", "conv0"),
            *batch_norm(r"features\.norm([05])", r"norm\1"),
            *batch_norm(rf"{_LAYER}\.norm\.?([12])", rf"{_OURS}/norm\3"),
            *convolution(rf"{_LAYER}\.conv\.?([12])", rf"{_OURS}/conv\3"),
            *batch_norm(r"features\.transition(\d+)\.norm", r"transition\1/norm"),
            *convolution(r"features\.transition(\d+)\.conv", r"transition\1/conv"),
            *linear("classifier", "head"),
        ),
        (STEP_COUNTER,),
    ),
}
