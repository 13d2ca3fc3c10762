"""YOLOv5's backbone out of the ``state_dict`` of a whole model (layers 0 to 9; the neck and the head are ignored)."""

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, unused
from dalib.weights.rules import Rule, RuleTable


def _layer(foreign: str, ours: str) -> tuple[Rule, ...]:
    return (*convolution(rf"{foreign}\.conv", f"{ours}/conv"), *batch_norm(rf"{foreign}\.bn", f"{ours}/bn"))


TABLES = {
    "ultralytics/yolov5": RuleTable(
        "yolo",
        1,
        (
            *_layer(r"model\.([01357])", r"model_\1"),
            *_layer(r"model\.([24689])\.(cv[123])", r"model_\1/\2"),
            *_layer(r"model\.([2468])\.m\.(\d+)\.(cv[12])", r"model_\1/m_\2/\3"),
        ),
        (
            STEP_COUNTER,
            unused(r"model\.(?:1[0-9]|2[0-4])\.", "the detector's neck and head; only the backbone is an encoder"),
        ),
    ),
}
