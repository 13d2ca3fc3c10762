"""Rule table of wav2vec 2.0 in transformers' layout.

The positional convolution is published with weight norm, as a length per tap and a direction, under one of two pairs of
names; both become the plain kernel here.
"""

import re

import numpy as np

from dalib.weights.rules import Arrays, Ignored, Rule, RuleTable

_START = r"(?:wav2vec2\.)?"
_LAYER = _START + r"encoder\.layers\.(\d+)"
_BLOCK = r"params/block_\1"
_DIRECTIONS = {"weight_v": "weight_g", "parametrizations.weight.original1": "parametrizations.weight.original0"}


def _plain_weights(arrays: Arrays) -> Arrays:
    """g · v / ‖v‖ with the norm over all axes but the taps, in the place of g and v."""
    arrays = dict(arrays)
    for direction, length in _DIRECTIONS.items():
        pattern = re.compile(rf"(.*pos_conv_embed\.conv\.){re.escape(direction)}")
        for match in [m for m in map(pattern.fullmatch, list(arrays)) if m]:
            if (partner := match[1] + length) in arrays:
                v, g = arrays.pop(match[0]), arrays.pop(partner)
                norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=(0, 1), keepdims=True))
                arrays[match[1] + "weight"] = (g * (v / norm)).astype(v.dtype)
    return arrays


def _norm(pattern: str, target: str) -> tuple[Rule, ...]:
    return Rule(rf"{pattern}\.weight", f"{target}/scale"), Rule(rf"{pattern}\.bias", f"{target}/bias")


def _linear(pattern: str, target: str) -> tuple[Rule, ...]:
    return Rule(rf"{pattern}\.weight", f"{target}/kernel", "linear"), Rule(rf"{pattern}\.bias", f"{target}/bias")


TABLES = {
    "transformers/wav2vec2": RuleTable(
        family="wav2vec2",
        version=1,
        prepare=_plain_weights,
        rules=(
            Rule(_START + r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight", r"params/conv_\1/kernel", "conv"),
            *_norm(_START + r"feature_extractor\.conv_layers\.0\.layer_norm", "params/conv_norm"),
            *_norm(_START + r"feature_projection\.layer_norm", "params/projection_norm"),
            *_linear(_START + r"feature_projection\.projection", "params/projection"),
            Rule(_START + r"encoder\.pos_conv_embed\.conv\.weight", "params/positions/kernel", "conv"),
            Rule(_START + r"encoder\.pos_conv_embed\.conv\.bias", "params/positions/bias"),
            *_norm(_START + r"encoder\.layer_norm", "params/norm"),
            *(
                rule
                for theirs, ours in {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}.items()
                for rule in _linear(rf"{_LAYER}\.attention\.{theirs}", f"{_BLOCK}/attention/{ours}")
            ),
            *_norm(rf"{_LAYER}\.layer_norm", f"{_BLOCK}/norm1"),
            *_linear(rf"{_LAYER}\.feed_forward\.intermediate_dense", f"{_BLOCK}/mlp/fc1"),
            *_linear(rf"{_LAYER}\.feed_forward\.output_dense", f"{_BLOCK}/mlp/fc2"),
            *_norm(rf"{_LAYER}\.final_layer_norm", f"{_BLOCK}/norm2"),
        ),
        ignored=(
            Ignored(
                _START + r"mask(?:ed_spec_embed|_time_emb_vector)", "stands for masked frames; nothing is masked here"
            ),
            Ignored(r"(?:quantizer|project_hid|project_q)\..*", "contrastive pretraining's quantiser and projections"),
            Ignored(r"(?:lm_head|classifier|projector)\..*|layer_weights", "a task's head; the encoder ends before it"),
        ),
    ),
}
