"""VGG as torchvision stores it: ``features`` counts convolutions, BatchNorms, ReLUs and pools in one row.

So a member's number says which convolution it is only together with the depth of the net and its BatchNorm; each of
the eight nets has a table.
"""

import numpy as np

from dalib.weights.families.torch_layers import STEP_COUNTER, batch_norm, convolution, linear
from dalib.weights.rules import Rule, RuleTable

_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_SIDE = 7  # of the pooled map before the fully connected layers


def _table(depths: tuple[int, ...], norm: bool) -> RuleTable:
    rules: list[Rule] = []
    member = 0
    for stage, depth in enumerate(depths, start=1):
        for i in range(1, depth + 1):
            rules += convolution(rf"features\.{member}", f"stage{stage}/conv{i}", bias=True)
            if norm:
                rules += batch_norm(rf"features\.{member + 1}", f"stage{stage}/bn{i}")
            member += 3 if norm else 2
        member += 1
    rules += linear(r"classifier\.0", "fc6")
    rules += linear(r"classifier\.3", "fc7")
    rules += linear(r"classifier\.6", "head")
    return RuleTable("vgg", 1, tuple(rules), (STEP_COUNTER,) if norm else (), _channels_last)


def _channels_last(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reorders the inputs of the first linear layer from (channel, row, column) to (row, column, channel)."""
    kernel = arrays.get("classifier.0.weight")
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] % _SIDE**2:
        return arrays  # assembly says what is wrong
    cells = kernel.reshape(len(kernel), -1, _SIDE, _SIDE)
    return {**arrays, "classifier.0.weight": cells.transpose(0, 2, 3, 1).reshape(kernel.shape)}


TABLES = {
    f"torchvision/vgg{layers}{'_bn' if norm else ''}": _table(depths, norm)
    for layers, depths in _DEPTHS.items()
    for norm in (False, True)
}
