"""ConvNeXt as torchvision stores it: stem, stages and downsampling layers are numbered through."""

import re

from dalib.weights.families.torch_layers import convolution, linear
from dalib.weights.rules import Arrays, Rule, RuleTable


def _layer_norm(foreign: str, ours: str) -> tuple[Rule, ...]:
    return Rule(rf"{foreign}\.weight", f"params/{ours}/scale"), Rule(rf"{foreign}\.bias", f"params/{ours}/bias")


_BLOCK = r"layer(\d)\.(\d+)"
_DOWN = r"downsample(\d)"

RULES = (
    *convolution(r"features\.0\.0", "stem_conv", bias=True),
    *_layer_norm(r"features\.0\.1", "stem_norm"),
    *convolution(rf"{_BLOCK}\.block\.0", r"layer\1_\2/dwconv", bias=True),
    *_layer_norm(rf"{_BLOCK}\.block\.2", r"layer\1_\2/norm"),
    *linear(rf"{_BLOCK}\.block\.3", r"layer\1_\2/pwconv1"),
    *linear(rf"{_BLOCK}\.block\.5", r"layer\1_\2/pwconv2"),
    Rule(rf"{_BLOCK}\.layer_scale", r"params/layer\1_\2/layer_scale", "squeeze"),
    *_layer_norm(rf"{_DOWN}\.0", r"downsample\1_norm"),
    *convolution(rf"{_DOWN}\.1", r"downsample\1_conv", bias=True),
    *_layer_norm(r"classifier\.0", "norm"),
    *linear(r"classifier\.2", "head"),
)


def _by_stage(arrays: Arrays) -> Arrays:
    """``features.1``, ``.3``, ``.5``, ``.7`` → ``layer1`` …; ``features.2``, ``.4``, ``.6`` → ``downsample1`` …"""

    def rename(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"layer{(number + 1) // 2}." if number % 2 else f"downsample{number // 2}."

    return {re.sub(r"^features\.([1-7])\.", rename, name): x for name, x in arrays.items()}


TABLES = {"torchvision/convnext": RuleTable("convnext", 1, RULES, prepare=_by_stage)}
